"""A project in a temporary folder, its ledger in SQLite, and the command line in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from openclaw_dagster.cli.app import app
from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.case import Case

SPECS = Path(__file__).parents[2] / "claw_specs"

RETURNS = """\
system: returns
version: 2.1.0
triggers:
  - asked: {source: manual, idempotency: order.id}
  - nightly: {source: schedule, cron: "0 3 * * *"}
decisions:
  - pick: {on: [asked, nightly], inputs: [payload_kind], table: [{else: true, then: go}], emits: picked}
execution:
  - act: {on: picked, action: erp.post, with: {order: "R-1"}}
data:
  events: {store: event-log, retention: 365d}
observability:
  slo: {error_rate: <0.5%}
"""


@dataclass
class Answer:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Claw = Callable[..., Answer]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project of its own, made the current folder, in which nothing from outside is set."""
    shutil.copytree(SPECS, tmp_path / "claw_specs")
    for name in ("SPECS", "ENVIRONMENT", "HOME", "DATABASE_URL", "HOST", "PORT", "PUBLIC_URL", "DEBUG"):
        monkeypatch.delenv(f"CLAW_{name}", raising=False)
    monkeypatch.delenv("DISPATCH_ORDER_CREATED_SECRET", raising=False)
    monkeypatch.delenv("CARRIER_TOKEN", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def claw(project: Path) -> Claw:
    """Give the command line."""

    def run(*arguments: object, stdin: str | None = None) -> Answer:
        done = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin, prog_name="claw")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Answer(done.exit_code, done.stdout, done.stderr)

    return run


@dataclass
class Shopkeeper:
    """Sends orders into the ledger and moves their cases, as the host and its runs would."""

    shop: Workspace

    def order(self, key: str, **fields: object) -> str:
        """Open the case of an order; return its id."""
        system = self.shop.system("dispatch")
        trigger = system.trigger("order_created")
        payload = {"order": {"id": key, **fields}}
        (receipt,) = self.shop.ledger.receive([arrival(system, trigger, payload, key)])
        assert receipt.case_id is not None
        return receipt.case_id

    def move(self, case_id: str, rounds: int = 1) -> Case:
        """Let one case go on as far as it goes, so many times."""
        for number in range(rounds):
            self._make_due(case_id)
            claim = self.shop.ledger.claim("dispatch", limit=1, lease=60_000, by="test", only=[case_id])
            assert claim is not None
            advance(hold(self.shop, claim.id, run_id=f"run-{number + 1}", host="test"))
        case = self.shop.ledger.case(case_id)
        assert case is not None
        return case

    def _make_due(self, case_id: str) -> None:
        case = self.shop.ledger.case(case_id)
        assert case is not None
        assert case.due_at is not None
        clock: Any = self.shop.clock
        clock.later = max(clock.later, case.due_at)

    def orders(self, keys: Sequence[str], rounds: int = 1) -> list[str]:
        """Open and move several."""
        ids = [self.order(key) for key in keys]
        for one in ids:
            self.move(one, rounds)
        return ids


class HastyClock:
    """The machine's clock, that jumps ahead to the next retry."""

    def __init__(self) -> None:
        self.later = 0

    def now(self) -> int:
        from openclaw_dagster.clock import SystemClock

        return max(SystemClock().now(), self.later)


@pytest.fixture
def keeper(project: Path) -> Any:
    """Give somebody who sends and moves cases in the project's ledger."""
    made = Workspace(read_settings(), clock=HastyClock())
    yield Shopkeeper(made)
    made.close()
