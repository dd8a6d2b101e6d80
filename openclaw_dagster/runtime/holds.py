"""Pause and release: a system, whose cases rest where they are, or an action, that no case carries out."""

from __future__ import annotations

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.operations import NotSaid
from openclaw_dagster.runtime.refusals import HOST
from openclaw_dagster.runtime.trouble import short
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.case import KEEP
from openclaw_dagster.store.events import Arrival
from openclaw_dagster.store.holds import Hold
from openclaw_dagster.store.ids import new_id


class NothingToHold(ClawError):
    """There is neither a system nor an action {scope!r} here; there are the systems {systems}."""

    code = "CLAW460"


def place(shop: Workspace, scope: str, *, by: str, reason: str) -> bool:
    """Put a system or an action on hold; return False when it is already. NothingToHold, NotSaid."""
    _check(shop, scope, by, reason)
    hold = Hold(scope, by, short(reason), shop.clock.now())
    return shop.ledger.hold(hold, _told(shop, "hold.placed", scope, by, reason))


def release(shop: Workspace, scope: str, *, by: str, reason: str) -> int | None:
    """End a hold; return how many cases are due again that waited for it, None when there was no hold."""
    if not by.strip() or not reason.strip():
        raise NotSaid(what="who you are and why you do it")
    return shop.ledger.unhold(scope, by, _told(shop, "hold.released", scope, by, reason))


def _check(shop: Workspace, scope: str, by: str, reason: str) -> None:
    for said, what in ((by, "who you are"), (reason, "why you do it")):
        if not said.strip():
            raise NotSaid(what=what)
    actions = {step.action for system in shop.systems.values() for step in system.execution}
    if scope not in shop.systems and scope not in actions and not _has(shop, scope):
        raise NothingToHold(scope=scope, systems=", ".join(sorted(shop.systems)) or "none")


def _has(shop: Workspace, action: str) -> bool:
    """Tell whether an adapter has an action that no system names any more: waiting cases keep the version that does."""
    try:
        shop.adapters.operation(action)
    except ClawError:
        return False
    return True


def _told(shop: Workspace, name: str, scope: str, by: str, reason: str) -> Arrival:
    payload = {"scope": scope, "by": by, "reason": short(reason)}
    key = new_id("hold", shop.clock.now())
    return Arrival(system=HOST, name=name, source="person", key=key, payload=payload, retention=KEEP)
