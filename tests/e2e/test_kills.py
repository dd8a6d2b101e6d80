"""kill -9 of every part while an order is on its way: it completes once, and nobody does anything by hand."""

from __future__ import annotations

import time

import pytest

from .carrier import Carrier
from .stack import Stack

pytestmark = pytest.mark.xdist_group("e2e_kills")

#: Seconds in which everything must have recovered by itself (RELIABILITY: 90 s after a restart).
UNAIDED = 90
#: Seconds the carrier takes until it has booked: it is still at it when the next worker looks.
SLOW = 4


def recovered(stack: Stack, carrier: Carrier, case_id: str, since: float, what: str) -> None:
    """Wait for the one completion and the one booking, and say how long they took."""
    case = stack.ended(case_id, "completed", UNAIDED)
    posts = carrier.posts(case.key)
    print(f"{what}: completed {(case.closed_at or 0) / 1000 - since:.1f} s later, {len(posts)} calls")
    assert len(carrier.bookings(case.key)) == 1
    assert len({post["key"] for post in posts}) == 1


def in_the_middle(stack: Stack, carrier: Carrier, order: str) -> str:
    """Send an order whose booking takes a while, and return its case as soon as the carrier is at it."""
    carrier.tell(order, "slow", seconds=SLOW)
    case_id = stack.send("dispatch", order)
    carrier.saw(order)
    return case_id


def test_the_run_worker_in_the_middle_of_a_step(stack: Stack, carrier: Carrier) -> None:
    case_id = in_the_middle(stack, carrier, f"worker-{stack.port}")
    assert stack.kill("worker")
    since = time.time()
    assert not stack.case(case_id).ended
    recovered(stack, carrier, case_id, since, "run worker killed in a step")


def test_the_daemon(stack: Stack, carrier: Carrier) -> None:
    case_id = stack.send("dispatch", f"daemon-{stack.port}")
    assert stack.kill("daemon")
    recovered(stack, carrier, case_id, time.time(), "daemon killed")


def test_the_daemon_in_the_middle_of_a_step(stack: Stack, carrier: Carrier) -> None:
    case_id = in_the_middle(stack, carrier, f"daemon-in-step-{stack.port}")
    assert stack.kill("daemon")
    recovered(stack, carrier, case_id, time.time(), "daemon killed in a step")


def test_the_web_process(stack: Stack, carrier: Carrier) -> None:
    order = f"web-{stack.port}"
    assert stack.kill("web")
    since = time.time()
    # the terminal holds the socket: who calls now is answered by the next web process
    status, said = stack.post("dispatch", order)
    assert status == 202
    case_id = said["case"]
    print(f"web process killed: takes events again {time.time() - since:.1f} s later")
    recovered(stack, carrier, case_id, since, "web process killed")


def test_the_code_server_in_the_middle_of_a_step(stack: Stack, carrier: Carrier) -> None:
    case_id = in_the_middle(stack, carrier, f"code-{stack.port}")
    assert stack.kill("code")
    since = time.time()
    after = stack.send("dispatch", f"after-code-{stack.port}")
    recovered(stack, carrier, case_id, since, "code server killed in a step")
    recovered(stack, carrier, after, since, "the order sent right after")


def test_the_terminal_itself_leaves_nothing_behind(stack: Stack, carrier: Carrier) -> None:
    case_id = in_the_middle(stack, carrier, f"terminal-{stack.port}")
    since = time.time()
    assert stack.kill("claw")
    assert stack.process is not None
    stack.process.wait()
    stack.until(lambda: set(stack.processes().values()) <= {"worker"}, 30, "its processes went on")
    print(f"terminal killed: its processes ended {time.time() - since:.1f} s later")
    stack.start()
    recovered(stack, carrier, case_id, since, "terminal killed in a step")


def test_everything_at_once(stack: Stack, carrier: Carrier) -> None:
    waiting = stack.send("dispatch", f"waiting-{stack.port}")
    case_id = in_the_middle(stack, carrier, f"power-{stack.port}")
    stack.kill_all()
    assert stack.processes() == {}
    since = time.time()
    stack.start()
    print(f"everything killed: ready again {time.time() - since:.1f} s after the restart")
    recovered(stack, carrier, case_id, since, "everything killed in a step")
    recovered(stack, carrier, waiting, since, "the order that waited")


def test_the_history_is_whole_after_all_of_it(stack: Stack) -> None:
    verified = stack.claw("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
