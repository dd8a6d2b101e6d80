"""A system while it is being checked: its parts, where they stand, and what was found wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from openclaw_dagster.spec.contracts import Catalog
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.folder import Folder, NoFile, normalise
from openclaw_dagster.spec.gates import SkipPolicy
from openclaw_dagster.spec.model import Data, Decision, Observability, Step
from openclaw_dagster.spec.reader import Node
from openclaw_dagster.spec.scenarios import Scenario
from openclaw_dagster.spec.triggers import (
    ConditionTrigger,
    EventTrigger,
    ManualTrigger,
    QueueTrigger,
    ScheduleTrigger,
    Trigger,
)
from openclaw_dagster.spec.units import EVENT, NAME

#: Names every expression of a step may use beside the payload, the decisions and the steps.
BUILT_IN = frozenset({"payload", "case"})

PolicyCheck = Callable[[str, str], None]
#: The way to a value of the file: keys and indexes.
Path = tuple[str | int, ...]


@dataclass
class Draft:
    """Everything the checks of one file look at; they only ever add findings and files."""

    root: Node
    findings: Findings
    folder: Folder
    catalog: Catalog
    check_policy: PolicyCheck
    name: str = ""
    version: str = ""
    owner: str | None = None
    batch: int = 50
    triggers: tuple[Trigger, ...] = ()
    decisions: tuple[Decision, ...] = ()
    steps: tuple[Step, ...] = ()
    data: Data | None = None
    observability: Observability | None = None
    skip_policies: tuple[SkipPolicy, ...] = ()
    #: A system brought back from the ledger: its scenarios are no part of what it means, and were not kept.
    kept: bool = False
    scenarios: tuple[Scenario, ...] = ()
    fixtures: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[tuple[str, str], Path] = field(default_factory=dict)
    #: Tables that were read from files of their own, by decision: where their rows stand.
    tables: dict[str, tuple[Findings, Node]] = field(default_factory=dict)

    def mark(self, layer: str, name: str, *path: str | int) -> Mark:
        """Return where the key `path` of a named thing stands."""
        return self.root.mark_of(self.places[layer, name] + path)

    def value(self, layer: str, name: str, *path: str | int) -> Mark:
        """Return where the value of the key `path` of a named thing begins."""
        return self.root.value_mark(self.places[layer, name] + path)

    def says(self, layer: str, name: str) -> dict[str, Node]:
        """Return what a named thing says, as it was written; also of things that are not right."""
        node = self.root.at(self.places[layer, name])
        return node.value if node is not None and isinstance(node.value, dict) else {}

    def names(self, *layers: str) -> list[str]:
        """Return the names in some layers, also of things that are not right."""
        return [name for layer, name in self.places if layer in layers]

    def words(self, layer: str, key: str) -> Iterator[str]:
        """Yield the words that the things of a layer say under `key`, one or a list of them."""
        for name in self.names(layer):
            node = self.says(layer, name).get(key)
            inner = node.value if node is not None else None
            for item in inner if isinstance(inner, list) else [node]:
                if item is not None and isinstance(item.value, str):
                    yield item.value

    def events(self) -> frozenset[str]:
        """Return every event that can be listened to: the triggers, and what is emitted here."""
        emitted = {*self.words("decisions", "emits"), *self.words("execution", "emits")}
        return frozenset(self.names("triggers")) | {event for event in emitted if EVENT.match(event)}

    def file(self, relative: str, mark: Mark) -> tuple[str, Findings] | None:
        """Return the text of a file the system names, remembered, and where its own problems go."""
        opened = self.beside(relative, mark)
        if opened is not None:
            self.files[normalise(relative)] = opened[0]
        return opened

    def beside(self, relative: str, mark: Mark) -> tuple[str, Findings] | None:
        """Return the text of a file in the system's folder, and where its own problems go."""
        try:
            text = self.folder.read(relative).decode("utf-8")
        except NoFile as error:
            said = relative.removeprefix("./")
            self.findings.add(mark, "CLAW020", str(error), allowed=error.there, said=said)
            return None
        except UnicodeDecodeError:
            self.findings.add(mark, "CLAW020", f"{relative} is not UTF-8 text")
            return None
        shown = str(PurePath(self.findings.file).parent / normalise(relative))
        return text, self.findings.beside(shown, text, mark)

    def roots(self, trigger: Trigger) -> frozenset[str]:
        """Return the payload roots a trigger is known to bring."""
        if isinstance(trigger, ScheduleTrigger):
            return frozenset({"tick"})
        if isinstance(trigger, ConditionTrigger):
            return frozenset({"condition"})
        if isinstance(trigger, QueueTrigger) and trigger.dead_letters:
            return frozenset({"dead_letter", "payload"})
        requester = None if isinstance(trigger, ManualTrigger) else trigger.requester
        asked = {requester.split(".")[0]} if requester else set()
        if isinstance(trigger, EventTrigger):
            return frozenset({"event"} | asked)
        known = ({trigger.idempotency.path[0]} if trigger.idempotency else set()) | asked
        properties = self.schemas.get(trigger.schema_file or "", {}).get("properties", {})
        return frozenset(known | set(properties))

    def starts(self, decision: Decision) -> tuple[str, ...]:
        """Return the triggers and events that start a decision; empty when that is not clear."""
        if decision.on:
            return decision.on
        wanted = set(decision.inputs)
        listening = tuple(sorted(t.name for t in self.triggers if self.roots(t) & wanted))
        if listening:
            return listening
        return (self.triggers[0].name,) if len(self.triggers) == 1 else ()

    def known_names(self) -> frozenset[str]:
        """Return every name an expression may use that is there without asking a source."""
        names = {word for word in self.words("decisions", "inputs") if NAME.match(word)}
        names -= set(self.names("sources"))
        names |= {*BUILT_IN, *self.names("decisions", "execution")}
        return frozenset(names.union(*(self.roots(trigger) for trigger in self.triggers)))
