"""Workers that are known to be dead: what they had sent is asked about at once, and sent again only when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openclaw_dagster.adapters.outcome import Unknown
from openclaw_dagster.runtime.advance import advance
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, bodies, case, check_books, clock_of, drain, grab, order, outside, pump

#: The timeout of a step that names none (ms), and how long before the death its call was made.
TIMEOUT, CALLED = 30_000, 2_000


class Died(BaseException):
    """A worker's end."""


class FarSide:
    """What lies between a worker and the far side: writes arrive late, early, or never, and workers die meanwhile."""

    def __init__(self, shop: Workspace, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
        self.shop, self.write = shop, write
        self.really = shop.adapters.call
        self.plan: list[tuple[int | None, BaseException | None]] = []
        self.on_its_way: list[tuple[int, Any]] = []
        self.writes: list[int] = []
        self.asked: list[int] = []
        monkeypatch.setattr(shop.adapters, "call", self.call)

    def next(self, arrives: int | None, *, dies: bool = True) -> None:
        """Let the next write arrive after some ms, or never; its worker dies, or loses the connection."""
        self.plan.append((arrives, Died() if dies else None))

    def call(self, what: Any) -> Any:
        now = clock_of(self.shop).at
        for due, late in [one for one in self.on_its_way if one[0] <= now]:
            self.on_its_way.remove((due, late))
            self.really(late)
        if what.action != self.write:
            self.asked.append(now)
            return self.really(what)
        self.writes.append(now)
        if not self.plan:
            return self.really(what)
        arrives, death = self.plan.pop(0)
        if arrives is not None:
            self.on_its_way.append((now + arrives, what))
        if death is None:
            return Unknown("the connection was lost")
        clock_of(self.shop).advance(CALLED)
        raise death


def kill(shop: Workspace) -> int:
    """Let a run hold what is due and die; say so as the pool does; return when."""
    batch = grab(shop)
    runs = {one.run_id for one in batch.going()}
    with pytest.raises(Died):
        advance(batch)
    for run in runs:
        assert run
        shop.ledger.orphan(run, by="test")
    return clock_of(shop).at


Start = Callable[..., tuple[Workspace, FarSide]]


@pytest.fixture
def start(shops: Open, monkeypatch: pytest.MonkeyPatch) -> Start:
    def begin(action: str = "carrier.book", retries: int = 3) -> tuple[Workspace, FarSide]:
        text = DISPATCH.replace("carrier.book", action).replace("retries: 3", f"retries: {retries}")
        shop = shops(text)
        return shop, FarSide(shop, monkeypatch, action)

    return begin


def test_what_the_far_side_has_is_found_at_once(start: Start) -> None:
    shop, far = start()
    one = order(shop, "A-1")
    far.next(arrives=0)
    died = kill(shop)
    pump(shop)
    assert case(shop, one).state == "completed"
    assert case(shop, one).closed_at == died
    assert [body.get("found_by") for body in bodies(shop, one, Kind.COMPLETED)] == ["carrier.find_booking"]
    check_books(shop)


@pytest.mark.parametrize("write", ["carrier.book", "depot.seal"])
@pytest.mark.parametrize("arrives", [CALLED + 1, 5_000, CALLED + TIMEOUT])
def test_what_is_still_on_its_way_is_waited_for(start: Start, write: str, arrives: int) -> None:
    shop, far = start(write)
    one = order(shop, "A-1")
    far.next(arrives)
    died = kill(shop)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert len(far.writes) == 1
    # soon after it arrived: the waits between the questions double
    late = (case(shop, one).closed_at or 0) - (died - CALLED + arrives)
    assert late <= max(1_000, arrives - CALLED)
    assert len(far.asked) <= 8
    assert bodies(shop, one, Kind.COMPLETED)[0].get("found_by")
    check_books(shop)


@pytest.mark.parametrize("write", ["carrier.book", "depot.seal"])
def test_what_never_arrived_is_sent_again_when_its_time_is_over(start: Start, write: str) -> None:
    shop, far = start(write)
    one = order(shop, "A-1")
    far.next(arrives=None)
    died = kill(shop)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert far.writes == [died - CALLED, died + TIMEOUT]
    check_books(shop)


@pytest.mark.parametrize(("write", "state"), [("depot.pack", "completed"), ("depot.pick", "awaiting_human")])
def test_whom_nobody_can_be_asked_about_gets_the_same_time(start: Start, write: str, state: str) -> None:
    shop, far = start(write)
    one = order(shop, "A-1")
    far.next(arrives=None)
    died = kill(shop)
    drain(shop, until=lambda: clock_of(shop).at >= died + TIMEOUT - 1)
    pump(shop)
    assert case(shop, one).state == state
    assert far.writes == [died - CALLED] + [died + TIMEOUT] * (state == "completed")
    assert case(shop, one).updated_at == died + TIMEOUT
    check_books(shop)


def test_a_read_is_made_again_at_once(start: Start) -> None:
    shop, far = start("depot.weigh")
    one = order(shop, "A-1")
    far.next(arrives=None)
    died = kill(shop)
    pump(shop)
    assert case(shop, one).closed_at == died
    assert far.writes == [died - CALLED, died]


def test_only_what_is_not_found_waits(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, far = start()
    cases = [order(shop, "A-1"), order(shop, "A-2")]
    monkeypatch.setattr("openclaw_dagster.runtime.batch.SIDE_BY_SIDE", 1)
    far.next(arrives=0, dies=False)
    far.next(arrives=None)
    kill(shop)
    pump(shop)
    found, missing = sorted(cases, key=lambda one: case(shop, one).state)
    assert (case(shop, found).state, case(shop, missing).state) == ("completed", "waiting_retry")
    assert case(shop, missing).reason == (
        "carrier.book may still be on its way: carrier.find_booking does not find it yet"
    )
    drain(shop)
    assert case(shop, missing).state == "completed"
    assert len(far.writes) == 3
    check_books(shop)


def test_who_dies_while_asking_does_not_make_it_longer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, far = start()
    one = order(shop, "A-1")
    far.next(arrives=None)
    died = kill(shop)
    ask = far.really

    def dies(what: Any) -> Any:
        far.really = ask
        clock_of(shop).advance(CALLED)
        raise Died

    far.really = dies  # type: ignore[method-assign]
    kill(shop)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert far.writes == [died - CALLED, died + TIMEOUT]


def test_questions_between_two_deaths_are_no_progress(start: Start) -> None:
    """A call that kills every worker is not made as often as its retries allow."""
    shop, far = start(retries=50)
    one = order(shop, "A-1")
    for _ in range(20):
        far.next(arrives=None)
    for _ in range(20):
        try:
            drain(shop)
            break
        except Died:
            run = case(shop, one).run_id
            assert run
            shop.ledger.orphan(run, by="test")
    assert case(shop, one).state in ("dead_lettered", "awaiting_human")
    assert len(far.writes) <= 5
    check_books(shop)


def test_a_death_is_over_with_the_next_attempt(start: Start) -> None:
    shop, far = start("depot.seal")
    one = order(shop, "A-1")
    far.next(arrives=None)
    kill(shop)
    far.next(arrives=5_000, dies=False)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert len(far.writes) == 2
    check_books(shop)


def test_what_is_being_taken_back_waits_until_the_call_is_over(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "  - pack: {on: picked, action: depot.pack, undo: depot.unpack}\n  - book: {needs: [pack], "
    shop = shops(
        DISPATCH.replace("  - book: {", more), faults={"carrier": ["{operation: book, answer: refuse}"]}
    )
    one = order(shop, "A-1")
    far = FarSide(shop, monkeypatch, "depot.unpack")
    far.next(arrives=0)
    kill(shop)
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    first, second = far.writes
    assert second - first >= TIMEOUT
    check_books(shop)


@pytest.mark.parametrize("arrives", [500, 5_000, TIMEOUT])
def test_a_lost_connection_is_no_proof_where_a_second_call_would_count(start: Start, arrives: int) -> None:
    shop, far = start("depot.seal")
    one = order(shop, "A-1")
    far.next(arrives, dies=False)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert len(far.writes) == 1
    check_books(shop)


def test_a_far_side_that_never_got_it_gets_it_when_the_time_of_the_call_is_over(start: Start) -> None:
    shop, far = start("depot.seal")
    one = order(shop, "A-1")
    far.next(arrives=None, dies=False)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert far.writes[1] - far.writes[0] == TIMEOUT
    assert [record.calls for record in outside(shop, "depot")] == [1]
