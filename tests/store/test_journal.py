"""The journal: an unbroken chain that adds up to the row of the case, whatever is written."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openclaw_dagster.clock import MINUTE, VirtualClock
from openclaw_dagster.store import journal
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.journal import start
from openclaw_dagster.store.ledger import Change, Ledger, with_fence

from .samples import (
    arrival,
    begun,
    completed,
    dead_lettered,
    failed,
    held,
    live,
    query,
    redriven,
    retry,
    unknown,
)

_KEYS = itertools.count()
_STEPS = st.sampled_from(["pay", "ship", "mail"])
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def _bare(case: Case) -> Case:
    return Case(case.id, case.system, case.trigger, case.event_id, case.key, "d1")


def test_rows_are_chained(ledger: Ledger, database: Database) -> None:
    live(ledger, 4)
    prev: dict[str, str] = {}
    for row in query(database, "SELECT case_id, seq, prev, hash FROM claw_journal ORDER BY case_id, seq"):
        assert row.prev == prev.get(row.case_id, start(row.case_id))
        prev[row.case_id] = row.hash
    assert {case.id: case.head for case in ledger.find()} == prev


def test_a_row_past_its_retention_cannot_be_added_up(ledger: Ledger) -> None:
    live(ledger, 1)
    [case] = ledger.find()
    records = [replace(record, body=None) for record in ledger.journal(case.id)]
    with pytest.raises(ValueError, match="past its retention"):
        journal.rebuild(_bare(case), records)


def _moves(case: Case, step: str, value: Any, clock: VirtualClock) -> list[tuple[Entry, ...]]:
    """Return the legal writes of the holder of a case."""
    return [
        (begun(case, step),),
        (begun(case, step), completed(step, value)),
        (begun(case, step), retry(clock.now() + MINUTE, step)),
        (begun(case, step), unknown(clock.now() + MINUTE, step)),
        (begun(case, step), Entry(Kind.PARKED, {"step": step, "error": "ask"})),
        (begun(case, step), failed(step, "no \x00"), dead_lettered("no \x00", step)),
        (Entry(Kind.SKIPPED, {"step": step, "why": "condition"}),),
        (
            Entry(
                Kind.DECIDED,
                {
                    "decision": step,
                    "output": value,
                    "reason": "r",
                    "inputs": {"v": value},
                    "policy": "p",
                    "emits": step,
                },
            ),
        ),
        (Entry(Kind.FAILED, {"stage": step, "step": "", "attempts": 1, "error": "policy"}),),
        (Entry(Kind.ADOPTED, {"digest": f"d-{step}"}),),
        (
            Entry(Kind.UNDO_BEGUN, {"step": step, "attempt": 1, "until": clock.now() + MINUTE}),
            Entry(Kind.UNDONE, {"step": step}),
        ),
        (Entry(Kind.UNDO_RETRY, {"step": step, "error": "later", "due_at": clock.now() + MINUTE}),),
        (Entry(Kind.UNDO_FAILED, {"step": step, "error": "never"}),),
        (Entry(Kind.CLOSED, {}),),
    ]


def _outside(step: str, value: Any) -> list[Change]:
    answered = Entry(
        Kind.ANSWERED, {"step": step, "took_place": bool(value), "result": value, "emits": step, "by": "ann"}
    )
    return [
        Change("", (redriven(),), only_in=frozenset({"dead_lettered"})),
        Change("", (answered,), only_in=frozenset({"awaiting_human"})),
        Change(
            "",
            (Entry(Kind.CANCELLED, {"by": "ann", "reason": "no"}),),
            only_in=frozenset({"open", "dead_lettered"}),
        ),
    ]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(moves=st.lists(st.tuples(st.integers(0, 19), _STEPS, _JSON), max_size=14))
def test_the_journal_adds_up_to_the_row(
    ledger: Ledger, clock: VirtualClock, database: Database, moves: list[tuple[int, str, Any]]
) -> None:
    [receipt] = ledger.receive([arrival(f"h{next(_KEYS)}")])
    case = _case(ledger, receipt.case_id)
    for number, step, value in moves:
        clock.advance(1)
        if number >= 17 or case.state != "running":
            ledger.write([replace(_outside(step, value)[number % 3], case_id=case.id)])
            clock.advance(10 * MINUTE)  # whatever waits is due, whatever is held is lost
            held(ledger)
        else:
            ledger.write([with_fence(case, *_moves(case, step, value, clock)[number % 14])])
        case = _case(ledger, case.id)
    rebuilt = journal.rebuild(_bare(case), ledger.journal(case.id))
    assert replace(rebuilt, seq=case.seq, head=case.head) == case
    assert verify(database).faults == ()


def _case(ledger: Ledger, case_id: str | None) -> Case:
    case = ledger.case(str(case_id))
    assert case is not None
    return case
