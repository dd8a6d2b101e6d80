"""What only the journal of a case still tells about a step: whether an earlier call may have taken place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.journal import Record


def open_before(records: Sequence[Record], step: str) -> bool:
    """Tell whether any attempt before the last may have taken place without anybody having learnt it."""
    unclear = calling = False
    for kind in _kinds(records, step):
        match kind:
            case Kind.BEGUN:
                unclear, calling = unclear or calling, True
            case Kind.UNKNOWN | Kind.PARKED:
                unclear, calling = True, False
            case Kind.COMPLETED | Kind.ANSWERED | Kind.UNDONE:
                unclear = calling = False
            case Kind.RETRY | Kind.FAILED:
                calling = False
            case _:  # it rested, or waited for people: nobody learnt anything
                pass
    return unclear


def taken_back_perhaps(records: Sequence[Record], step: str) -> bool:
    """Tell whether it was begun to take the step back after it was done last, and not ended."""
    perhaps = False
    for kind in _kinds(records, step):
        if kind in (Kind.UNDO_BEGUN, Kind.BEGUN, Kind.COMPLETED, Kind.UNDONE):
            perhaps = kind is Kind.UNDO_BEGUN
    return perhaps


def _kinds(records: Sequence[Record], step: str) -> Iterator[Kind]:
    return (record.kind for record in records if record.body is not None and record.body.get("step") == step)
