"""Plays a scenario: the real ledger, policies and checkpoints, with simulators and a clock that is moved by hand."""

from __future__ import annotations

import copy
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never

from openclaw_dagster.clock import VirtualClock, iso
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.clearance import Answer, Refused, answer
from openclaw_dagster.runtime.intake import arrival, tick
from openclaw_dagster.runtime.skips import NotGranted, Skip, grant
from openclaw_dagster.runtime.standing import Difference, differences, story
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import Settings
from openclaw_dagster.spec.environment import SimulatorBinding
from openclaw_dagster.spec.fleet import with_runbooks
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.scenarios import Deed, Scenario
from openclaw_dagster.spec.triggers import (
    ConditionTrigger,
    EventTrigger,
    ManualTrigger,
    QueueTrigger,
    ScheduleTrigger,
    Trigger,
    WebhookTrigger,
)
from openclaw_dagster.store.case import Case

#: When every scenario begins: a Monday, 09:00 UTC.
BEGIN = 1_767_603_600_000
#: How often the clock may be moved in one scenario: more is a circle.
MOST_MOVES = 5_000
#: Why a person does something, when the scenario does not say.
REASON = "as the scenario says"


@dataclass(frozen=True)
class Played:
    """How one scenario went."""

    system: str
    scenario: str
    end: int  # when (ms from its begin, on its own clock) it was judged
    differences: tuple[Difference, ...]
    story: tuple[str, ...]  # the journal of its cases, a line each

    @property
    def good(self) -> bool:
        """Whether all came out as the scenario says."""
        return not self.differences


def play(settings: Settings, project: Project, folder: Path, system: System, scenario: Scenario) -> Played:
    """Play one scenario in an empty workspace of its own inside `folder`, and judge it."""
    chance = random.getstate()
    random.seed(f"{system.name}.{scenario.name}")  # the waits before retries are the same each time
    shop = _stage(settings, project, folder, system, scenario)
    try:
        one = _Play(shop, system)
        one.play(scenario)
        found = (*one.differences, *differences(shop, system, one.cases, scenario.expect))
        return Played(system.name, scenario.name, scenario.end, found, story(shop, one.cases, BEGIN))
    finally:
        shop.close()
        random.setstate(chance)


def _stage(
    settings: Settings, project: Project, folder: Path, system: System, scenario: Scenario
) -> Workspace:
    """Return a workspace with an empty ledger, one system with its runbooks, and every adapter simulated."""
    home = Path(tempfile.mkdtemp(prefix=f"{system.name}-{scenario.name}-", dir=folder))
    alone = copy.copy(project)
    alone.systems = alone.known = with_runbooks(
        project.known, system
    )  # who listens to it has scenarios of its own
    blank = folder / "blank.db"
    if not blank.exists():  # the schema is made once and copied: it takes longer than most scenarios
        first = _workspace(settings, alone, folder, blank)
        first.ledger.database.schema()
        first.close()
    shutil.copy(blank, home / "ledger.db")
    shop = _workspace(settings, alone, home, home / "ledger.db")
    simulated = {
        name: SimulatorBinding(use="simulator", faults=scenario.faults.get(name, ()))
        for name in project.contracts
    }
    shop.environment = shop.environment.model_copy(update={"adapters": simulated})
    return shop


def _workspace(settings: Settings, project: Project, home: Path, ledger: Path) -> Workspace:
    own = replace(settings, home=home, database=f"sqlite:///{ledger}")
    return Workspace(own, clock=VirtualClock(BEGIN), project=project, lasting=False)


class _Play:
    """One scenario on its way."""

    def __init__(self, shop: Workspace, system: System) -> None:
        assert isinstance(shop.clock, VirtualClock)
        self.shop = shop
        self.system = system
        self.clock = shop.clock
        self.cases: list[str] = []
        self.events = 0
        self.differences: list[Difference] = []

    def play(self, scenario: Scenario) -> None:
        """Let everything happen, from the first event to the moment at which it is judged."""
        for trigger, path in scenario.given.items():
            try:
                self._send(trigger, path)
            except ClawError as error:
                self._differs(f"given, {trigger}", "taken", str(error))
        for number, deed in enumerate(scenario.do, 1):
            self._run(BEGIN + deed.at)
            self._do(number, deed)
        self._run(BEGIN + scenario.end)

    def _differs(self, what: str, expected: Any, found: Any) -> None:
        self.differences.append(Difference(what, expected, found))

    def _send(self, name: str, path: str) -> None:
        trigger = self.system.trigger(name)
        self.events += 1
        payload, key = self._event(trigger, path)
        (receipt,) = self.shop.ledger.receive([arrival(self.system, trigger, payload, key)])
        if receipt.case_id is not None and receipt.case_id not in self.cases:
            self.cases.append(receipt.case_id)

    def _event(self, trigger: Trigger, path: str) -> tuple[Mapping[str, Any], str]:
        """Return the payload of an event and its key, as the trigger's own door would make them."""
        now, number = self.clock.now(), f"event-{self.events}"
        if isinstance(trigger, ScheduleTrigger):
            return tick(trigger, now)
        payload, at = self.system.fixtures[path], iso(now)
        match trigger:
            case EventTrigger():
                event = {"name": trigger.of, "case": number, "key": number, "at": at, "output": {}}
                return {**payload, "event": {**event, **payload.get("event", {})}}, number
            case ConditionTrigger():
                seen = {"trigger": trigger.name, "since": at, "at": at, **payload["condition"]}
                return {**payload, "condition": seen}, number
            case WebhookTrigger() | ManualTrigger() | QueueTrigger():
                value: Any = payload if trigger.idempotency else number
                for part in trigger.idempotency.path if trigger.idempotency else ():
                    value = value[part]
                return payload, str(value)
            case _:
                assert_never(trigger)

    def _run(self, until: int) -> None:
        """Let everything happen that is due, and move the clock to what is due next, up to `until`."""
        for _ in range(MOST_MOVES):
            agenda = self.shop.ledger.due(self.shop.systems)
            if agenda.systems:
                self._move()
            elif agenda.next_at is None or agenda.next_at > until:
                self.clock.at = max(self.clock.at, until)
                return
            else:
                self.clock.at = agenda.next_at
        self._differs("end", "it comes to rest", f"it goes on after {MOST_MOVES} moves of the clock")

    def _move(self) -> None:
        lease = self.shop.environment.lease
        for name in self.shop.systems:
            claim = self.shop.ledger.claim(name, limit=50, lease=lease, by="scenario")
            if claim is not None:
                advance(hold(self.shop, claim.id, run_id=f"scenario-{claim.id}", host="scenario"))

    def _do(self, number: int, deed: Deed) -> None:
        try:
            why = self._refusal(deed)
        except ClawError as error:
            why = str(error)
        if (why is not None) != deed.refused:
            word, what = deed.deed
            said = what if isinstance(what, str) else ", ".join(what)
            who = f" as {deed.person}" if deed.person else ""
            wanted = "refused" if deed.refused else "accepted"
            self._differs(f"line {number} of do, {word} {said}{who}", wanted, why or "accepted")

    def _refusal(self, deed: Deed) -> str | None:
        """Do it; return why it was refused, or None when it was not."""
        word, what = deed.deed
        person, reason = deed.person or "", deed.reason or REASON
        match word:
            case "send":
                for trigger, path in what.items():
                    self._send(trigger, path)
                return None
            case "hold":
                placed = holds.place(self.shop, what, by=person, reason=reason)
                self.shop.look_again()
                return None if placed else f"{what} is on hold already"
            case "release":
                freed = holds.release(self.shop, what, by=person, reason=reason)
                self.shop.look_again()
                return None if freed is not None else f"{what} is not on hold"
            case "skip" | "approve" | "acknowledge" | "deny":
                *runbooks, step = what.split(".")
                case = self._case_at(runbooks, step, person)
                if case is None:
                    return "no case was opened"
                if word == "skip":
                    given = grant(self.shop, Skip(case.id, step, person, "scenario", reason))
                    return given.why if isinstance(given, NotGranted) else None
                gate = case.facts.gates.get(step)
                digest = gate.digest if gate else ""
                form = deed.form or {}
                said = answer(
                    self.shop, Answer(case.id, step, digest, person, word, "scenario", reason, form)
                )
                return said.why if isinstance(said, Refused) else None
            case _:
                assert_never(word)

    def _case_at(self, runbooks: Sequence[str], step: str, person: str) -> Case | None:
        """Return the case that waits at a step, below the runbooks that lead there: the newest, but items in order.

        One that the person has answered already comes last; without one that waits, it is the first of all.
        """
        known = [self.shop.ledger.case(one) for one in reversed(self.cases)]
        found = [case for case in known if case is not None]
        for runbook in runbooks:
            found = [one for case in found for one in self.shop.ledger.begun_by(case).get(runbook, ())]
        waits = [case for case in found if step in case.facts.waits_at]
        waits.sort(key=lambda case: any(one["person"] == person for one in case.facts.gates[step].answers))
        return next(iter((*waits, *found)), None)
