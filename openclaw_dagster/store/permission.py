"""Whether a change may be written: its fence, what it was decided on, and the checkpoints before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openclaw_dagster.store import gates
from openclaw_dagster.store.canonical import dumps
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
    if entry.kind in (Kind.EXPIRED, Kind.VOIDED):
        return _unanswered(case, entry)
    if entry.kind not in (Kind.BEGUN, Kind.BRANCHED):
        return True
    gate, digest = case.facts.gates.get(entry.body["step"]), entry.body.get("clearance")
    if digest is None:
        return gate is None or gate.state == "voided"
    return gates.lets(gate, digest, entry.body["key"]) and (
        entry.kind is Kind.BRANCHED or _shown(gate, entry)
    )


def _unanswered(case: Case, entry: Entry) -> bool:
    """Tell whether a request is still there to be given up: an answer that came meanwhile is not lost."""
    gate = case.facts.gates.get(entry.body["step"])
    left = ("asked",) if entry.kind is Kind.EXPIRED else ("asked", "cleared")
    return gate is not None and gate.state in left and gate.request == entry.body["request"]


def _shown(gate: gates.GateFact | None, entry: Entry) -> bool:
    """Tell whether a call is the one that people were shown, argument by argument."""
    if gate is None or "args" not in gate.shown:
        return False
    return dumps([gate.shown["action"], gate.shown["args"]]) == dumps(
        [entry.body["action"], entry.body["args"]]
    )
