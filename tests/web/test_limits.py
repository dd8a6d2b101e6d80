"""A flood is refused, its sender told how long to wait, and nobody else notices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclaw_dagster.clock import HOUR, SECOND, VirtualClock
from openclaw_dagster.web.limits import Rate, RateLimit, network_of

NOW = 1_790_000_000_000


def limit_of(burst: int, refill: int, callers: int = 100) -> tuple[RateLimit, VirtualClock]:
    clock = VirtualClock(NOW)
    return RateLimit(clock, Rate(burst=burst, refill=refill), callers), clock


def allowed(limit: RateLimit, times: int, address: str = "198.51.100.1", trigger: str = "orders") -> int:
    return sum(limit.take(address, trigger) is None for _ in range(times))


def test_a_burst_then_one_for_every_refill() -> None:
    limit, clock = limit_of(burst=3, refill=SECOND)
    assert allowed(limit, 5) == 3
    clock.advance(SECOND - 1)
    assert allowed(limit, 5) == 0
    clock.advance(1)
    assert allowed(limit, 5) == 1
    clock.advance(2 * SECOND)
    assert allowed(limit, 5) == 2


def test_rest_fills_the_bucket_and_never_more() -> None:
    limit, clock = limit_of(burst=3, refill=SECOND)
    assert allowed(limit, 5) == 3
    clock.advance(24 * HOUR)
    assert allowed(limit, 5) == 3


def test_retry_after_is_the_wait_in_whole_seconds() -> None:
    limit, clock = limit_of(burst=1, refill=2500)
    assert limit.take("198.51.100.1", "orders") is None
    assert limit.take("198.51.100.1", "orders") == 3
    clock.advance(1500)
    assert limit.take("198.51.100.1", "orders") == 1
    clock.advance(999)
    assert limit.take("198.51.100.1", "orders") == 1
    clock.advance(1)
    assert limit.take("198.51.100.1", "orders") is None


@given(
    burst=st.integers(1, 20),
    refill=st.integers(1, 5000),
    waits=st.lists(st.integers(0, 5000), max_size=60),
)
def test_whoever_waits_as_told_is_let_in(burst: int, refill: int, waits: list[int]) -> None:
    limit, clock = limit_of(burst, refill)
    taken = 0
    for wait in waits:
        clock.advance(wait)
        told = limit.take("198.51.100.1", "orders")
        if told is None:
            taken += 1
        else:
            assert told >= 1
            clock.advance(told * SECOND)
            assert limit.take("198.51.100.1", "orders") is None
            taken += 1
    assert taken <= burst + (clock.now() - NOW) // refill


def test_a_refused_request_takes_nothing() -> None:
    limit, clock = limit_of(burst=1, refill=SECOND)
    assert allowed(limit, 10_000) == 1
    clock.advance(SECOND)
    assert allowed(limit, 1) == 1


def test_only_the_flooder_is_refused() -> None:
    limit, _ = limit_of(burst=3, refill=SECOND)
    assert allowed(limit, 1000) == 3
    assert allowed(limit, 3, address="198.51.100.2") == 3
    assert allowed(limit, 3, trigger="refunds") == 3
    assert allowed(limit, 3, address="2001:db8::1") == 3


def test_addresses_of_one_ipv6_network_are_one_caller() -> None:
    limit, _ = limit_of(burst=3, refill=SECOND)
    assert sum(allowed(limit, 1, address=f"2001:db8:0:1::{number:x}") for number in range(50)) == 3
    assert allowed(limit, 1, address="2001:db8:0:2::1") == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
        ("x" * 5000, "x" * 64),
    ],
)
def test_who_stands_behind_an_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_memory_is_bounded() -> None:
    limit, _ = limit_of(burst=3, refill=SECOND, callers=10)
    for number in range(1000):
        limit.take(f"198.51.{number // 256}.{number % 256}", "orders")
    assert len(limit) == 10


def test_a_flooder_is_not_forgotten_among_many_callers() -> None:
    limit, _ = limit_of(burst=3, refill=SECOND, callers=10)
    allowed(limit, 3)
    for number in range(1000):
        assert allowed(limit, 1, address=f"203.0.{number // 256}.{number % 256}") == 1
        assert allowed(limit, 1) == 0


def test_a_newcomer_is_remembered_when_the_memory_is_full() -> None:
    limit, _ = limit_of(burst=3, refill=SECOND, callers=10)
    for number in range(10):
        limit.take(f"203.0.113.{number}", "orders")
    assert allowed(limit, 10) == 3


def test_a_clock_set_back_locks_nobody_out() -> None:
    limit, clock = limit_of(burst=3, refill=SECOND)
    assert allowed(limit, 3) == 3
    clock.advance(-HOUR)
    assert allowed(limit, 1) == 0
    clock.advance(SECOND)
    assert allowed(limit, 5) == 1
    clock.advance(3 * SECOND)
    assert allowed(limit, 5) == 3


@pytest.mark.parametrize(("burst", "refill"), [(0, 1), (1, 0), (-1, 5)])
def test_a_rate_that_lets_nobody_in_is_refused_when_it_is_built(burst: int, refill: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Rate(burst=burst, refill=refill)


def test_no_callers_is_refused_when_it_is_built() -> None:
    with pytest.raises(ValueError, match="at least one caller"):
        RateLimit(VirtualClock(NOW), callers=0)
