"""Plays a scenario: the real ledger, policies and checkpoints, with simulators and a clock that is moved by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openclaw_dagster.clock import VirtualClock, span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.clearance import Answer, Refused, answer
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.skips import NotGranted, Skip, grant
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import Settings
from openclaw_dagster.spec.environment import SimulatorBinding
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.scenarios import Deed, Scenario
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Kind

#: When every scenario begins: a Monday, 09:00 UTC.
BEGIN = 1_767_603_600_000
#: How often the clock may be moved in one scenario: more is a circle.
MOST_MOVES = 5_000


@dataclass(frozen=True)
class Difference:
    """One thing that did not come out as the scenario says."""

    what: str
    expected: Any
    found: Any


@dataclass(frozen=True)
class Played:
    """How one scenario went."""

    scenario: str
    differences: tuple[Difference, ...]
    story: tuple[str, ...]  # the journal of its cases, a line each

    @property
    def good(self) -> bool:
        """Whether all came out as the scenario says."""
        return not self.differences


def stage(settings: Settings, project: Project, folder: Path, scenario: Scenario) -> Workspace:
    """Return a workspace of its own for one scenario: an empty ledger, every adapter simulated."""
    home = folder / scenario.name
    home.mkdir(parents=True)
    blank, ledger = folder / "blank.db", home / "ledger.db"
    clock = VirtualClock(BEGIN)
    if not blank.exists():  # the schema is made once and copied: it takes longer than most scenarios
        first = Workspace(
            replace(settings, home=folder, database=f"sqlite:///{blank}"), clock=clock, project=project
        )
        first.ledger.database.schema()
        first.close()
    shutil.copy(blank, ledger)
    shop = Workspace(
        replace(settings, home=home, database=f"sqlite:///{ledger}"), clock=clock, project=project
    )
    simulated = {
        name: SimulatorBinding(use="simulator", faults=scenario.faults.get(name, ()))
        for name in project.contracts
    }
    shop.environment = shop.environment.model_copy(update={"adapters": simulated})
    return shop


class Play:
    """One scenario on its way."""

    def __init__(self, shop: Workspace, system: System, payloads: Mapping[str, Mapping[str, Any]]) -> None:
        assert isinstance(shop.clock, VirtualClock)
        self.shop = shop
        self.system = system
        self.payloads = payloads
        self.clock = shop.clock
        self.cases: list[str] = []
        self.differences: list[Difference] = []

    def play(self, scenario: Scenario) -> Played:
        """Play it from its first event to its judgement."""
        for trigger, path in scenario.given.items():
            self._send(trigger, path)
        for number, deed in enumerate(scenario.do, 1):
            self._run(BEGIN + deed.at)
            self._do(number, deed)
        last = max((deed.at for deed in scenario.do), default=0)
        self._run(BEGIN + (scenario.until if scenario.until is not None else last))
        self.differences += self._judge(scenario)
        return Played(scenario.name, tuple(self.differences), tuple(self._story()))

    def _send(self, trigger: str, path: str) -> None:
        one = self.system.trigger(trigger)
        payload = self.payloads[path]
        (receipt,) = self.shop.ledger.receive([arrival(self.system, one, payload, self._key(one, payload))])
        if receipt.case_id is not None and receipt.case_id not in self.cases:
            self.cases.append(receipt.case_id)

    def _key(self, trigger: Any, payload: Any) -> str:
        idempotency = getattr(trigger, "idempotency", None)
        for part in idempotency.path if idempotency else ():
            payload = payload.get(part) if isinstance(payload, Mapping) else None
        return str(payload) if idempotency else f"event {len(self.cases) + 1}"

    def _run(self, until: int) -> None:
        """Let everything happen that is due, and move the clock to what is due next, up to `until`."""
        for _ in range(MOST_MOVES):
            agenda = self.shop.ledger.due(self.shop.systems)
            for due in agenda.systems:
                self._move(due.system)
            if agenda.systems:
                continue
            if agenda.next_at is None or agenda.next_at > until:
                self.clock.at = max(self.clock.at, until)
                return
            self.clock.at = agenda.next_at
        self.differences.append(
            Difference("end", "the scenario ends", f"it goes on after {MOST_MOVES} moves")
        )

    def _move(self, system: str) -> None:
        claim = self.shop.ledger.claim(system, limit=50, lease=self.shop.environment.lease, by="scenario")
        if claim is not None:
            advance(hold(self.shop, claim.id, run_id=f"scenario-{claim.id}", host="scenario"))

    def _do(self, number: int, deed: Deed) -> None:
        word, what = deed.deed
        try:
            why = self._deed(deed, word, what)
        except ClawError as error:
            why = str(error)
        line = f"do, line {number}: {word} {what if isinstance(what, str) else ', '.join(what)}"
        if (why is not None) != deed.refused:
            self.differences.append(
                Difference(line, "refused" if deed.refused else "accepted", why or "accepted")
            )

    def _deed(self, deed: Deed, word: str, what: Any) -> str | None:
        """Do it; return why it was refused, or None when it was not."""
        match word:
            case "send":
                for trigger, path in what.items():
                    self._send(trigger, path)
                return None
            case "hold":
                holds.place(self.shop, what, by=deed.person, reason=deed.reason)
                self.shop.look_again()
                return None
            case "release":
                holds.release(self.shop, what, by=deed.person, reason=deed.reason)
                self.shop.look_again()
                return None
            case "skip":
                case = self._case_at(what)
                given = grant(self.shop, Skip(case.id, what, deed.person, "scenario", deed.reason))
                return given.why if isinstance(given, NotGranted) else None
        case = self._case_at(what)
        gate = case.facts.gates.get(what)
        digest = gate.digest if gate else ""
        said = answer(
            self.shop,
            Answer(case.id, what, digest, deed.person, word, "scenario", deed.reason, deed.form),  # type: ignore[arg-type]
        )
        return said.why if isinstance(said, Refused) else None

    def _case_at(self, step: str) -> Case:
        """Return the newest case that waits at a step, or the newest of all."""
        found = [case for one in reversed(self.cases) if (case := self.shop.ledger.case(one)) is not None]
        waits = [case for case in found if step in case.facts.gates and case.facts.gates[step].open]
        return (waits or found)[0]

    def _judge(self, scenario: Scenario) -> list[Difference]:
        case = self.shop.ledger.case(self.cases[0]) if self.cases else None
        found: list[Difference] = []
        for what, expected in scenario.expect.items():
            got = self._standing(case, what)
            if got != expected:
                found.append(Difference(what, expected, got))
        return found

    def _standing(self, case: Case | None, what: str) -> Any:
        if case is None:
            return "no case was opened"
        if what == "case":
            return case.state
        if what == "effects":
            return self._effects()
        if any(one.name == what for one in self.system.decisions):
            made = case.facts.decisions.get(what)
            return made.output.get("branch", dict(made.output)) if made else "not_reached"
        return standing(case, what)

    def _effects(self) -> list[str]:
        """Return the writes that took place and stand, in the order they were begun."""
        rows = [row for one in self.cases for row in self.shop.ledger.effects(one) if row["state"] == "done"]
        writes = [row for row in rows if self._writes(row["action"])]
        return [row["action"] for row in sorted(writes, key=lambda row: (row["claimed_at"], row["key"]))]

    def _writes(self, action: str) -> bool:
        contract = self.system.operations.get(action)
        return contract is None or contract.effect != "read"

    def _story(self) -> list[str]:
        lines = []
        for one in self.cases:
            for record in self.shop.ledger.journal(one):
                if record.kind in (Kind.CLAIMED, Kind.STARTED):
                    continue
                body = record.body or {}
                about = body.get("step") or body.get("decision") or body.get("stage") or ""
                who = body.get("person") or body.get("by") or ""
                why = body.get("why") or body.get("error") or body.get("reason") or ""
                text = " ".join(str(part) for part in (record.kind, about, who, why) if part)
                lines.append(f"{span(record.at - BEGIN):>12}  {text}")
        return lines


def standing(case: Case, step: str) -> str:
    """Return how a step of a case stands, in the words of scenarios."""
    gate, fact = case.facts.gates.get(step), case.facts.steps.get(step)
    if gate is not None and gate.state in ("denied", "expired"):
        return gate.state
    if gate is not None and gate.open and (fact is None or fact.state in ("waiting", "held")):
        return "waiting"
    if fact is None:
        return "not_reached"
    words = {
        "waiting": "retrying",
        "begun": "retrying",
        "held": "on_hold",
        "undoing": "undone",
        "stuck": "unknown",
    }
    return words.get(fact.state, fact.state)


def payloads_of(scenario: Scenario, texts: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """Return the payload of every file a scenario names."""
    return {path: json.loads(texts[path]) for path in scenario.files}
