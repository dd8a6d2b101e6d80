"""A refund that waits for two people on a whole host, and what one needs to try to get around them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
import yaml

from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Kind

from .hosted import REPOSITORY, SPECS, Answer, Browser, Hosted

SELECTOR = {**REPOSITORY, "pipelineName": "stalled_orders"}
FORM = "application/x-www-form-urlencoded"
RUN = "... on LaunchRunSuccess { run { runId } } ... on PythonError { message }"
LAUNCH = f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ __typename {RUN} }} }}"
REPEAT = f"mutation($p: ReexecutionParams!) {{ launchRunReexecution(reexecutionParams: $p) {{ __typename {RUN} }} }}"
BACKFILL = (
    "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename } }"
)
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def add_more(environment: dict[str, Any]) -> None:
    """Add people beside those of the examples: one who only looks, and one of finance who leaves."""
    environment["people"] |= {
        "viewer_1": {"name": "Viewer", "email": "viewer_1@example.org"},
        "gone_1": {"name": "Somebody who leaves", "email": "gone_1@example.org"},
    }
    environment["roles"]["finance"]["people"].append("gone_1")
    environment["access"]["viewer"] = {"people": ["viewer_1", "gone_1"]}


@dataclass
class World:
    """One host, whoever is logged in there, and a case whose refund waits."""

    host: Hosted
    browsers: dict[str, Browser] = field(default_factory=dict)
    cases: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)

    # ── people

    def __getitem__(self, person: str) -> Browser:
        if person not in self.browsers:
            self.browsers[person] = self.host.browser().log_in(person)
        return self.browsers[person]

    def token(self, person: str, *levels: str, lasts: int = 3_600_000) -> dict[str, str]:
        """Return the header of a program that acts for somebody."""
        text, _ = self.host.tokens.make("token", person, lasts=lasts, by="test", claims={"levels": levels})
        return {"Authorization": f"Bearer {text}"}

    # ── cases

    def open(self, name: str, fixture: str = "lost", **fields: Any) -> str:
        """Send an order, and wait until its case rests; return the case."""
        order = json.loads((SPECS / "fixtures" / "orders" / f"{fixture}.json").read_text())["order"]
        body = json.dumps({"order": {**order, "id": name, **fields}}).encode()
        sent = self.host.browser().send(
            "POST", "/hooks/stalled_orders/order_stalled", body, {"Content-Type": "application/json"}
        )
        assert sent.status == 202, sent.text
        self.cases[name] = str(sent.json["case"])
        self.until(name, "awaiting_human")
        return self.cases[name]

    def case(self, name: str = "S-1") -> Case:
        found = self.host.shop.ledger.case(self.cases[name])
        assert found is not None
        return found

    def until(self, name: str, state: str, seconds: float = 60) -> Case:
        end = time.monotonic() + seconds
        while (found := self.case(name)).state != state:
            assert time.monotonic() < end, f"{name} is {found.state}, not {state}: {found.reason}"
            time.sleep(0.1)
        return found

    def page(self, name: str = "S-1", step: str = "refund") -> str:
        return f"/claw/checkpoints/{self.cases[name]}/{step}"

    def fields(self, person: str, name: str = "S-1", step: str = "refund", **more: str) -> dict[str, str]:
        """Return what the form of a checkpoint carries when somebody approves, token and digest included."""
        gate = self.case(name).facts.gates.get(step)
        page = self[person].get("/claw/login").text
        found = re.search(r'name="form" value="([0-9a-f]+)"', page)
        assert found is not None
        said = {"form": found[1], "digest": gate.digest if gate else "", "verdict": "approve"}
        return said | {"f_reason": "lost", "f_note": "Seen.", "reason": "seen"} | more

    def say(
        self, person: str, name: str = "S-1", what: str = "answer", step: str = "refund",
        headers: Mapping[str, str] | None = None, **more: str,
    ) -> Answer:  # fmt: skip
        """Send the form of a checkpoint as somebody's browser does."""
        body = urlencode(self.fields(person, name, step, **more)).encode()
        path = f"{self.page(name, step)}/{what}"
        return self[person].post(path, body, **{"Content-Type": FORM, **(headers or {})})

    # ── what became of it

    def refunds(self, name: str = "S-1") -> int:
        """Return how often the refund of a case reached the outside."""
        records = self.host.shop.adapters.records("erp")
        return sum(one.operation == "refund" and self.cases[name] in one.key for one in records)

    def refusals(self) -> tuple[int, int]:
        """Return how many refusals the journals of the cases have, and how many the event log of the host."""
        shop = self.host.shop
        journals = [shop.ledger.journal(one) for one in self.cases.values()]
        events = t.events.c
        query = sa.select(sa.func.count()).where(events.system == "host", events.name == "refused")
        with shop.ledger.database.read() as connection:
            noted = int(connection.execute(query).scalar_one())
        return sum(one.kind is Kind.REFUSED for each in journals for one in each), noted

    # ── runs

    def parked(self, name: str = "S-1") -> str:
        """Return the run that left the case waiting."""
        return str(self.case(name).facts.first_run)

    def claim(self, name: str) -> str:
        """Return the claim by which a run last held a case."""
        journal = self.host.shop.ledger.journal(self.cases[name])
        return next(str(one.body["claim"]) for one in journal if one.kind is Kind.CLAIMED and one.body)

    def launch(
        self, person: str = "agent_1", selector: Mapping[str, Any] | None = None, *, mutation: str = LAUNCH, **params: Any
    ) -> None:  # fmt: skip
        """Launch a run, as the Launchpad does, and wait for its end."""
        said = {"selector": SELECTOR | (selector or {}), "mode": "default", **params}
        self._ended(self[person].graphql(mutation, {"p": said}), "launchRun")

    def repeat(self, person: str = "agent_1", **params: Any) -> None:
        """Repeat the run that left the case waiting, and wait for the end of it."""
        said = {"parentRunId": self.parked(), **params}
        self._ended(self[person].graphql(REPEAT, {"p": said}), "launchRunReexecution")

    def again(self, person: str = "agent_1", *, mutation: str = REPEAT, **params: Any) -> None:
        """Repeat a part of a run, as its page does for chosen steps, and wait for the end of it."""
        said = {"selector": SELECTOR, "mode": "default", **params}
        text = mutation.replace("ReexecutionParams!", "ExecutionParams!").replace(
            "reexecutionParams", "executionParams"
        )
        self._ended(self[person].graphql(text, {"p": said}), "launchRunReexecution")

    def _ended(self, answer: Answer, name: str) -> None:
        run = (answer.json.get("data") or {}).get(name, {}).get("run") if answer.status == 200 else None
        if run is not None:
            self.finished(run["runId"])

    def finished(self, run: str) -> None:
        """Wait for the end of a run, whatever that is."""
        end = time.monotonic() + 60
        while True:
            found = self["agent_1"].graphql(STATUS, {"id": run}).json["data"]["runOrError"]
            if found["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
                return
            assert time.monotonic() < end, found
            time.sleep(0.2)


def edit(host: Hosted, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the environment's file."""
    path: Path = host.specs / "environments" / "development.yaml"
    found = yaml.safe_load(path.read_text())
    change(found)
    path.write_text(yaml.safe_dump(found))
