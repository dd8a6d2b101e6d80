"""A project, an instance and a pool of warm workers, all real, in folders of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dagster import DagsterInstance, DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

from openclaw_dagster.cli.instance import prepare
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.tags import run_tags
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import Settings, read_settings
from openclaw_dagster.store.case import Case
from openclaw_dagster.warm.line import PoolDown, ask, socket_of

ROOT = Path(__file__).resolve().parents[2]

SLOW = """\
import time

from openclaw_dagster.adapters.python import action


@action("tms.dawdle", effect="read")
def dawdle(args: dict) -> dict:
    time.sleep(args["seconds"])
    return {}


@action("tms.die", effect="read")
def die(args: dict) -> dict:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return {}
"""

SYSTEM = """\
system: slow
version: "1"
triggers:
  - asked: {source: manual, idempotency: job.id}
  - wished: {source: manual, idempotency: job.id}
  - urgent: {source: manual, idempotency: job.id, critical: true}
decisions: [{go: {on: [asked, wished, urgent], inputs: [job], table: [{else: true, then: "on"}], emits: gone}}]
execution: [{work: {on: gone, action: ACTION, with: {seconds: "${job.seconds}"}, retries: 0}}]
data: {events: {store: event-log}}
observability: {slo: {error_rate: "<1%"}}
"""


@dataclass
class Shop:
    """What a test works with."""

    settings: Settings
    workspace: Workspace
    instance: DagsterInstance
    environment: dict[str, str]

    def open(self, system: str, trigger: str, payload: dict[str, Any], key: str) -> str:
        """Put an event into the ledger and return its case."""
        found = self.workspace.system(system)
        (receipt,) = self.workspace.ledger.receive([arrival(found, found.trigger(trigger), payload, key)])
        assert receipt.case_id
        return receipt.case_id

    def order(self, key: str) -> str:
        return self.open("dispatch", "order_created", {"order": {"id": key}}, key)

    def job(self, key: str, seconds: float) -> str:
        return self.open("slow", "asked", {"job": {"id": key, "seconds": seconds}}, key)

    def case(self, case_id: str) -> Case:
        found = self.workspace.ledger.case(case_id)
        assert found
        return found

    def job_of(self, system: str) -> ReconstructableJob:
        """Return the system's job as a worker would read it."""
        pointer = ModuleCodePointer("openclaw_dagster.definitions", "defs", None)
        return ReconstructableRepository(pointer).get_reconstructable_job(system)

    def run(self, system: str, limit: int = 50) -> DagsterRun:
        """Claim what is due and make a run of it that is not launched yet."""
        claim = self.workspace.ledger.claim(system, limit=limit, lease=45_000, by="test")
        assert claim
        job = self.job_of(system)
        return self.instance.create_run_for_job(
            job.get_definition(), tags=run_tags(claim), job_code_origin=job.get_python_origin()
        )

    def pool(self, question: dict[str, Any]) -> dict[str, Any]:
        return ask(socket_of(self.settings), question)


@contextmanager
def shop(tmp_path: Path, monkeypatch: Any, action: str = "tms.dawdle") -> Iterator[Shop]:
    """Give a project with a slow system beside the sample, and an instance with this product's launcher."""
    specs = tmp_path / "specs"
    shutil.copytree(ROOT / "claw_specs", specs)
    (specs / "actions").mkdir()
    (specs / "actions" / "slow.py").write_text(SLOW)
    (specs / "slow.claw").write_text(SYSTEM.replace("ACTION", action))
    single = SYSTEM.replace("ACTION", action).replace("system: slow\n", "system: single\nbatch: 1\n")
    (specs / "single.claw").write_text(single)
    environment = specs / "environments" / "development.yaml"
    environment.write_text(
        environment.read_text().replace("adapters:\n", "adapters:\n  tms: {use: python}\n")
    )
    settings = read_settings(home=str(tmp_path / "home"), specs=str(specs))
    home = prepare(settings)
    for name, value in home.environment().items():
        if name.startswith(("CLAW_", "DAGSTER_")):
            monkeypatch.setenv(name, value)
    # the definitions of another test's files may have been imported by this process
    monkeypatch.delitem(sys.modules, "openclaw_dagster.definitions", raising=False)
    workspace = Workspace(settings)
    with DagsterInstance.get() as instance:
        yield Shop(settings, workspace, instance, {**os.environ})
    workspace.close()


@contextmanager
def pool(
    shop: Shop, workers: int = 1, *, idle: int | None = None, stderr: IO[str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the pool as `claw dev` does, and wait until all its workers, or `idle` of them, have nothing to do."""
    words = [sys.executable, "-m", "openclaw_dagster.warm.pool"]
    environment = {**shop.environment, "CLAW_WORKERS": str(workers)}
    process = subprocess.Popen(words, env=environment, stderr=stderr)
    try:
        wait(lambda: up(shop, workers if idle is None else idle))
        yield process
    finally:
        process.terminate()
        process.wait(20)


def up(shop: Shop, workers: int) -> bool:
    try:
        return bool(shop.pool({"ask": "status"})["idle"] == workers)
    except PoolDown:
        return False


def wait(until: Callable[[], Any], seconds: float = 30) -> Any:
    """Return what `until` gives once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := until():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
