"""A host without its daemon: a code server and a pool of two workers; express and the limits are each test's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES, RunRecord
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from openclaw_dagster.cli.instance import Home
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.warm.express import Express

from .kit import Shop, wait


@dataclass
class Host:
    """A shop with a code server and a pool of two workers; express and the instance's limits are each test's own."""

    shop: Shop
    home: Home
    plain: str
    code: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def serve_code(self) -> None:
        """Start the code server and wait until it answers."""
        words = ["dagster", "api", "grpc", "--socket", str(self.home.socket)]
        module = ["--module-name", "openclaw_dagster.definitions", "--location-name", "openclaw"]
        self.home.socket.unlink(missing_ok=True)
        self.code.append(
            subprocess.Popen(
                [sys.executable, "-m", *words, *module],
                env=self.shop.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        wait(self.home.socket.exists, 60)

    def stop_code(self) -> None:
        """End the code server without a word."""
        for process in self.code:
            process.kill()
            process.wait(10)
        self.code.clear()

    @contextmanager
    def instance(self, runs: dict[str, Any] | None = None, **more: Any) -> Iterator[DagsterInstance]:
        """Give the instance as it is with these words in its `dagster.yaml`."""
        said = {**yaml.safe_load(self.plain), **more}
        said["concurrency"] = {
            "runs": {"max_concurrent_runs": 4, **(runs or {})},
            **more.get("concurrency", {}),
        }
        (self.home.dagster / "dagster.yaml").write_text(yaml.safe_dump(said))
        with DagsterInstance.get() as instance:
            yield instance

    @contextmanager
    def express(self, runs: dict[str, Any] | None = None, count: int = 1, **more: Any) -> Iterator[Express]:
        """Run express, as many times as a host has web processes, under the limits of `runs`."""
        target = WorkspaceFileTarget([str(self.home.workspace)])
        with ExitStack() as stack:
            found = []
            for _ in range(count):
                instance = stack.enter_context(self.instance(runs, **more))
                context = stack.enter_context(WorkspaceProcessContext(instance, target))
                found.append(Express(self.shop.workspace, context))
            for one in found:
                one.start()
                stack.callback(one.stop)
            yield found[0]

    def settled(self, cases: list[str], seconds: float = 60) -> None:
        """Wait until the cases are completed and no run is under way."""
        wait(lambda: all(self.shop.case(one).state == "completed" for one in cases), seconds)
        active = RunsFilter(statuses=ACTIVE_RUN_STATUSES)
        wait(lambda: not self.shop.instance.get_runs_count(active), seconds)

    def starts(self, cases: list[str]) -> dict[str, tuple[int, str]]:
        """Return when each case was started and by which run; each was started once."""
        found = {}
        for case in cases:
            started = [one for one in self.shop.workspace.ledger.journal(case) if one.kind is Kind.STARTED]
            assert len(started) == 1, f"{case} was started {len(started)} times"
            assert started[0].body
            found[case] = (started[0].at, str(started[0].body["run"]))
        return found

    def runs(self, cases: list[str]) -> list[RunRecord]:
        """Return the runs the cases were in, in the order they began."""
        ids = {run for _, run in self.starts(cases).values()}
        records = self.shop.instance.get_run_records(RunsFilter(run_ids=sorted(ids)))
        return sorted(records, key=lambda one: one.start_time or 0)


def together(records: list[RunRecord]) -> int:
    """Return how many of the runs were under way at once, at most."""
    edges = [(one.start_time or 0, 1) for one in records] + [(one.end_time or 0, -1) for one in records]
    now = most = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most
