"""Whatever comes in whatever order: faults, crashes, sleepers, clock jumps, claims that are dropped."""

from __future__ import annotations

import contextlib
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from openclaw_dagster import faults
from openclaw_dagster.runtime import operations
from openclaw_dagster.runtime.advance import OutOfOrder, advance, pass_stage
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.entries import Kind

from .kit import bodies, build, case, check_books, clock_of, drain, grab, order, outside
from .test_crashes import LABEL, POINTS, SYSTEM, NthHit
from .test_events import listener

#: What befalls an order, by operation and kind.
TROUBLE = {
    "carrier": {
        "book": ["fail", "lose", "timeout", "refuse"],
        "find_booking": ["fail"],
        "cancel": ["fail", "lose"],
    },
    "depot": {"seal": ["lose", "timeout", "refuse"], "look": ["fail"]},
}
KINDS = [
    "good",
    *(
        f"{operation}_{answer}_{times}"
        for operations_ in TROUBLE.values()
        for operation, answers in operations_.items()
        for answer in answers
        for times in (1, 2, 5)
    ),
]
_orders = itertools.count(1)


def trouble() -> dict[str, list[str]]:
    """Return the simulators' faults; reads and undos know no order, so theirs befall every case now and then."""
    found: dict[str, list[str]] = {}
    for adapter, by_operation in TROUBLE.items():
        for operation, answers in by_operation.items():
            for answer, times in itertools.product(answers, (1, 2, 5)):
                kind = f"{operation}_{answer}_{times}"
                when = (
                    f"has(args.order) && args.order.kind == '{kind}'"
                    if operation in ("book", "seal")
                    else "true"
                )
                if when != "true" or times == 1:
                    found.setdefault(adapter, []).append(
                        f'{{operation: {operation}, when: "{when}", answer: {answer}, times: {times}}}'
                    )
    return found


class Anything(RuleBasedStateMachine):
    """One ledger, several workers that may stop anywhere."""

    shop: Workspace

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, str] = {}
        self.sleepers: list[Batch] = []

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    def send(self, kinds: list[str]) -> None:
        for kind in kinds:
            name = f"O-{next(_orders)}"
            self.sent[name] = order(self.shop, name, kind=kind)

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        if self.sent:
            name = data.draw(st.sampled_from(sorted(self.sent)))
            assert order(self.shop, name, kind="other") == self.sent[name]

    @rule(milliseconds=st.sampled_from([1, 900, 5_000, 40_000, 70_000, 4_000_000]))
    def jump(self, milliseconds: int) -> None:
        clock_of(self.shop).advance(milliseconds)

    @rule(limit=st.integers(1, 8), system=st.sampled_from(["dispatch", "billing"]))
    def work(self, limit: int, system: str) -> None:
        advance(grab(self.shop, limit=limit, system=system))

    @rule(limit=st.integers(1, 8), stages=st.integers(0, 4))
    def stop_in_the_middle(self, limit: int, stages: int) -> None:
        batch = grab(self.shop, limit=limit)
        for name in ("pick", "pack", "book", "post")[:stages]:
            pass_stage(batch, name)
        self.sleepers.append(batch)

    @rule(data=st.data())
    def wake_up(self, data: st.DataObject) -> None:
        if self.sleepers:
            advance(self.sleepers.pop(data.draw(st.integers(0, len(self.sleepers) - 1))))

    @rule(limit=st.integers(1, 8), name=st.sampled_from(POINTS), hit=st.integers(1, 6))
    def crash(self, limit: int, name: str, hit: int) -> None:
        faults._PLAN = NthHit(name, "raise", hit)
        try:
            advance(grab(self.shop, limit=limit))
        except faults.PlannedFault:
            pass
        finally:
            faults._PLAN = {}

    @rule(limit=st.integers(1, 8), name=st.sampled_from(["pack", "book", "seal", "close"]))
    def out_of_order(self, limit: int, name: str) -> None:
        batch = grab(self.shop, limit=limit)
        with contextlib.suppress(OutOfOrder):
            pass_stage(batch, name)

    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        dead = [one for one in self.sent.values() if case(self.shop, one).state == "dead_lettered"]
        if dead:
            one = data.draw(st.sampled_from(dead))
            if case(self.shop, one).redrives < operations.MOST_REDRIVES:
                operations.redrive(self.shop, one, by="ann", reason="again")

    def teardown(self) -> None:
        drain(self.shop, limit=random.Random(len(self.sent)).randint(1, 8))
        while self.sleepers:
            advance(self.sleepers.pop())
        drain(self.shop)
        records = {
            name: outside(self.shop, *name.split(".")) for name in ("carrier.book", "erp.post", "depot.seal")
        }
        for name, one in self.sent.items():
            ended = case(self.shop, one)
            assert ended.state in ("completed", "dead_lettered", "awaiting_human"), name
            for action, all_of_them in records.items():
                mine = [record for record in all_of_them if record.key.startswith(f"{one}:")]
                assert all(record.calls == 1 for record in mine), (name, action)
                assert len({record.key for record in mine}) <= ended.redrives + 1
            told = bodies(self.shop, one, Kind.COMPLETED)
            heard = self.shop.ledger.find(system="billing", key=f"{one}:book:booked:1")
            assert len(heard) == any(body["step"] == "book" for body in told)


def test_whatever_comes(database_url: str, tmp_path: Path) -> None:
    shop = build(tmp_path, database_url, SYSTEM, listener(), LABEL, faults=trouble())
    machine: Any = type("AnythingHere", (Anything,), {"shop": shop})
    examples = 25 if database_url.startswith("sqlite") else 8
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    check_books(shop)
    shop.close()


@pytest.fixture(autouse=True)
def _no_plan() -> Any:
    yield
    faults._PLAN = {}
