"""The cases one run holds, as they stand after its last write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import Stage, System
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry
from openclaw_dagster.store.events import Arrival
from openclaw_dagster.store.ledger import Change

T = TypeVar("T")
R = TypeVar("R")

#: Calls of one batch that are under way at the same time.
SIDE_BY_SIDE = 8
#: How long (ms) beyond a call's own timeout its lease lasts, for what happens around the call.
GRACE = 15_000


class Batch:
    """The cases of one claim, with the payload each began with. Cases leave it when they rest, end, or are lost."""

    def __init__(self, shop: Workspace, cases: Sequence[Case]) -> None:
        self.shop = shop
        self.cases: dict[str, Case] = {case.id: case for case in cases}
        self.left: dict[str, Case] = {}
        self.lost: set[str] = set()
        events = shop.ledger.events([case.event_id for case in cases]) if cases else {}
        self._payloads = {case.id: events[case.event_id].payload or {} for case in cases}
        self._parents = {case.id: events[case.event_id].traceparent for case in cases}

    def payload(self, case: Case) -> Mapping[str, Any]:
        """Return what the event of a case carried."""
        return self._payloads[case.id]

    def parent(self, case: Case) -> str | None:
        """Return the W3C traceparent under which the event arrived."""
        return self._parents[case.id]

    def system(self, case: Case) -> System:
        """Return the version of the system that a case runs under."""
        return self.shop.version(case.digest)

    def going(self) -> list[Case]:
        """Return the cases that are still held and still on their way."""
        return list(self.cases.values())

    def write(self, entries: Mapping[str, Sequence[Entry]], emitted: Mapping[str, Sequence[Arrival]] | None = None) -> None:
        """Write entries per case as one commit; cases that no longer run, or are held by another, leave the batch."""
        told = emitted or {}
        changes = [
            Change(case_id, tuple(lines), fence=self.cases[case_id].fence, emitted=tuple(told.get(case_id, ())))
            for case_id, lines in entries.items()
            if lines
        ]
        if not changes:
            return
        written = self.shop.ledger.write(changes)
        for case_id in written.lost:
            self.lost.add(case_id)
            del self.cases[case_id]
        for case_id, case in written.cases.items():
            if case.state == "running":
                self.cases[case_id] = case
            else:
                self.left[case_id] = case
                del self.cases[case_id]


def pending(system: System, case: Case) -> Stage | None:
    """Return the one stage a case has to pass next, or None when it has passed all, or failed at one."""
    facts = case.facts
    if facts.failing:
        return None
    for stage in system.stages:
        if stage.kind == "decision":
            settled = stage.name in facts.decisions
        else:
            settled = stage.name in facts.steps and facts.steps[stage.name].state in ("completed", "skipped")
        if not settled and not set(stage.on).isdisjoint(facts.happened):
            return stage
    return None


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do the work for every item, a bounded number at a time; results in order."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(items)), "claw-call") as pool:
        return list(pool.map(work, items))
