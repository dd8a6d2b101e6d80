"""The pages people read: systems and their cases, one case with its journal, dead letters. They only show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from openclaw_dagster.clock import span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.canonical import plain
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.retention import forgotten
from openclaw_dagster.web.forms import KEY, form_token
from openclaw_dagster.web.identity import SCOPE
from openclaw_dagster.web.story import attempts, clock, gist, in_order, moment, pretty, record_of, way, words
from openclaw_dagster.web.waiting import waiting_for

FOLDER = Path(__file__).parent / "templates"
#: Cases and dead letters on one page; a link leads to the next ones.
PAGE = 50
STATES = (
    "open",
    "running",
    "waiting_retry",
    "awaiting_human",
    "completed",
    "handed_off",
    "dead_lettered",
    "cancelled",
)

#: Nothing but this host's own style sheet is loaded, and nothing may frame a page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Pages:
    """Renders pages from the ledger; payload text is data everywhere."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        self.templates = templates()
        self.files = {
            "style.css": ((FOLDER / "style.css").read_text(), "text/css"),
            "badge.js": ((FOLDER / "badge.js").read_text(), "text/javascript"),
        }

    async def overview(self, request: Request) -> Response:
        """Show the systems, their counts, and the newest cases, or those before a case."""
        state = _asked(request, "state")
        system, before = _asked(request, "system"), _asked(request, "before")
        chosen = state if state in STATES else None
        return await self.page(request, lambda: self._overview(system, chosen, before))

    def _overview(
        self, system: str | None, state: str | None, before: str | None
    ) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        cases = ledger.find(system=system, state=state, before=before, limit=PAGE + 1)
        return "overview.html", {
            "systems": list(self.shop.systems.values()), "states": STATES, "counts": ledger.counts(),
            "system": system, "state": state, "before": before, "cases": cases[:PAGE], "more": len(cases) > PAGE,
            "refused": self.shop.project.refused, "environment": self.shop.settings.environment,
        }  # fmt: skip

    async def case(self, request: Request) -> Response:
        """Show one case."""
        return await self.page(request, lambda: self._case(request.path_params["case_id"]))

    def _case(self, case_id: str) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        case = ledger.case(case_id)
        if case is None:
            return "problem.html", {"title": "No such case", "text": f"The ledger has no case {case_id}."}
        system, journal = self._version(case), ledger.journal(case_id)
        event = ledger.events([case.event_id]).get(case.event_id)
        return "case.html", {
            "case": case, "event": event, "past": forgotten(event, journal), "journal": journal,
            "version": system.version if system else None, "way": way(system, case),
            "attempts": attempts(journal), "record": record_of(journal), "begun": ledger.begun_by(case),
            "actions": {step.name: step.action for step in system.execution} if system else {},
            "steps": in_order(system, case),
        }  # fmt: skip

    def _version(self, case: Case) -> System | None:
        """Return the version a case runs under; None when it cannot be had, which hides no case."""
        try:
            return self.shop.version(case.digest)
        except DatabaseAway:
            raise
        except ClawError:
            return None

    async def dead_letters(self, request: Request) -> Response:
        """Show what gave up, or what gave up after a moment and a case of that moment."""
        at, _, case_id = (_asked(request, "after") or "").partition("-")
        after = (int(at), case_id) if at.isascii() and at.isdecimal() and len(at) < 16 else None
        return await self.page(request, lambda: self._letters(after))

    def _letters(self, after: tuple[int, str] | None) -> tuple[str, dict[str, Any]]:
        letters = self.shop.ledger.dead_letters(after=after, limit=PAGE + 1)
        return "dead_letters.html", {
            "letters": letters[:PAGE],
            "more": len(letters) > PAGE,
            "after": after,
        }

    async def file(self, request: Request) -> Response:
        """Give the style sheet, or the script of the link on Dagster's own pages."""
        text, kind = self.files[request.url.path.rpartition("/")[2]]
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(text, media_type=kind, headers=headers)

    async def page(
        self, request: Request, make: Callable[[], tuple[str, dict[str, Any]]], *, status: int = 200
    ) -> Response:
        """Return the page of a template and its values; what the ledger cannot tell is said, not raised."""
        who = request.scope.get(SCOPE)
        head: dict[str, Any] = {"who": who, "form": form_token(request) if KEY in request.scope else ""}

        def made() -> tuple[str, dict[str, Any]]:
            name, values = make()
            return name, {"waiting": waiting_for(self.shop, who), **values}

        try:
            name, values = await asyncio.to_thread(made)
        except DatabaseAway as away:
            name, values = "problem.html", {"title": "The ledger is away", "text": str(away)}
        if name == "problem.html":
            status = 404 if "No such" in values["title"] else 503
        text = self.templates.get_template(name).render(root="", **{**head, **values})
        return HTMLResponse(text, status, headers=HEADERS)


def templates() -> Environment:
    """Return the templates of every page, with the filters they use."""
    made = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    made.filters |= {
        "moment": moment,
        "clock": clock,
        "span": span,
        "pretty": pretty,
        "gist": gist,
        "words": words,
    }
    return made


def render(name: str, **values: Any) -> str:
    """Return a page by the name of its template."""
    return templates().get_template(name).render(root="", **values)


def _asked(request: Request, name: str) -> str | None:
    """Return a parameter as a database can look it up."""
    value = request.query_params.get(name)
    return plain(value) if value else None
