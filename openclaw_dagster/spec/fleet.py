"""The rules across the files of one folder: events between systems, and names that would meet in Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from openclaw_dagster.spec.diagnostics import Findings, Mark, SpecRefused
from openclaw_dagster.spec.model import ENDS, System
from openclaw_dagster.spec.reader import Node, read
from openclaw_dagster.spec.triggers import ConditionTrigger, EventTrigger, ManualTrigger, ScheduleTrigger

RUNBOOK = "CLAW041"


def check_fleet(systems: Mapping[str, System], others: Iterable[str] = ()) -> list[SpecRefused]:
    """Return what is wrong between systems, given by the file each is shown under; one refusal for a file.

    `others` are the names of systems whose own files are refused: what they emit is not known.
    """
    refused: list[SpecRefused] = []
    emits: dict[str, frozenset[str]] = {
        system.name: frozenset([*system.emitted(), *ENDS]) for system in systems.values()
    }
    by_name = {system.name: system for system in systems.values()}
    taken: dict[str, str] = {}
    names: dict[str, str] = {}
    for file, system in systems.items():
        checked = _File(file, system)
        checked.check_name(names)
        checked.check_listens(emits, frozenset(others))
        checked.check_dagster_names(taken)
        checked.check_runbooks(by_name, frozenset(others))
        if checked.findings.found:
            refused.append(checked.findings.refusal())
    return refused


def system_named(refused: SpecRefused) -> str | None:
    """Return the name of the system whose file is refused, if that much can be read of it."""
    text = refused.sources.get(str(refused.details["file"]), "")
    node = read(text.encode("utf-8", "replace"), Findings(""))
    name = node.at(("system",)) if node is not None else None
    return name.value if name is not None and isinstance(name.value, str) else None


def dagster_names(system: System) -> Iterator[tuple[str, str]]:
    """Yield every name that a part of the system has in Dagster, with the one it has in its file."""
    yield f"job {system.name}", system.name
    yield f"tick {system.name}_dispatch", system.name
    for trigger in system.triggers:
        if isinstance(trigger, ScheduleTrigger | ConditionTrigger):
            yield f"tick {system.name}_{trigger.name}", trigger.name
    for stage in system.stages:
        yield f"job {system.name}__{stage.name}", stage.name
    yield f"job {system.name}__close", system.name


def manual_triggers(system: System) -> int:
    """Return how many doors a system has for whoever starts it as a runbook."""
    return sum(isinstance(trigger, ManualTrigger) for trigger in system.triggers)


def with_runbooks(systems: Mapping[str, System], system: System) -> dict[str, System]:
    """Return a system with all that its runbooks lead to."""
    found = {system.name: system}
    looking = [system]
    while looking:
        named = {step.runbook for step in looking.pop().execution}
        new = {name: one for name, one in systems.items() if name in named and name not in found}
        found |= new
        looking += new.values()
    return found


def circle_of(systems: Mapping[str, System], first: str, following: str) -> tuple[str, ...]:
    """Return the way from a system back to itself that begins with one of its runbooks; empty without one."""
    ways: list[tuple[str, ...]] = [(first, following)]
    seen = {following}
    for way in ways:
        if way[-1] == first:
            return way
        begun = (step.runbook for step in systems[way[-1]].execution) if way[-1] in systems else ()
        for name in sorted({one for one in begun if one is not None} - seen):
            seen.add(name)
            ways.append((*way, name))
    return ()


class _File:
    """One system of the folder, with the nodes of its file for places."""

    def __init__(self, file: str, system: System) -> None:
        self.file = file
        self.system = system
        self.findings = Findings(file)
        self.root = read(system.files[system.path].encode(), self.findings) or Node({}, Mark(), {})

    def place(self, name: str, *path: str) -> Mark:
        """Return where a named thing or the value of one of its keys stands; else the system's name."""
        for layer in ("triggers", "decisions", "execution"):
            entries: list[Any] = self.root.value.get(layer, self.root).value
            for index, item in enumerate(entries):
                if isinstance(item, Node) and item.step(name) is not None:
                    way = (layer, index, name, *path)
                    return self.root.value_mark(way) if path else self.root.mark_of(way)
        return self.root.value_mark(("system",))

    def check_name(self, names: dict[str, str]) -> None:
        known = names.setdefault(self.system.name, self.file)
        if known != self.file:
            problem = f"the system {self.system.name} is already in {known}: give one of them another name"
            self.findings.add(self.place(""), "CLAW016", problem)

    def check_listens(self, emits: Mapping[str, frozenset[str]], others: frozenset[str]) -> None:
        for trigger in self.system.triggers:
            if not isinstance(trigger, EventTrigger):
                continue
            name, _, event = trigger.of.partition(".")
            mark = self.place(trigger.name, "of")
            if name in emits and event not in emits[name]:
                allowed = [f"{name}.{known}" for known in emits[name]]
                problem = f"the system {name} emits no {event!r}"
                self.findings.add(mark, "CLAW022", problem, allowed=allowed, said=trigger.of)
            elif name not in emits and name not in others:
                problem = f"there is no system {name!r} in this folder"
                known = {*emits, *others} - {self.system.name}
                self.findings.add(mark, "CLAW022", problem, allowed=known, said=name)

    def check_runbooks(self, systems: Mapping[str, System], others: frozenset[str]) -> None:
        """Each runbook is there, has one manual trigger, and does not lead back to itself."""
        for step in self.system.execution:
            name = step.runbook
            if name is None or (name not in systems and name in others):
                continue
            mark = self.place(step.name, "action")
            if name not in systems:
                problem = f"there is no system {name!r} in this folder to start as a runbook"
                self.findings.add(mark, RUNBOOK, problem, allowed={*systems, *others}, said=name)
            elif (count := manual_triggers(systems[name])) != 1:
                problem = (
                    f"{name} has {count or 'no'} manual trigger{'s' if count else ''}: a runbook has one"
                )
                hint = "add to its triggers: - begin: {source: manual}" if not count else ""
                self.findings.add(mark, RUNBOOK, problem, hint=hint)
            elif circle := circle_of(systems, self.system.name, name):
                problem = f"these runbooks start each other for ever: {' → '.join(circle)}"
                self.findings.add(mark, RUNBOOK, problem)

    def check_dagster_names(self, taken: dict[str, str]) -> None:
        for shown, name in dagster_names(self.system):
            owner = taken.setdefault(shown, self.system.name)
            if owner != self.system.name:
                plain = shown.partition(" ")[2]
                problem = (
                    f"{name} would be {plain} in Dagster, as is a part of the system {owner}: rename one"
                )
                self.findings.add(self.place(name), "CLAW016", problem)
