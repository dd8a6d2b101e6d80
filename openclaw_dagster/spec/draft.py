"""A system while it is being checked: its parts, where they stand, and what was found wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from openclaw_dagster.spec.contracts import Catalog, Operation
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.folder import Folder, NoFile
from openclaw_dagster.spec.model import Data, Decision, EventTrigger, Observability, ScheduleTrigger, Step, Trigger
from openclaw_dagster.spec.reader import Node

#: Names every expression of a step may use beside the payload, the decisions and the steps.
BUILT_IN = frozenset({"payload", "case"})

PolicyCheck = Callable[[str, str], None]


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
    triggers: tuple[Trigger, ...] = ()
    decisions: tuple[Decision, ...] = ()
    steps: tuple[Step, ...] = ()
    data: Data | None = None
    observability: Observability | None = None
    files: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)

    def mark(self, layer: str, name: str, *path: Any) -> Mark:
        """Return where the key `path` of a named thing stands."""
        return self.root.mark_of(self.places[layer, name] + path)

    def value(self, layer: str, name: str, *path: Any) -> Mark:
        """Return where the value of the key `path` of a named thing begins."""
        return self.root.value_mark(self.places[layer, name] + path)

    def file(self, relative: str, mark: Mark) -> str | None:
        """Return the text of a file the system names and remember it; a finding when it cannot be had."""
        try:
            data = self.folder.read(relative)
            text = data.decode("utf-8")
        except NoFile as error:
            self.findings.add(mark, "CLAW020", str(error))
            return None
        except UnicodeDecodeError:
            self.findings.add(mark, "CLAW020", f"{relative} is not UTF-8 text")
            return None
        self.files[relative.removeprefix("./")] = text
        return text

    def roots(self, trigger: Trigger) -> frozenset[str]:
        """Return the payload roots a trigger is known to bring."""
        if isinstance(trigger, ScheduleTrigger):
            return frozenset({"tick"})
        if isinstance(trigger, EventTrigger):
            return frozenset({"event"})
        known = {trigger.idempotency.path[0]} if trigger.idempotency else set()
        schema = self.schemas.get(trigger.schema_file or "", {})
        return frozenset(known | set(schema.get("properties", {})))

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
        """Return every name an expression of a step may use."""
        names = set(BUILT_IN)
        for trigger in self.triggers:
            names |= self.roots(trigger)
        for decision in self.decisions:
            names |= {decision.name, *decision.inputs}
        names |= {step.name for step in self.steps}
        names |= {source.name for source in self.data.sources} if self.data else set()
        return frozenset(names)

    def operation(self, action: str) -> Operation | None:
        """Return the contract of an action, if some adapter has it."""
        return self.catalog.get(action)
