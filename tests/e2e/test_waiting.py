"""Five hundred cases wait for people: nothing runs for them, they cost nothing, and a restart loses none."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from openclaw_dagster.store.tokens import Tokens

from .carrier import Carrier
from .project import like_the_sample, make_project
from .stack import Stack

pytestmark = [pytest.mark.xdist_group("e2e_waiting"), pytest.mark.timeout(420)]

CASES = 500
#: Megabytes that a whole host may hold more after 250 cases more: the caches of Python and SQLite, and what a warm
#: worker had not touched before. A process for each case, or a thread that waits for it, would be a hundred times that.
SLACK = 20
ACKNOWLEDGED = {
    "version: 1.0.0": "version: 1.0.0\nowner: desk",
    "action: carrier.book": "action: carrier.book\n      checkpoint: {acknowledge: [desk]}",
}
PEOPLE = "people:\n  kim: {name: Kim}\nroles:\n  desk: {people: [kim]}\n"
OPEN_RUNS = """{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
  ... on Runs { count } } }"""


@pytest.fixture
def stack(tmp_path: Path, carrier: Carrier) -> Iterator[Stack]:
    """Give a running host with a system whose only step waits for somebody of the desk."""
    specs = make_project(tmp_path, carrier.url)
    for path in specs.glob("*.claw"):
        path.unlink()
    (specs / "desk.claw").write_text(like_the_sample("desk", ACKNOWLEDGED))
    environment = specs / "environments" / "staging.yaml"
    environment.write_text(environment.read_text() + PEOPLE)
    stack = Stack(tmp_path, specs)
    try:
        yield stack.start()
    finally:
        stack.close()


def open_cases(stack: Stack, numbers: range) -> list[str]:
    """Send orders, and wait until each one's case waits for somebody."""
    with ThreadPoolExecutor(8) as pool:
        cases = list(pool.map(lambda number: stack.send("desk", f"W-{number}"), numbers))
    stack.until(lambda: waiting(stack) >= numbers.stop, 120, "the cases do not wait")
    stack.until(lambda: open_runs(stack) == 0, 30, "runs are not over")
    return cases


def waiting(stack: Stack) -> int:
    return len(stack.ledger.checkpoints(waiting=True, limit=1_000))


def open_runs(stack: Stack) -> int:
    found: int = stack.graphql(OPEN_RUNS).get("runsOrError", {}).get("count", -1)
    return found


def shape(stack: Stack) -> Counter[str]:
    """Return how many processes of each role the host has."""
    return Counter(stack.processes().values())


def held(stack: Stack) -> float:
    """Return the megabytes that all processes of the host hold together, what they share counted once."""
    total = 0
    for pid in stack.processes():
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def acknowledge(stack: Stack, token: str, case_id: str) -> str:
    """Answer as a program does for its person; return what the host says."""
    digest = stack.case(case_id).facts.gates["book_carrier"].digest
    request = urllib.request.Request(
        f"{stack.url}/claw/checkpoints/{case_id}/book_carrier/answer",
        urlencode({"digest": digest, "verdict": "acknowledge"}).encode(),
        {"Authorization": f"Bearer {token}", "Accept": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        said: str = json.loads(answer.read())["said"]
    return said


def answer_all(stack: Stack, cases: Sequence[str]) -> None:
    token, _ = Tokens(stack.ledger.database).make(
        "token", "kim", lasts=3_600_000, by="test", claims={"levels": ["approver"]}
    )
    with ThreadPoolExecutor(4) as pool:
        said = Counter(pool.map(lambda one: acknowledge(stack, token, one), cases))
    assert said == {"Recorded: cleared, it runs now.": len(cases)}


def test_five_hundred_cases_wait_for_nothing_and_outlive_a_restart(stack: Stack, carrier: Carrier) -> None:
    idle = shape(stack)
    half = open_cases(stack, range(CASES // 2))
    before = held(stack)
    cases = [*half, *open_cases(stack, range(CASES // 2, CASES))]
    assert (waiting(stack), len(set(cases))) == (CASES, CASES)
    assert shape(stack) == idle, "there is no process for a case that waits"
    grown = held(stack) - before
    assert grown < SLACK, f"{grown:.1f} MB more for {CASES // 2} cases more"
    assert stack.interrupt() == 0
    assert stack.processes() == {}
    stack.start()
    assert waiting(stack) == CASES
    answer_all(stack, cases)
    stack.until(lambda: completed(stack) == CASES, 120, "not all are completed")
    booked = Counter(one["order"] for one in carrier.books()["accepted"])
    assert booked == {f"W-{number}": 1 for number in range(CASES)}


def completed(stack: Stack) -> int:
    return len(stack.ledger.find(system="desk", state="completed", limit=1_000))
