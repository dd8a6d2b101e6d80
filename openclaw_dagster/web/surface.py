"""Every address of the host, ours and Dagster's, and what it takes to use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.types import Scope

from openclaw_dagster.web.access import ADMIN, NOBODY, OPERATOR, READER, VIEWER, Doing, Levels

#: open: as it comes, from anywhere. public: for everybody, but only from our own pages. known: one has to be somebody.
Kind = Literal["open", "public", "known"]


@dataclass(frozen=True, slots=True)
class Place:
    """What one route takes."""

    kind: Kind
    doing: Doing
    taken: bool = True  # whether a route takes the method as well


def _known(levels: Levels) -> tuple[Kind, Levels]:
    return ("known", levels)


#: The paths of routes as they are declared, with what they take.
ROUTES: dict[str, tuple[Kind, Levels]] = {
    # ours
    "/hooks/{system}/{trigger}": ("open", NOBODY),
    "/hooks/{rest:path}": ("open", NOBODY),
    "/claw/slack/interactivity": ("open", NOBODY),
    "/healthz": ("open", NOBODY),
    "/readyz": ("open", NOBODY),
    "/claw/style.css": ("public", NOBODY),
    "/claw/badge.js": ("public", NOBODY),
    "/claw/login": ("public", NOBODY),
    "/claw/login/oidc": ("public", NOBODY),
    "/claw/login/callback": ("public", NOBODY),
    "/claw/logout": ("public", NOBODY),
    "/metrics": _known(VIEWER),
    "/claw": _known(VIEWER),
    "/claw/": _known(VIEWER),
    "/claw/dead-letters": _known(VIEWER),
    "/claw/cases/{case_id}": _known(VIEWER),
    "/claw/inbox": _known(VIEWER),
    "/claw/inbox.json": _known(VIEWER),
    "/claw/checkpoints/{case_id}/{step}": _known(VIEWER),
    # whether an answer counts is judged where it is taken, so that the case's journal keeps a refusal
    "/claw/checkpoints/{case_id}/{step}/answer": _known(VIEWER),
    "/claw/checkpoints/{case_id}/{step}/skip": _known(VIEWER),
    "/claw/holds": _known(VIEWER),
    "/claw/holds/change": _known(OPERATOR),
    # Dagster's; what a GraphQL document does is judged where it is executed
    "/server_info": _known(VIEWER),
    "/dagit_info": _known(VIEWER),
    "/graphql": _known(VIEWER),
    "/logs/{path:path}": _known(READER),
    "/download_debug/{run_id:str}": _known(READER),
    # a notebook is a page that somebody else wrote, shown as if it were ours
    "/notebook": _known(NOBODY),
    "/dagit/notebook": _known(NOBODY),
    "/report_asset_materialization/{asset_key:path}": _known(NOBODY),
    "/report_asset_check/{asset_key:path}": _known(NOBODY),
    "/report_asset_observation/{asset_key:path}": _known(NOBODY),
    # the pages of the UI; all of them are the same file
    "/": _known(VIEWER),
    "/{path:path}": _known(VIEWER),
}
#: A folder or file of Dagster's UI is named so; what is in it, everybody can download from PyPI.
_STATIC = ("root_static", "_static")


def is_known(route: BaseRoute) -> bool:
    """Decide whether somebody has looked at a route and said what it takes."""
    return getattr(route, "path", None) in ROUTES or _is_static(route)


def _is_static(route: BaseRoute) -> bool:
    return isinstance(route, Route | Mount) and (route.name or "").endswith(_STATIC)


def place_of(routes: Sequence[BaseRoute], scope: Scope) -> Place:
    """Return what the route takes that will answer, found the way the router finds it."""
    partial: BaseRoute | None = None
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return _place(route, scope)
        if match is Match.PARTIAL and partial is None:
            partial = route
    if partial is not None:
        return replace(_place(partial, scope), taken=False)
    return Place("known", Doing(scope["path"], ADMIN))


def _place(route: BaseRoute, scope: Scope) -> Place:
    path = getattr(route, "path", None)
    what = f"{scope.get('method', 'the connection to')} {scope['path'][:100]}"
    if isinstance(route, Route | WebSocketRoute) and path in ROUTES:
        kind, levels = ROUTES[path]
        return Place(kind, Doing(what, levels))
    return Place("known", Doing(what, VIEWER if _is_static(route) else ADMIN))
