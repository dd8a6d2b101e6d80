"""Bursts during which processes are killed with -9: nothing is lost, and the carrier sees each order once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from ..services.postgres import Postgres
from .carrier import Carrier
from .project import like_the_sample, make_project
from .stack import Stack

pytestmark = pytest.mark.xdist_group("e2e_bursts")

#: Seconds within which a burst has to be settled on a busy machine; alone it takes a few.
SETTLED = 150
#: Posts that are under way at the same time.
SENDERS = 8


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, carrier: Carrier
) -> Iterator[Stack]:
    """Give a running host with a system that waits 5 s for the carrier, once on each database."""
    database: str | None = None
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.fresh()
    folder = tmp_path_factory.mktemp(request.param)
    specs = make_project(folder, carrier.url)
    text = like_the_sample("bursts", {"retries: 3": "retries: 3\n      timeout: 5s"})
    (specs / "bursts.claw").write_text(text)
    stack = Stack(folder, specs, database)
    try:
        yield stack.start()
    finally:
        stack.close()


@contextmanager
def sending(stack: Stack, orders: list[str]) -> Iterator[list[Future[str]]]:
    """Send a burst while the block runs; at its end all of it has been acknowledged."""
    with ThreadPoolExecutor(SENDERS) as pool:
        taken = [pool.submit(stack.send, "bursts", one) for one in orders]
        yield taken
        for one in taken:
            one.result()


def settled(stack: Stack, orders: list[str]) -> bool:
    found = {case.key for case in stack.ledger.find(system="bursts", state="completed", limit=1_000)}
    return found.issuperset(orders)


def check(stack: Stack, carrier: Carrier, orders: list[str]) -> None:
    """Wait until every order is completed, then count at the outside."""
    stack.until(lambda: settled(stack, orders), SETTLED, "the burst was not settled")
    accepted = [one["order"] for one in carrier.books()["accepted"]]
    assert {one: accepted.count(one) for one in orders if accepted.count(one) != 1} == {}


def burst(name: str, stack: Stack, carrier: Carrier, size: int, takes: float = 0.05) -> list[str]:
    """Return orders for which the carrier takes a moment, before it books them or after."""
    orders = [f"{name}-{stack.port}-{number}" for number in range(size)]
    for number, one in enumerate(orders):
        carrier.tell(one, "slow" if number % 2 else "accept_then_hang", seconds=takes)
    return orders


def kill_one(stack: Stack, role: str) -> None:
    if pids := stack.pids(role):
        with suppress(ProcessLookupError):
            os.kill(random.choice(pids), signal.SIGKILL)


def when(true: Callable[[], bool], what: str) -> None:
    """Wait for the middle of a burst."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, f"{what} within a minute"
        time.sleep(0.02)


def asked(carrier: Carrier, orders: list[str]) -> int:
    """Return how often the carrier was asked to book one of the orders."""
    wanted = set(orders)
    return sum(one["order"] in wanted for one in carrier.books()["posts"])


def test_a_worker_killed_in_the_middle_of_a_burst(stack: Stack, carrier: Carrier) -> None:
    # long enough that the next worker asks before the carrier has booked what the dead one had sent
    orders = burst("worker", stack, carrier, 60, takes=1.5)
    with sending(stack, orders):
        when(lambda: asked(carrier, orders) >= 10, "the carrier was not asked ten times")
        kill_one(stack, "worker")
    check(stack, carrier, orders)


def test_the_web_process_killed_in_the_middle_of_a_burst(stack: Stack, carrier: Carrier) -> None:
    orders = burst("web", stack, carrier, 60)
    with sending(stack, orders) as taken:
        when(lambda: sum(one.done() for one in taken) >= 10, "ten orders were not taken")
        kill_one(stack, "web")
        assert not all(one.done() for one in taken)
    check(stack, carrier, orders)


def test_a_random_worker_killed_again_and_again(stack: Stack, carrier: Carrier) -> None:
    """Four times at most: a case whose workers die five times in a row is taken for the cause."""
    orders = burst("storm", stack, carrier, 150, takes=0.3)
    kills = 0
    with sending(stack, orders):
        when(lambda: asked(carrier, orders) >= 5, "the carrier was not asked five times")
        while kills < 4 and asked(carrier, orders) < 140:
            kill_one(stack, "worker")
            kills += 1
            time.sleep(2)
    assert kills > 1
    check(stack, carrier, orders)
