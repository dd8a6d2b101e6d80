"""The run that a tick asks for: of the one case that its event has opened."""

from __future__ import annotations

import dagster as dg

from openclaw_dagster.runtime.tags import run_tags
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.clocks import ClocksApart


def begin(shop: Workspace, system: System, case_id: str | None, by: str) -> dg.RunRequest | dg.SkipReason:
    """Claim the case and ask for its run; say why not where another process has it, or this one may not claim."""
    only = [case_id] if case_id else []
    try:
        claim = shop.ledger.claim(system.name, limit=1, lease=shop.environment.lease, by=by, only=only)
    except ClocksApart as apart:  # the event is accepted: whoever may claim begins its case
        return dg.SkipReason(f"{apart} Case {case_id} waits.")
    if claim is None:
        return dg.SkipReason(f"case {case_id} of this event was begun already")
    return dg.RunRequest(run_key=claim.id, tags=run_tags(claim))
