"""The cases one run holds, as they stand after its last write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from openclaw_dagster.runtime.trouble import failed, mistake
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import Stage, System
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival, Event
from openclaw_dagster.store.ledger import Change

T = TypeVar("T")
R = TypeVar("R")

#: Calls of one batch that are under way at the same time.
SIDE_BY_SIDE = 8
#: How long (ms) beyond a call's own timeout its lease lasts, for what happens around the call.
GRACE = 15_000
#: What must be left of a lease (ms) when a call under it is over that took its whole time: what came is written down,
#: and another host, whose clock may be 4 s ahead of this one, has not taken over yet.
MARGIN = 5_000
#: What must be left of a lease (ms) for anything more to be begun under it.
RESERVE = 10_000
#: How often a worker may die with a case before the case is taken for the cause.
MOST_DEATHS = 5


class Batch:
    """The cases of one claim, with what each began with. They leave it when they rest, end, or are lost."""

    def __init__(self, shop: Workspace, cases: Sequence[Case]) -> None:
        self.shop = shop
        self.cases: dict[str, Case] = {case.id: case for case in cases}
        self.left: dict[str, Case] = {}
        self.lost: set[str] = set()
        self._events = shop.ledger.events([case.event_id for case in cases]) if cases else {}

    def event(self, case: Case) -> Event | None:
        """Return the event of a case; None when the log has it no more."""
        return self._events.get(case.event_id)

    def payload(self, case: Case) -> Mapping[str, Any]:
        """Return what the event of a case carried."""
        event = self.event(case)
        return (event.payload if event else None) or {}

    def parent(self, case: Case) -> str | None:
        """Return the W3C traceparent under which the event arrived."""
        event = self.event(case)
        return event.traceparent if event else None

    def system(self, case: Case) -> System:
        """Return the version of the system that a case runs under."""
        return self.shop.version(case.digest)

    def going(self) -> list[Case]:
        """Return the cases that are still held and still on their way."""
        return list(self.cases.values())

    def time(self, case: Case, most: int) -> int:
        """Return how long (ms) a call for a case may last within its lease, at most `most`; 0 for no more."""
        held = self.cases.get(case.id, case)
        left = (held.due_at or 0) - self.shop.clock.now() - min(RESERVE, self.shop.environment.lease // 4)
        return max(0, min(most, left))

    def lets(self, timeout: int, until: int) -> bool:
        """Tell whether a call that began now would be over, and written down, within a lease that ends at `until`."""
        return self.shop.clock.now() + timeout + MARGIN <= until

    def write(
        self, entries: Mapping[str, Sequence[Entry]], emitted: Mapping[str, Sequence[Arrival]] | None = None
    ) -> None:
        """Write entries per case as one commit; cases that rest, end, or are lost leave the batch."""
        told = emitted or {}
        changes = [
            _change(case, lines, told.get(case_id, ()))
            for case_id, lines in entries.items()
            if lines and (case := self.cases.get(case_id)) is not None
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


def _change(case: Case, entries: Sequence[Entry], emitted: Sequence[Arrival]) -> Change:
    """Return the change, without what cannot be written as JSON: it must not spoil its neighbours' commit."""
    try:
        dumps([*(entry.body for entry in entries), *(arrival.payload for arrival in emitted)])
    except (ValueError, TypeError, RecursionError) as error:
        return Change(case.id, tuple(_writable(case, entry, error) for entry in entries), fence=case.fence)
    return Change(case.id, tuple(entries), fence=case.fence, emitted=tuple(emitted))


def _writable(case: Case, entry: Entry, error: Exception) -> Entry:
    stage = str(entry.body.get("step") or entry.body.get("decision") or entry.kind)
    why = mistake(case.id, stage, error)
    if entry.kind is Kind.COMPLETED:  # it took place, whatever its result is made of
        return Entry(entry.kind, {**entry.body, "result": None})
    return failed(stage, why, attempts=1)


def released(why: str) -> Entry:
    """Return the entry by which a run gives a case back that it has no time left for."""
    return Entry(Kind.RELEASED, {"by": why})


def pending(system: System, case: Case) -> Stage | None:
    """Return the first stage a case still has to pass, or None when it has passed all, or failed at one."""
    if case.facts.failing:
        return None
    return next((stage for stage in system.stages if waits(stage, case)), None)


def waits(stage: Stage, case: Case) -> bool:
    """Tell whether a stage is part of a case by now and not settled yet."""
    facts = case.facts
    if stage.kind == "decision":
        settled = stage.name in facts.decisions
    else:
        settled = stage.name in facts.steps and facts.steps[stage.name].state in ("completed", "skipped")
    return not settled and not set(stage.on).isdisjoint(facts.happened)


def obstacle(system: System, case: Case, stage: Stage) -> Stage | None:
    """Return the first stage, of those that `stage` builds upon, that a case has to pass before it."""
    after = {one.name: one.after for one in system.stages}
    before: set[str] = set()
    looking = list(stage.after)
    while looking:
        name = looking.pop()
        if name not in before:
            before.add(name)
            looking += after.get(name, ())
    return next((one for one in system.stages if one.name in before and waits(one, case)), None)


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do the work for every item, a bounded number at a time; results in order."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(items)), "claw-call") as pool:
        return list(pool.map(work, items))
