"""Workers that freeze, wake up, die, or are the death of others."""

from __future__ import annotations

import threading

import pytest

from openclaw_dagster.runtime import steps, undo
from openclaw_dagster.runtime.advance import advance, close, pass_stage
from openclaw_dagster.runtime.batch import GRACE, MARGIN
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, bodies, case, check_books, clock_of, drain, grab, order, outside

PICK = DISPATCH.replace("carrier.book", "depot.pick")


def test_a_worker_that_wakes_up_before_it_claimed_the_effect_calls_nobody(shops: Open) -> None:
    shop = shops()
    one = order(shop, "A-1")
    sleeper = grab(shop)
    pass_stage(sleeper, "pick")
    clock_of(shop).advance(46_000)
    drain(shop)
    pass_stage(sleeper, "book")
    close(sleeper)
    assert sleeper.lost == {one}
    assert outside(shop)[0].calls == 1
    check_books(shop)


@pytest.mark.parametrize("other", [True, False])
def test_a_worker_that_wakes_up_between_claim_and_call_does_not_call(
    shops: Open, monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    shop = shops(PICK)
    one = order(shop, "A-1")
    sleeper = grab(shop)
    calls: list[str] = []
    really = shop.adapters.call
    monkeypatch.setattr(shop.adapters, "call", lambda what: calls.append(what.key) or really(what))

    def freeze(name: str) -> None:
        if name == "effect.claimed":
            monkeypatch.setattr(steps, "point", lambda _: None)
            clock_of(shop).advance(60_000)
            if other:  # another worker finds a call that may have been made, and cannot ask
                advance(grab(shop))

    monkeypatch.setattr(steps, "point", freeze)
    advance(sleeper)
    assert calls == []
    if other:
        assert case(shop, one).state == "awaiting_human"
        assert sleeper.lost == {one}
    else:
        # nobody came meanwhile: it knows that it did not call, so that the attempt does not count
        assert case(shop, one).state == "waiting_retry"
        drain(shop)
        assert case(shop, one).state == "completed"
        assert case(shop, one).facts.steps["book"].attempt == 1
        assert len(calls) == 1
    check_books(shop)


def test_a_late_write_is_refused_and_the_answer_is_asked_for(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops()
    one = order(shop, "A-1")
    sleeper = grab(shop)

    def freeze(name: str) -> None:
        if name == "effect.answered":
            monkeypatch.setattr(steps, "point", lambda _: None)
            clock_of(shop).advance(60_000)
            drain(shop)

    monkeypatch.setattr(steps, "point", freeze)
    advance(sleeper)
    assert sleeper.lost == {one}
    assert outside(shop)[0].calls == 1
    assert [body.get("found_by") for body in bodies(shop, one, Kind.COMPLETED)] == ["carrier.find_booking"]
    check_books(shop)


@pytest.mark.parametrize(("slow", "most"), [(500, 1), (29_000, 3)])
def test_the_lease_is_one_calls_time_and_what_has_to_wait_longer_is_given_back(
    shops: Open, monkeypatch: pytest.MonkeyPatch, slow: int, most: int
) -> None:
    """However many calls wait for their turn: a host that dies with all of them is not waited for longer."""
    shop = shops()
    cases = [order(shop, f"A-{number}") for number in range(20)]
    really, leases, began = shop.adapters.call, [], []

    def look(name: str) -> None:
        if name == "effect.claimed":
            leases.append(max((one.due_at or 0) for one in case_rows()) - clock_of(shop).at)

    def case_rows():  # type: ignore[no-untyped-def]
        return [case(shop, one) for one in cases if case(shop, one).state == "running"]

    def slowly(what):  # type: ignore[no-untyped-def]
        with lock:  # eight go side by side, and it is the eighth that moves the clock
            began.append(clock_of(shop).at)
            if len(began) % 8 == 0:
                clock_of(shop).advance(slow)
        return really(what)

    lock = threading.Lock()
    monkeypatch.setattr(steps, "point", look)
    monkeypatch.setattr(shop.adapters, "call", slowly)
    drain(shop)
    assert {case(shop, one).state for one in cases} == {"completed"}
    assert max(leases) <= 45_000
    assert len(leases) == most
    assert {case(shop, one).facts.steps["book"].attempt for one in cases} == {1}
    assert [record.calls for record in outside(shop, "carrier", "book")] == [1] * 20
    check_books(shop)


#: The timeout of a step that names none (ms).
TIMEOUT = 30_000


@pytest.mark.parametrize("late", [GRACE - MARGIN, GRACE - MARGIN + 1, GRACE])
def test_what_a_call_came_to_is_written_well_within_its_lease(
    shops: Open, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """The ninth call has its turn late, and takes all its time: another host must not have taken over by then."""
    shop = shops()
    cases = [order(shop, f"A-{number}") for number in range(9)]
    really, began, left, lock = shop.adapters.call, [], [], threading.Lock()

    def slowly(what):  # type: ignore[no-untyped-def]
        with lock:
            began.append(what.key)
            if len(began) == 8:
                clock_of(shop).advance(late)
            elif len(began) == 9:
                clock_of(shop).advance(what.timeout)
        return really(what)

    def look(name: str) -> None:
        if name == "effect.answered":
            facts = [case(shop, one) for one in cases]
            until = [one.facts.steps["book"].until for one in facts if one.state == "running"]
            assert until == [one.due_at for one in facts if one.state == "running"]
            left.append(min(until) - clock_of(shop).at)

    monkeypatch.setattr(steps, "point", look)
    monkeypatch.setattr(shop.adapters, "call", slowly)
    advance(grab(shop))
    made = late <= GRACE - MARGIN
    assert left == [MARGIN if made else TIMEOUT + GRACE - late]
    assert min(left) >= MARGIN
    assert len(began) == (9 if made else 8)
    drain(shop)
    assert {case(shop, one).state for one in cases} == {"completed"}
    assert [record.calls for record in outside(shop, "carrier", "book")] == [1] * 9
    check_books(shop)


@pytest.mark.parametrize("late", [GRACE - MARGIN, GRACE - MARGIN + 1])
def test_taking_back_leaves_time_within_its_lease_too(
    shops: Open, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    text = (
        PICK.replace("retries: 3,", "undo: depot.unpick,")
        + "  - bill: {on: picked, needs: [book], action: erp.post}\n"
    )
    shop = shops(text, faults={"erp": ["{operation: post, answer: refuse}"]})
    one = order(shop, "A-1")
    really, left = shop.adapters.call, []

    def freeze(name: str) -> None:
        if name == "undo.begun":
            monkeypatch.setattr(undo, "point", lambda _: None)
            clock_of(shop).advance(late)

    def slowly(what):  # type: ignore[no-untyped-def]
        if what.action == "depot.unpick":
            clock_of(shop).advance(what.timeout)
            left.append((case(shop, one).due_at or 0) - clock_of(shop).at)
        return really(what)

    monkeypatch.setattr(undo, "point", freeze)
    monkeypatch.setattr(shop.adapters, "call", slowly)
    advance(grab(shop))
    assert left == ([MARGIN] if late <= GRACE - MARGIN else [])
    drain(shop)
    assert min(left) >= MARGIN
    assert case(shop, one).state == "dead_lettered"
    assert len(bodies(shop, one, Kind.UNDONE)) == 1
    check_books(shop)


def test_questions_are_not_asked_beyond_the_lease(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops(faults={"carrier": ["{operation: book, answer: lose, times: 1}"]})
    cases = [order(shop, f"A-{number}") for number in range(20)]
    really = shop.adapters.call

    def slowly(what):  # type: ignore[no-untyped-def]
        if what.is_read:
            clock_of(shop).advance(min(9_000, what.timeout))
        return really(what)

    monkeypatch.setattr(shop.adapters, "call", slowly)
    drain(shop)
    assert {case(shop, one).state for one in cases} == {"completed"}
    assert sum(len(bodies(shop, one, Kind.RELEASED)) for one in cases) > 0
    assert [record.calls for record in outside(shop, "carrier", "book")] == [1] * 20
    check_books(shop)


class Died(BaseException):
    """A worker's end."""


def test_a_policy_that_kills_its_worker_is_buried(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops()
    poison, good = order(shop, "B-1"), order(shop, "A-1")
    engine = shop.policy(shop.system("dispatch"), shop.system("dispatch").decision("pick"))

    class Engine:
        digest = engine.digest

        def decide(self, inputs):  # type: ignore[no-untyped-def]
            if inputs["order"]["id"] == "B-1":
                raise Died
            return engine.decide(inputs)

    monkeypatch.setattr(shop, "policy", lambda *_: Engine())
    deaths = 0
    while not case(shop, poison).ended:
        try:
            drain(shop, limit=1)
        except Died:
            deaths += 1
        clock_of(shop).advance(1_000)
    assert deaths == 5
    assert case(shop, poison).reason == "the worker died 5 times in a row while it had this case"
    assert case(shop, poison).facts.failing == "pick"
    assert case(shop, good).state == "completed"
    check_books(shop)


@pytest.mark.parametrize(
    ("action", "ends"),
    [("carrier.book", "dead_lettered"), ("depot.pack", "awaiting_human"), ("depot.pick", "awaiting_human"),
     ("depot.weigh", "dead_lettered")],
)  # fmt: skip
def test_a_call_that_kills_its_worker_is_not_made_for_ever(
    shops: Open, monkeypatch: pytest.MonkeyPatch, action: str, ends: str
) -> None:
    shop = shops(DISPATCH.replace("carrier.book", action))
    one = order(shop, "A-1")
    really = shop.adapters.call
    calls: list[str] = []

    def call(what):  # type: ignore[no-untyped-def]
        if what.action == action:
            calls.append(what.key)
            raise Died
        return really(what)

    monkeypatch.setattr(shop.adapters, "call", call)
    for _ in range(10):
        try:
            drain(shop)
            break
        except Died:
            clock_of(shop).advance(1_000)
    assert case(shop, one).state == ends
    assert len(calls) <= 5
    assert len(set(calls)) == 1
    check_books(shop)


def test_a_worker_that_dies_now_and_then_is_no_poison(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deaths count in a row: a case that got on between two of them is not their cause."""
    text = (
        DISPATCH.split("execution:")[0]
        + "execution:\n"
        + "".join(
            f"  - s{number}: {{on: picked, action: carrier.rates, retries: 3}}\n" for number in range(8)
        )
    )
    shop = shops(text)
    one = order(shop, "A-1")
    really, seen = shop.adapters.call, set()

    def call(what):  # type: ignore[no-untyped-def]
        if what.key not in seen:
            seen.add(what.key)
            raise Died
        return really(what)

    monkeypatch.setattr(shop.adapters, "call", call)
    for _ in range(20):
        try:
            drain(shop)
            break
        except Died:
            clock_of(shop).advance(1_000)
    assert case(shop, one).state == "completed"
    check_books(shop)
