"""Whether a change may be written: its fence, what it was decided on, and the checkpoints before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openclaw_dagster.store import gates
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind

if TYPE_CHECKING:
    from openclaw_dagster.store.ledger import Change


def may(case: Case, change: Change) -> bool:
    """Decide the one question whether a change may be written to a case as it stands now."""
    if change.fence is not None and (case.fence != change.fence or case.state != "running"):
        return False
    if change.only_in is not None and case.state not in change.only_in:
        return False
    if change.seen is not None and case.seq != change.seen:
        return False
    return all(cleared(case, entry) for entry in change.entries)


def cleared(case: Case, entry: Entry) -> bool:
    """Tell whether no checkpoint stands before an entry: an effect begins only as it was cleared."""
    if entry.kind not in (Kind.BEGUN, Kind.BRANCHED):
        return True
    gate, digest = case.facts.gates.get(entry.body["step"]), entry.body.get("clearance")
    if digest is None:
        return gate is None or gate.state == "voided"
    return gates.lets(gate, digest, entry.body["key"])
