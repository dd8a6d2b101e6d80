"""What waits for somebody: requests that they may answer, and those that are for others."""

from __future__ import annotations

from dataclasses import dataclass

from openclaw_dagster.runtime.clearance import objection
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.checkpoints import Request
from openclaw_dagster.web.identity import Identity

#: Requests that are looked at, the oldest: whoever has so many before them sees the others when these are answered.
MOST = 200


@dataclass(frozen=True, slots=True)
class Waiting:
    """Open requests, the oldest first."""

    mine: tuple[Request, ...]
    others: tuple[Request, ...]
    more: bool  # whether there are more than were looked at


def waiting_for(shop: Workspace, who: Identity | None) -> Waiting:
    """Return what waits, parted by whether it waits for `who`: not for whom it was asked by or answered by already."""
    found = shop.ledger.checkpoints(waiting=True, limit=MOST + 1)
    shown = found[:MOST]
    near = [one for one in shown if who is not None and who.roles & set(one.roles)]
    cases = shop.ledger.cases({one.case_id for one in near}) if near else {}
    mine = tuple(
        one
        for one in near
        if who is not None
        and (case := cases.get(one.case_id)) is not None
        and objection(shop, case, one.step, who.person, who.token_levels) is None
    )
    theirs = {(one.case_id, one.step) for one in mine}
    others = tuple(one for one in shown if (one.case_id, one.step) not in theirs)
    return Waiting(mine, others, len(found) > MOST)
