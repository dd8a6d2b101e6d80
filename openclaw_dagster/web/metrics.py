"""`/metrics`: the pool, the cases and their waits in Prometheus' words; business figures are counted from the ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from openclaw_dagster.clock import HOUR
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.figures import Starts, due, happened
from openclaw_dagster.warm.line import PoolDown, ask, socket_of

#: Seconds for which an answer is good: however often it is asked for, the ledger is asked once.
FRESH = 1.0
#: How long (ms) after it was written something is counted: what is dated earlier may still be committed.
SETTLED = 5_000
#: Most time (ms) that one answer counts; who asks less often misses what lies before.
MOST = HOUR
#: Upper bounds (ms) of the waits from an event's receipt to the start of its first run.
BOUNDS = (10, 25, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 120_000)
#: Stands for names that no loaded file knows, so that no name from outside makes a series.
OTHER = "other"


@dataclass
class Waits:
    """Waits of the cases of one system so far."""

    count: int = 0
    total: int = 0  # ms
    within: list[int] = field(default_factory=lambda: [0] * len(BOUNDS))

    def add(self, more: Starts) -> None:
        """Count more of them."""
        self.count += more.count
        self.total += more.total
        self.within = [have + one for have, one in zip(self.within, more.within, strict=True)]


class Metrics(Collector):
    """Answers `/metrics`; counters begin with the process, as Prometheus expects."""

    def __init__(self, shop: Workspace, launched: Callable[[], Mapping[str, int]]) -> None:
        self.shop = shop
        self.launched = launched
        self.events: Counter[tuple[str, str, str]] = Counter()
        self.waits: dict[tuple[str, bool], Waits] = {}
        self.counted = shop.clock.now() - SETTLED
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._lock = threading.Lock()
        self._answer: tuple[float, bytes] = (0.0, b"")

    async def answer(self, _request: Request) -> Response:
        """Answer with every series; 200 also when the ledger is away, which is one of them."""
        text = await asyncio.to_thread(self.text)
        return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})

    def text(self) -> bytes:
        """Return the answer, at most a second old."""
        with self._lock:
            at, text = self._answer
            if not text or time.monotonic() - at > FRESH:
                text = generate_latest(self.registry)
                self._answer = (time.monotonic(), text)
            return text

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: what there is depends on the ledger."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every series as it stands."""
        yield from self._pool()
        up = GaugeMetricFamily("claw_ledger_up", "Whether the ledger's database answers.")
        try:
            found = [*self._cases(), *self._happened()]
        except DatabaseAway:
            found = []
        up.add_metric([], 1 if found else 0)
        yield up
        yield from found

    def _pool(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "claw_pool_up",
            "Whether the pool of warm workers answers; without it runs take seconds to start.",
        )
        workers = GaugeMetricFamily("claw_pool_workers", "Warm workers of this host.", labels=["state"])
        try:
            status = ask(socket_of(self.shop.settings), {"ask": "status"}, seconds=1)
        except PoolDown:
            status = {}
        idle, count = int(status.get("idle", 0)), int(status.get("workers", 0))
        up.add_metric([], 1 if status else 0)
        workers.add_metric(["idle"], idle)
        workers.add_metric(["busy"], count - idle)
        runs = CounterMetricFamily(
            "claw_runs_launched",
            "Runs that express dispatch handed to the pool (warm) or to processes of their own (cold).",
            labels=["launcher"],
        )
        launched = self.launched()
        for launcher in ("warm", "cold"):
            runs.add_metric([launcher], launched.get(launcher, 0))
        yield from (up, workers, runs)

    def _cases(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("claw_cases_due", "Cases that wait for a run.")
        waiting.add_metric([], due(self.shop.ledger.database, self.shop.clock.now()))
        cases = GaugeMetricFamily("claw_cases", "Cases by state.", labels=["system", "state"])
        sums: Counter[tuple[str, str]] = Counter()
        for (system, state), count in self.shop.ledger.counts().items():
            sums[self._system(system), state] += count
        for (system, state), count in sorted(sums.items()):
            cases.add_metric([system, state], count)
        letters = GaugeMetricFamily(
            "claw_dead_letters", "Dead letters that wait for somebody.", labels=["system"]
        )
        for system in sorted({*self.shop.systems, *(system for system, _ in sums)}):
            letters.add_metric([system], sums[system, "dead_lettered"])
        yield from (waiting, cases, letters)

    def _happened(self) -> Iterator[Metric]:
        until = self.shop.clock.now() - SETTLED
        after = max(self.counted, until - MOST)
        news = happened(self.shop.ledger.database, after, until, BOUNDS)
        self.counted = until
        for (system, name, source), count in news.events.items():
            self.events[self._system(system), self._name(system, name), source] += count
        for (system, critical), starts in news.starts.items():
            self.waits.setdefault((self._system(system), critical), Waits()).add(starts)
        events = CounterMetricFamily(
            "claw_events_accepted",
            "Events that were written into the log.",
            labels=["system", "trigger", "source"],
        )
        for (system, name, source), count in sorted(self.events.items()):
            events.add_metric([system, name, source], count)
        waits = HistogramMetricFamily(
            "claw_dispatch_seconds",
            "From an event's receipt to the start of its case's first run.",
            labels=["system", "critical"],
        )
        for (system, critical), one in sorted(self.waits.items()):
            buckets = [
                (str(bound / 1000), float(count)) for bound, count in zip(BOUNDS, one.within, strict=True)
            ]
            waits.add_metric(
                [system, "true" if critical else "false"],
                [*buckets, ("+Inf", float(one.count))],
                one.total / 1000,
            )
        yield from (events, waits)

    def _system(self, name: str) -> str:
        return name if name in self.shop.systems else OTHER

    def _name(self, system: str, name: str) -> str:
        known = self.shop.systems.get(system)
        if known is None:
            return OTHER
        return name if name in {*(one.name for one in known.triggers), *known.emitted()} else OTHER
