"""How soon what keeps dying is started again."""

from __future__ import annotations

import pytest

from openclaw_dagster.warm import restraint
from openclaw_dagster.warm.restraint import HEALTHY, WAITS, Restraint


class Time:
    """A clock of this test's own."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr(restraint, "time", found)
    return found


def held_back(one: Restraint, time: Time) -> float:
    """Let it die, and let time go on until it may be started; return how long that was."""
    one.died()
    begun = time.now
    while not one.lets():
        time.now += 0.125
    return time.now - begun


def test_what_never_died_may_be_started(time: Time) -> None:
    assert Restraint().lets()


def test_the_wait_grows_to_ten_seconds_while_it_keeps_dying(time: Time) -> None:
    one = Restraint()
    assert [held_back(one, time) for _ in range(7)] == [*WAITS, 10.0, 10.0]


def test_two_that_die_together_die_once(time: Time) -> None:
    one = Restraint()
    one.died()
    assert held_back(one, time) == WAITS[0]
    assert held_back(one, time) == WAITS[1]


@pytest.mark.parametrize("sign", ["it does its work", "nothing died for a while"])
def test_what_lives_has_recovered(time: Time, sign: str) -> None:
    one = Restraint()
    for _ in range(5):
        held_back(one, time)
    if sign == "it does its work":
        one.lives()
    else:
        time.now += HEALTHY + 1
    assert held_back(one, time) == WAITS[0]


def test_a_life_of_a_few_seconds_is_no_recovery(time: Time) -> None:
    one = Restraint()
    held_back(one, time)
    time.now += HEALTHY - 1
    assert held_back(one, time) == WAITS[1]
