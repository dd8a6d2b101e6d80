"""The work lists that are written beside the journal: effects and dead letters, and the kept versions."""

from __future__ import annotations

import pytest

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change, Ledger, with_fence

from .samples import (
    NOW,
    at_once,
    begun,
    completed,
    dead_lettered,
    failed,
    held,
    open_cases,
    redriven,
    retry,
    unknown,
)

PARKED = Entry(Kind.PARKED, {"step": "pay", "error": "ask"})


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        (None, "claimed"),
        (completed(), "done"),
        (retry(NOW), "failed"),
        (failed(), "failed"),
        (unknown(NOW), "unknown"),
        (PARKED, "unknown"),
        (Entry(Kind.UNDONE, {"step": "pay"}), "undone"),
    ],
    ids=lambda value: value.kind if isinstance(value, Entry) else str(value),
)
@pytest.mark.parametrize("together", [True, False])
def test_an_effect_follows_its_step(ledger: Ledger, entry: Entry | None, state: str, together: bool) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    entries = (begun(case), *([entry] if entry else []))
    for batch in [entries] if together else [(one,) for one in entries]:
        ledger.write([with_fence(case, *batch)])
    [effect] = ledger.effects(case.id)
    assert (effect["state"], effect["key"], effect["attempt"]) == (state, f"{case.id}:pay:1", 1)
    assert (effect["finished_at"] is None, effect["fence"]) == (state == "claimed", case.fence)


def test_a_second_attempt_claims_the_same_effect_again(ledger: Ledger) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), retry(NOW))])
    [again] = held(ledger)
    ledger.write([with_fence(again, begun(again, attempt=2))])
    [effect] = ledger.effects(case.id)
    assert (effect["state"], effect["attempt"], effect["finished_at"]) == ("claimed", 2, None)


def test_failed_and_begun_anew_in_one_write_is_claimed(ledger: Ledger) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), failed(), begun(case, attempt=2))])
    [effect] = ledger.effects(case.id)
    assert (effect["state"], effect["attempt"]) == ("claimed", 2)


@pytest.mark.parametrize(("took_place", "state"), [(True, "done"), (False, "failed")])
def test_a_persons_answer_settles_the_effect(ledger: Ledger, took_place: bool, state: str) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), PARKED)])
    answer = Entry(Kind.ANSWERED, {"step": "pay", "took_place": took_place, "result": None, "by": "ann"})
    ledger.write([Change(case.id, (answer,), only_in=frozenset({"awaiting_human"}))])
    [effect] = ledger.effects(case.id)
    assert effect["state"] == state


def test_dead_letters_wait_until_somebody_redrives_them(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 3)
    for case in held(ledger):
        clock.advance(1)
        ledger.write([with_fence(case, begun(case), failed(), dead_lettered("bank says no"))])
    first, second, third = ledger.dead_letters()
    assert (first["reason"], first["queue"], first["stage"], first["attempts"]) == (
        "bank says no",
        "orders-dead",
        "pay",
        3,
    )
    clock.advance(1)
    ledger.write([Change(first["case_id"], (redriven("ann"),), only_in=frozenset({"dead_lettered"}))])
    cancel = Entry(Kind.CANCELLED, {"by": "bob", "reason": "written off"})
    ledger.write([Change(second["case_id"], (cancel,), only_in=frozenset({"dead_lettered"}))])
    assert ledger.dead_letters(system="orders") == [third]
    assert ledger.dead_letters(system="billing") == []
    assert [(one["redriven_by"], one["redriven_at"]) for one in ledger.dead_letters(redriven=True)] == [
        ("ann", clock.now()),
        ("bob", clock.now()),
    ]


def test_a_case_can_die_again_after_a_redrive(ledger: Ledger) -> None:
    open_cases(ledger, 1)
    for _ in range(2):
        [case] = held(ledger)
        ledger.write([with_fence(case, begun(case), failed(), dead_lettered())])
        ledger.write([Change(case.id, (redriven(),), only_in=frozenset({"dead_lettered"}))])
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), failed(), dead_lettered())])
    assert (len(ledger.dead_letters()), len(ledger.dead_letters(redriven=True))) == (1, 2)


def test_a_version_is_kept_once(ledger: Ledger, database: Database) -> None:
    assert ledger.spec("d1") is None
    at_once(8, lambda _: ledger.remember_spec("d1", "orders", "1.10", {"files": {"a": "é"}}))
    ledger.remember_spec("d1", "orders", "1.10", {"files": {"a": "changed"}})
    assert ledger.spec("d1") == {"files": {"a": "é"}}
    assert verify(database).faults == ()
