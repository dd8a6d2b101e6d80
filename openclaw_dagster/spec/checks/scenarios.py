"""The scenarios: they name what is there, their lines come in order, and they expect what can be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openclaw_dagster.spec.checks.expressions import check_expression
from openclaw_dagster.spec.checks.payloads import Payloads
from openclaw_dagster.spec.diagnostics import Mark
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.model import Decision, Step
from openclaw_dagster.spec.runbooks import runbook_of
from openclaw_dagster.spec.scenarios import (
    CASE,
    CASE_STATES,
    EFFECTS,
    RESIDUAL,
    STEP_STATES,
    Deed,
    Scenario,
)
from openclaw_dagster.spec.units import format_duration, shown

CODE = "CLAW040"
#: What the condition of a fault looks at.
FAULT_NAMES = frozenset({"args"})


def check_scenarios(draft: Draft) -> None:
    """Every scenario can be played, and could come out as it says."""
    payloads = Payloads(draft)
    for scenario in draft.scenarios:
        _Check(draft, scenario, payloads).check()


class _Check:
    """One scenario, and where its parts stand."""

    def __init__(self, draft: Draft, scenario: Scenario, payloads: Payloads) -> None:
        self.draft, self.scenario, self.payloads = draft, scenario, payloads
        self.steps = {step.name: step for step in draft.steps}
        self.decisions = {decision.name: decision for decision in draft.decisions}

    def check(self) -> None:
        """Look at everything it says."""
        for trigger, path in self.scenario.given.items():
            self._check_event(trigger, path, "given")
        before = 0
        for number, deed in enumerate(self.scenario.do):
            if deed.at < before:
                problem = (
                    f"this is at {format_duration(deed.at)}, and the line before it at {format_duration(before)}: "
                    "what comes later stands later"
                )
                self._add(("do", number, "at"), problem)
            before = max(before, deed.at)
            self._check_deed(number, deed)
        if self.scenario.until is not None and self.scenario.until < before:
            problem = f"it is judged before its last line of do, which is at {format_duration(before)}"
            self._add(("until",), problem)
        self._check_faults()
        for word, expected in self.scenario.expect.items():
            self._check_expected(word, expected)

    def _check_event(self, trigger: str, path: str, *place: str | int) -> None:
        if self._known((*place, trigger), "trigger", trigger, self.draft.names("triggers"), at_key=True):
            self.payloads.check(trigger, path, self._value(*place, trigger))

    def _check_deed(self, number: int, deed: Deed) -> None:
        word, what = deed.deed
        place = ("do", number, word)
        match word:
            case "send":
                for trigger, path in what.items():
                    self._check_event(trigger, path, *place)
            case "hold" | "release":
                actions = {step.action for step in self.draft.steps}
                self._known(place, "system or action of this file", what, [self.draft.name, *sorted(actions)])
            case _ if not self._step(place, what):
                pass
            case "approve" | "acknowledge" | "deny" if what in self.steps:
                self._check_answer(place, deed, self.steps[what])

    def _step(self, place: tuple[str | int, ...], what: str) -> bool:
        """Tell whether a step is there; what stands inside a runbook is known when the scenario is played."""
        first, inside, _ = what.partition(".")
        if not inside:
            return self._known(place, "step", what, self.draft.names("execution"))
        runbooks = [step.name for step in self.draft.steps if step.runbook]
        if first not in self.draft.names("execution") or first in runbooks:
            return self._known(place, "step that is a runbook", first, runbooks)
        self._add(place, f"{first} is no runbook, so no step stands inside it")
        return False

    def _check_answer(self, place: tuple[str | int, ...], deed: Deed, step: Step) -> None:
        word = deed.deed[0]
        if step.checkpoint is None:
            if "checkpoint" not in self.draft.says("execution", step.name):
                self._add(place, f"{step.name} has no checkpoint, so nobody is asked")
            return
        wanted = "approve" if step.checkpoint.kind == "approval" else "acknowledge"
        if word not in (wanted, "deny") and not deed.refused:
            self._add(place, f"the checkpoint of {step.name} is answered by {wanted} or deny, not by {word}")
        if not deed.refused:
            for name in deed.form or {}:
                field = (*place[:-1], "form", name)
                self._known(field, f"field of {step.name}'s form", name, step.checkpoint.form, at_key=True)

    def _check_faults(self) -> None:
        used = {action.split(".")[0] for action in _actions(self.draft)}
        for adapter, faults in self.scenario.faults.items():
            if not self._known(
                ("faults", adapter), "adapter of this system", adapter, sorted(used), at_key=True
            ):
                continue
            operations = [name for name in self.draft.catalog if name.startswith(f"{adapter}.")]
            known = [name.split(".")[1] for name in operations]
            for number, fault in enumerate(faults):
                place = ("faults", adapter, number)
                self._known((*place, "operation"), f"operation of {adapter}", fault.operation, known)
                check_expression(self.draft.findings, fault.when, FAULT_NAMES, self._value(*place, "when"))

    def _check_expected(self, word: str, expected: Any) -> None:
        place = ("expect", word)
        if word == EFFECTS:
            self._check_list(place, expected)
        elif word == RESIDUAL:
            self._check_residual(place, expected)
        elif word == CASE:
            self._known(place, "state of a case", expected, CASE_STATES)
        elif word in self.decisions:
            self._check_branch(place, self.decisions[word], expected)
        elif word in self.draft.names("execution"):
            self._known(place, "state of a step", expected, STEP_STATES)
        else:
            known = [*self.draft.names("execution", "decisions"), CASE, EFFECTS, RESIDUAL]
            self._known(place, "step or decision", word, known, at_key=True)

    def _check_branch(self, place: tuple[str | int, ...], decision: Decision, expected: Any) -> None:
        if not isinstance(expected, str | dict):
            said = shown(expected)
            self._add(place, f"a decision comes to a word, or to a mapping of its output, not to {said}")
        elif isinstance(expected, str) and decision.table is not None:
            then = [row.then for row in decision.table]
            words = [one if isinstance(one, str) else one.get("branch") for one in then]
            branches = sorted({one for one in words if isinstance(one, str)})
            self._known(place, f"branch of {decision.name}", expected, [*branches, "not_reached"])

    def _check_list(self, place: tuple[str | int, ...], expected: Any) -> None:
        if not isinstance(expected, list):
            said = shown(expected)
            self._add(place, f"effects is a list of actions, such as [carrier.book], not {said}")
            return
        writes = [name for name in _actions(self.draft) if _writes(self.draft, name)]
        for number, action in enumerate(expected):
            self._known((*place, number), "write of this system", action, writes)

    def _check_residual(self, place: tuple[str | int, ...], expected: Any) -> None:
        if not isinstance(expected, dict):
            said = shown(expected)
            problem = f"residual is a mapping of steps to the roles that are left with them, not {said}"
            self._add(place, problem)
            return
        for name, role in expected.items():
            if self._known((*place, name), "step", name, self.draft.names("execution"), at_key=True):
                self._known((*place, name), "role of this system", role, _roles(self.draft))

    def _known(
        self,
        place: tuple[str | int, ...],
        what: str,
        said: Any,
        known: Iterable[str],
        *,
        at_key: bool = False,
    ) -> bool:
        """Add a finding when a word is none of those that are known; return whether it is one."""
        options = list(known)
        if said in options:
            return True
        text = said if isinstance(said, str) else ""
        problem = f"{shown(said)} is no {what}"
        mark = self._mark(*place) if at_key else self._value(*place)
        self.draft.findings.add(mark, CODE, problem, allowed=options, said=text)
        return False

    def _add(self, place: tuple[str | int, ...], problem: str) -> None:
        self.draft.findings.add(self._value(*place), CODE, problem)

    def _mark(self, *place: str | int) -> Mark:
        return self.draft.mark("tests", self.scenario.name, *place)

    def _value(self, *place: str | int) -> Mark:
        return self.draft.value("tests", self.scenario.name, *place)


def _actions(draft: Draft) -> list[str]:
    """Return every action that the system may call, as far as its contracts are known.

    What its runbooks call stands in other files: with one of them, that may be any action there is.
    """
    if any(step.runbook for step in draft.steps):
        return sorted(name for name in draft.catalog if runbook_of(name) is None)
    named = {step.action for step in draft.steps} | {step.undo for step in draft.steps if step.undo}
    named |= {source.read for source in draft.data.sources} if draft.data else set()
    return sorted(name for name in named if name in draft.catalog)


def _writes(draft: Draft, action: str) -> bool:
    return draft.catalog[action].effect != "read"


def _roles(draft: Draft) -> list[str]:
    asked = [step.checkpoint.roles for step in draft.steps if step.checkpoint is not None]
    named = {role for roles in asked for role in roles} | ({draft.owner} if draft.owner else set())
    return sorted(named)
