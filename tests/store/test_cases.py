"""Cases: due, claimed once, held under a fence, given back."""

from __future__ import annotations

from threading import Barrier

import pytest

from openclaw_dagster.clock import MINUTE, VirtualClock
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.claims import SUSPECT
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change, Ledger, with_fence
from openclaw_dagster.store.views import Agenda, Due

from .samples import (
    LEASE,
    NOW,
    at_once,
    begun,
    closed,
    completed,
    count,
    dead_lettered,
    failed,
    held,
    open_cases,
    redriven,
    retry,
)


def test_nothing_due_is_no_claim(ledger: Ledger) -> None:
    assert ledger.claim("orders", limit=5, lease=LEASE, by="test") is None


def test_critical_cases_are_first_then_the_oldest(ledger: Ledger, clock: VirtualClock) -> None:
    old = open_cases(ledger, 2, "old")
    clock.advance(1)
    urgent = open_cases(ledger, 2, "urgent", rank=0)
    clock.advance(1)
    [late] = open_cases(ledger, 1, "late")
    claim = ledger.claim("orders", limit=4, lease=LEASE, by="test")
    assert claim is not None
    assert [case.id for case in claim.cases] == sorted(urgent) + sorted(old)
    [last] = held(ledger)
    assert last.id == late


def test_a_claim_takes_only_its_system_and_only_what_is_named(ledger: Ledger) -> None:
    ids = open_cases(ledger, 3)
    open_cases(ledger, 2, "other", system="billing")
    claim = ledger.claim("orders", limit=9, lease=LEASE, by="test", only=ids[1:2])
    assert claim is not None
    assert [case.id for case in claim.cases] == ids[1:2]
    assert ledger.claim("orders", limit=9, lease=LEASE, by="test", only=[]) is None
    assert sorted(case.id for case in held(ledger)) == sorted((ids[0], ids[2]))
    assert ledger.counts()[("billing", "open")] == 2


def test_eight_claimers_share_every_case_exactly_once(ledger: Ledger) -> None:
    ids = open_cases(ledger, 200)

    def take(number: int) -> list[str]:
        mine: list[str] = []
        while claim := ledger.claim("orders", limit=7, lease=LEASE, by=f"claimer {number}"):
            mine += [case.id for case in claim.cases]
        return mine

    taken = [case_id for mine in at_once(8, take) for case_id in mine]
    assert sorted(taken) == sorted(ids)
    kinds = [record.kind for case_id in ids for record in ledger.journal(case_id)]
    assert kinds.count(Kind.CLAIMED) == 200


def test_a_lease_that_ends_makes_the_case_due_again(ledger: Ledger, clock: VirtualClock) -> None:
    [case_id] = open_cases(ledger, 1)
    [first] = held(ledger)
    clock.advance(LEASE - 1)
    assert ledger.claim("orders", limit=1, lease=LEASE, by="test") is None
    clock.advance(1)
    [second] = held(ledger)
    assert (second.id, second.fence > first.fence) == (case_id, True)


def test_a_step_that_begins_prolongs_the_lease(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    entry = begun(case)
    ledger.write([with_fence(case, Entry(entry.kind, {**entry.body, "until": NOW + 10 * LEASE}))])
    clock.advance(LEASE)
    assert ledger.claim("orders", limit=1, lease=LEASE, by="test") is None


def test_an_old_fence_writes_nothing_100_of_100(
    ledger: Ledger, clock: VirtualClock, database: Database
) -> None:
    open_cases(ledger, 100)
    frozen = held(ledger)
    clock.advance(LEASE)
    awake = held(ledger)
    before = count(database, "claw_journal")
    for number, case in enumerate(frozen):
        written = ledger.write([with_fence(case, begun(case), *(completed(), closed())[: number % 3])])
        assert (dict(written.cases), written.lost) == ({}, frozenset({case.id}))
    assert count(database, "claw_journal") == before
    assert count(database, "claw_effects") == 0
    assert sorted(case.id for case in ledger.held(awake)) == sorted(case.id for case in awake)
    assert ledger.held(frozen) == []


def test_one_lost_case_leaves_its_neighbours_in_the_batch(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 3)
    cases = held(ledger)
    ledger.write([with_fence(cases[1], closed())])
    written = ledger.write([with_fence(case, begun(case)) for case in cases])
    assert written.lost == {cases[1].id}
    assert set(written.cases) == {cases[0].id, cases[2].id}


def test_racing_writers_of_one_fence_chain_their_rows(ledger: Ledger) -> None:
    [case_id] = open_cases(ledger, 1)
    [case] = held(ledger)
    at_once(8, lambda n: ledger.write([with_fence(case, begun(case, f"s{n}"), completed(f"s{n}"))]))
    after = ledger.case(case_id)
    assert after is not None
    assert set(after.facts.steps) == {f"s{n}" for n in range(8)}
    assert after.seq == len(ledger.journal(case_id)) == 3 + 16


def test_a_second_start_finds_none(ledger: Ledger, clock: VirtualClock) -> None:
    for number in range(12):  # some of these races are close
        clock.advance(1)
        open_cases(ledger, 3, f"race{number}_")
        claim = ledger.claim("orders", limit=3, lease=LEASE, by="test")
        assert claim is not None
        together = Barrier(6)

        def start(n: int, claim: str = claim.id, together: Barrier = together) -> list[Case]:
            together.wait()
            return ledger.start(claim, run_id=f"run{n}", lease=LEASE, host="here")

        started = at_once(6, start)
        assert sorted(len(cases) for cases in started) == [0, 0, 0, 0, 0, 3]
        [winner] = {case.run_id for cases in started for case in cases}
        assert {case.run_id for case in ledger.find(limit=3)} == {winner}


def test_a_claim_that_was_taken_over_cannot_start(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 1)
    slow = ledger.claim("orders", limit=1, lease=LEASE, by="slow")
    clock.advance(LEASE)
    quick = ledger.claim("orders", limit=1, lease=LEASE, by="quick")
    assert slow is not None
    assert quick is not None
    assert ledger.start(slow.id, run_id="r", lease=LEASE, host="here") == []
    assert len(ledger.start(quick.id, run_id="r", lease=LEASE, host="here")) == 1


def test_release_gives_back_only_what_was_not_started(ledger: Ledger) -> None:
    open_cases(ledger, 2)
    first = ledger.claim("orders", limit=1, lease=LEASE, by="test")
    second = ledger.claim("orders", limit=1, lease=LEASE, by="test")
    assert first is not None
    assert second is not None
    ledger.start(first.id, run_id="run", lease=LEASE, host="here")
    assert (ledger.release(first.id, "launcher"), ledger.release(second.id, "launcher")) == (0, 1)
    assert ledger.release(second.id, "launcher") == 0
    [again] = held(ledger)
    assert again.id == second.cases[0].id


def test_a_change_only_in_some_states_is_written_once(ledger: Ledger) -> None:
    [case_id] = open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), failed(), dead_lettered())])
    change = Change(case_id, (redriven(),), only_in=frozenset({"dead_lettered"}))
    written = at_once(6, lambda _: ledger.write([change]))
    assert sorted(len(one.cases) for one in written) == [0, 0, 0, 0, 0, 1]


def test_a_change_of_what_was_seen_is_refused_when_the_case_moved_on(ledger: Ledger) -> None:
    [case_id] = open_cases(ledger, 1)
    cancel = Entry(Kind.CANCELLED, {"by": "ann", "reason": "not wanted"})
    change = Change(case_id, (cancel,), seen=1)
    assert held(ledger)
    assert ledger.write([change]).lost == {case_id}
    now = ledger.case(case_id)
    assert now is not None
    assert case_id in ledger.write([Change(case_id, (cancel,), seen=now.seq)]).cases


def test_an_unknown_case_is_lost(ledger: Ledger) -> None:
    assert ledger.write([Change("case_none", (closed(),))]).lost == {"case_none"}


def test_a_waiting_case_is_held_by_nobody(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    ledger.write([with_fence(case, begun(case), retry(NOW + MINUTE))])
    assert ledger.write([with_fence(case, closed())]).lost == {case.id}
    clock.advance(MINUTE)
    [again] = held(ledger)
    assert again.facts.steps["pay"].attempt == 1


def test_find_pages_from_the_newest(ledger: Ledger, clock: VirtualClock) -> None:
    ids = []
    for number in range(7):
        ids += open_cases(ledger, 1, f"n{number}_")
        clock.advance(1)
    page = ledger.find(system="orders", limit=3)
    assert [case.id for case in page] == ids[:3:-1]
    assert [case.id for case in ledger.find(limit=3, before=page[-1].id)] == ids[3:0:-1]
    assert [case.id for case in ledger.find(key="n2_0")] == [ids[2]]
    assert ledger.find(state="completed") == []


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800", "% %s :x ' \" \\", "é😀"])
def test_a_reason_may_hold_any_text(ledger: Ledger, text: str) -> None:
    open_cases(ledger, 1)
    [case] = held(ledger)
    written = ledger.write([with_fence(case, begun(case), failed(error=text), dead_lettered(reason=text))])
    kept = ledger.case(case.id)
    assert kept == written.cases[case.id]
    assert ledger.journal(case.id)[-1].body is not None
    assert ledger.journal(case.id)[-1].body["reason"] == text  # type: ignore[index]


def die(ledger: Ledger, clock: VirtualClock, cases: int) -> None:
    """Let a worker start the due cases and be silent until their leases are over."""
    assert len(held(ledger)) == cases
    clock.advance(LEASE + 1)


def test_a_case_whose_workers_keep_dying_goes_alone(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 3)
    for _ in range(SUSPECT):  # a first death says nothing about whose fault it was
        die(ledger, clock, 3)
    assert [len(held(ledger)) for _ in range(4)] == [1, 1, 1, 0]


def test_a_suspect_does_not_hold_up_its_neighbours(ledger: Ledger, clock: VirtualClock) -> None:
    open_cases(ledger, 1, "poison")
    for _ in range(SUSPECT):
        die(ledger, clock, 1)
    open_cases(ledger, 4, "good", rank=0)
    assert [len(held(ledger)) for _ in range(3)] == [4, 1, 0]


def test_cases_of_a_dead_run_come_back_at_once(ledger: Ledger) -> None:
    open_cases(ledger, 2)
    assert len(held(ledger, run="lost")) == 2
    assert ledger.orphan("another", by="test") == 0
    assert ledger.orphan("lost", by="test") == 2
    again = held(ledger)
    assert len(again) == 2
    assert {case.facts.deaths for case in again} == {1}
    assert ledger.orphan("lost", by="test") == 0


def test_the_agenda_names_what_is_due_and_when_the_next_is(ledger: Ledger, clock: VirtualClock) -> None:
    assert ledger.due(["orders"]) == Agenda((), None)
    open_cases(ledger, 2)
    assert ledger.due(["orders"]) == Agenda((Due("orders", 2, critical=False),), None)
    open_cases(ledger, 1, "urgent", rank=0)
    assert ledger.due(["orders"]).systems == (Due("orders", 3, critical=True),)
    assert ledger.due(["others"]) == Agenda((), None)
    held(ledger)
    assert ledger.due(["orders"]) == Agenda((), clock.now() + LEASE)
