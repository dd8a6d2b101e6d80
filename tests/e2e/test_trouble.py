"""Orders that meet trouble outside, or a bad policy: tried again, kept with a reason, never booked twice."""

from __future__ import annotations

from itertools import pairwise

import pytest

from .carrier import Carrier
from .project import BAD_POLICIES
from .stack import Stack

pytestmark = pytest.mark.xdist_group("e2e_trouble")

#: Longer than the two seconds that the steps of `brisk` wait for an answer.
TOO_LONG = 6


@pytest.fixture(scope="module")
def sent(stack: Stack, carrier: Carrier) -> dict[str, str]:
    """Send every order of this module, so that their waits go side by side; cases by what they meet."""
    mark = str(stack.port)
    carrier.tell(f"broken-{mark}", "error")
    carrier.tell(f"busy-{mark}", "busy", seconds=3, times=1)
    carrier.tell(f"accepts-{mark}", "accept_then_hang", seconds=TOO_LONG, times=1)
    carrier.tell(f"hangs-{mark}", "hang", seconds=TOO_LONG, times=1)
    cases = {"broken": stack.send("dispatch", f"broken-{mark}")}
    cases |= {word: stack.send("brisk", f"{word}-{mark}") for word in ("busy", "accepts", "hangs")}
    for number, policy in enumerate(BAD_POLICIES):
        cases[policy] = stack.send(policy, f"{policy}-{mark}")
        cases[f"between {number}"] = stack.send("dispatch", f"between-{number}-{mark}")
    return cases


def test_accepted_without_an_answer_is_booked_once(
    stack: Stack, carrier: Carrier, sent: dict[str, str]
) -> None:
    case = stack.ended(sent["accepts"], "completed")
    (post,) = carrier.posts(case.key)
    (booking,) = carrier.bookings(case.key)
    assert post["key"] == booking["key"] == case.facts.steps["book_carrier"].key


def test_no_answer_and_no_booking_is_booked_once(
    stack: Stack, carrier: Carrier, sent: dict[str, str]
) -> None:
    case = stack.ended(sent["hangs"], "completed")
    posts = carrier.posts(case.key)
    assert [post["mode"] for post in posts] == ["hang", "ok"]
    assert len({post["key"] for post in posts}) == 1
    assert len(carrier.bookings(case.key)) == 1


def test_a_carrier_that_says_when_to_come_back_is_not_asked_before(
    stack: Stack, carrier: Carrier, sent: dict[str, str]
) -> None:
    case = stack.ended(sent["busy"], "completed")
    first, second = carrier.posts(case.key)
    assert second["at"] - first["at"] >= 3
    assert len(carrier.bookings(case.key)) == 1


@pytest.mark.parametrize("policy", BAD_POLICIES)
def test_a_bad_policy_is_named_with_its_line(stack: Stack, sent: dict[str, str], policy: str) -> None:
    line, _ = BAD_POLICIES[policy]
    case = stack.ended(sent[policy], "dead_lettered")
    assert f"{policy}.policy.ts:{line}:" in (case.reason or ""), case.reason
    print(f"{policy}: {case.reason}")


@pytest.mark.parametrize("number", range(len(BAD_POLICIES)))
def test_orders_between_bad_policies_complete(
    stack: Stack, carrier: Carrier, sent: dict[str, str], number: int
) -> None:
    case = stack.ended(sent[f"between {number}"], "completed")
    assert len(carrier.posts(case.key)) == 1


def test_a_broken_carrier_is_asked_four_times_and_then_given_up(
    stack: Stack, carrier: Carrier, sent: dict[str, str]
) -> None:
    case = stack.ended(sent["broken"], "dead_lettered", 180)
    posts = carrier.posts(case.key)
    waits = [after["at"] - before["at"] for before, after in pairwise(posts)]
    print(f"waits between attempts: {[round(wait, 1) for wait in waits]} s")
    assert len(posts) == 4
    assert len({post["key"] for post in posts}) == 1
    planned = [
        record.body["due_at"] - record.at
        for record in stack.ledger.journal(case.id)
        if record.body and "due_at" in record.body
    ]
    assert planned == sorted(planned)
    assert [least <= wait for least, wait in zip((1, 2, 4), waits, strict=True)] == [True] * 3
    assert carrier.bookings(case.key) == []


def test_its_dead_letter_is_redriven_when_the_carrier_is_mended(
    stack: Stack, carrier: Carrier, sent: dict[str, str]
) -> None:
    case = stack.ended(sent["broken"], "dead_lettered", 180)
    shown = stack.claw("dlq", "show", case.id)
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    for word in ("500", "4", case.digest[:12], "queue://ops.dlq", "book_carrier"):
        assert word in words, f"{word} is missing in\n{shown.stdout}"
    carrier.tell(case.key, "ok")
    redriven = stack.claw("dlq", "redrive", case.id, "--reason", "the carrier is mended")
    assert redriven.returncode == 0, redriven.stderr + redriven.stdout
    stack.until(lambda: stack.case(case.id).state == "completed", 90, "the redriven case did not complete")
    assert len(carrier.bookings(case.key)) == 1
    assert len(carrier.posts(case.key)) == 5
