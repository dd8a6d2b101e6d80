"""The five layers as frozen data: what a `.claw` file says, once it is known to be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from openclaw_dagster.spec.contracts import Effect, Frozen, Operation
from openclaw_dagster.spec.gates import NEVER, Checkpoint, SkipPolicy
from openclaw_dagster.spec.runbooks import runbook_of
from openclaw_dagster.spec.scenarios import Scenario
from openclaw_dagster.spec.triggers import Trigger
from openclaw_dagster.spec.units import (
    Action,
    Duration,
    Event,
    Json,
    Name,
    Place,
    RoleName,
    Text,
    Threshold,
    problem,
    shown,
)

T = TypeVar("T")

#: The events by which every system says how a case ended, with its completion record.
ENDS = ("case_completed", "case_handed_off")


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Events = Annotated[
    tuple[Event, ...],
    BeforeValidator(_list, json_schema_input_type=Event | tuple[Event, ...]),
    Field(strict=False),
]


def _then(value: Any) -> Any:
    if value and isinstance(value, str | dict):
        return value
    raise problem("CLAW014", f"then is a word, or a mapping such as {{branch: book}}, not {shown(value)}")


class TableRow(Frozen):
    """One row of a decision table: a condition and what it decides."""

    when: str | None = Field(default=None, description="CEL over the decision's inputs.")
    otherwise: Literal[True] | None = Field(
        default=None, alias="else", description="The row for everything else."
    )
    then: Annotated[str | dict[str, Json], BeforeValidator(_then)] = Field(
        description="The output: a mapping, or a word that stands for {branch: word}."
    )


class Decision(Frozen):
    """A pure function from declared inputs to an output: a policy file or a table."""

    name: Name = Field(exclude=True)
    on: Events = Field(
        default=(), description="The triggers or events that start it; see the language's silent rule."
    )
    inputs: tuple[Name, ...] = Field(strict=False, min_length=1, description="What it may look at.")
    policy: str | None = Field(default=None, description="File of the policy: .ts, .py or .table.yaml.")
    table: tuple[TableRow, ...] | None = Field(
        default=None, min_length=1, strict=False, description="The table, written in place."
    )
    emits: Event | None = Field(default=None, description="The event that says it was decided.")


class Retries(Frozen):
    """How often and how a step that failed is tried again."""

    max: int = Field(default=3, ge=0, le=100, description="Retries after the first attempt.")
    backoff: Literal["exponential", "fixed"] = Field(default="exponential", description="How the waits grow.")
    delay: Duration = Field(default=1_000, description="The first wait.")
    jitter: bool = Field(
        default=True, description="Whether each wait is lengthened by up to a quarter, by chance."
    )


Count = Annotated[int, Field(ge=0, le=100)]


def _retries(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return {"max": value}
    raise problem(
        "CLAW014",
        f"retries is a whole number, or a mapping such as {{max: 3, delay: 1s}}, not {shown(value)}",
    )


class UnknownOutcome(Frozen):
    """What is done when nobody knows whether a write took place."""

    verify: Action = Field(description="The read action that is asked, such as `carrier.find_booking`.")


class Step(Frozen):
    """One action of the runbook."""

    name: Name = Field(exclude=True)
    on: Event = Field(description="The event or trigger that makes the step part of the case.")
    when: str | None = Field(
        default=None, description="CEL; the step is left out of the case when it is false."
    )
    needs: tuple[Name, ...] = Field(
        default=(), strict=False, description="Steps that must be completed before."
    )
    action: Action = Field(
        description="adapter.operation, such as `carrier.book`; `runbook.NAME` starts a case of that system."
    )
    arguments: dict[str, Json] | None = Field(
        default=None, alias="with", description="Arguments; `${…}` is one CEL expression."
    )
    foreach: str | None = Field(
        default=None, description="CEL; the list for each of whose items a runbook starts a case of its own."
    )
    item: Name = Field(
        default="item", alias="as", description="What `with` calls the item that a case is started for."
    )
    effect: Effect | None = Field(
        default=None, description="read, write or irreversible; without it the action's own class."
    )
    critical: bool = Field(default=False, description="Never without a checkpoint before it.")
    checkpoint: Checkpoint | None = Field(
        default=None, description="Whose answer it needs before it runs; an irreversible step, an approval."
    )
    skip: Name = Field(
        default=NEVER, description="`never`, or the skip policy under which people may leave it out."
    )
    retries: Annotated[Retries, BeforeValidator(_retries, json_schema_input_type=Count | Retries)] = Field(
        default=Retries(), description="Retries after a failure that may pass."
    )
    timeout: Duration = Field(default=30_000, description="The longest one attempt may take.")
    unknown_outcome: UnknownOutcome | None = Field(
        default=None, description="What is asked when the outcome of a write is unknown."
    )
    undo: Action | None = Field(
        default=None, description="The action that takes this step back when a later one fails."
    )
    emits: Event | None = Field(default=None, description="The event that says it was done.")
    dead_letter: Place | None = Field(
        default=None, description="Where a case goes that gives up at this step."
    )

    @property
    def runbook(self) -> str | None:
        """The system that it starts cases of, when that is what it does."""
        return runbook_of(self.action)


class EventLog(Frozen):
    """Where events are kept, and for how long."""

    store: Literal["event-log"] = Field(description="The ledger's append-only event log.")
    retention: Duration = Field(
        default=365 * 86_400_000, description="How long payloads are kept, and what cases say."
    )


class Source(Frozen):
    """A value that decisions may take, read through an adapter when a case needs it."""

    name: Name = Field(exclude=True)
    read: Action = Field(description="The read action.")
    arguments: dict[str, Json] = Field(
        default={}, alias="with", description="Arguments; `${…}` is one CEL expression."
    )


class Data(Frozen):
    """The data layer."""

    events: EventLog = Field(description="The event log.")
    sources: tuple[Source, ...] = Field(default=(), strict=False, description="Named reads for decisions.")


class Alert(Frozen):
    """When somebody is told, and where."""

    on: str = Field(description="metric op quantity, with `for duration` if wanted.")
    route: Place = Field(description="Where it is said.")


class Observability(Frozen):
    """The observability layer: what is promised, and who hears when it is broken."""

    slo: dict[Name, Threshold] = Field(default={}, description="Objectives by metric.")
    alerts: tuple[Alert, ...] = Field(default=(), strict=False, description="Alerts.")


class Stage(Frozen):
    """One node of a case's way: a decision or a step, in the order they run."""

    kind: Literal["decision", "step"]
    name: str
    after: tuple[str, ...] = Field(description="Stages whose result or event it needs.")
    on: tuple[str, ...] = Field(description="Triggers and events that make it part of a case.")


class System(Frozen):
    """One `.claw` file, checked."""

    name: Name
    version: Text
    owner: RoleName | None = Field(description="The role that a case is handed to that ends half done.")
    batch: int
    triggers: tuple[Trigger, ...]
    decisions: tuple[Decision, ...]
    execution: tuple[Step, ...]
    data: Data
    observability: Observability
    skip_policies: tuple[SkipPolicy, ...]
    scenarios: tuple[Scenario, ...] = Field(
        exclude=True, description="Its tests; no part of what it means, so they change no digest."
    )
    fixtures: dict[str, dict[str, Any]] = Field(
        exclude=True, description="The payloads of its tests, by the path they are named by."
    )
    stages: tuple[Stage, ...] = Field(exclude=True, description="Decisions and steps in the order they run.")
    operations: dict[str, Operation] = Field(description="The contract of every action the system uses.")
    files: dict[str, str] = Field(
        exclude=True, description="Text of every file the system is made of, by relative path."
    )
    path: str = Field(exclude=True, description="The `.claw` file, relative to its folder.")
    digest: str = Field(exclude=True, description="sha256 of the compiled form, the same in every process.")

    def trigger(self, name: str) -> Trigger:
        """Return the trigger called `name`; KeyError when there is none."""
        return _named(self.triggers, name)

    def decision(self, name: str) -> Decision:
        """Return the decision called `name`; KeyError when there is none."""
        return _named(self.decisions, name)

    def step(self, name: str) -> Step:
        """Return the step called `name`; KeyError when there is none."""
        return _named(self.execution, name)

    def skip_policy(self, name: str) -> SkipPolicy:
        """Return the skip policy called `name`; KeyError when there is none."""
        return _named(self.skip_policies, name)

    def emitted(self) -> Mapping[str, tuple[str, ...]]:
        """Return the stages that emit each event."""
        found: dict[str, tuple[str, ...]] = {}
        items: tuple[Decision | Step, ...] = (*self.decisions, *self.execution)
        for item in items:
            if item.emits:
                found[item.emits] = (*found.get(item.emits, ()), item.name)
        return found


def _named(items: tuple[T, ...], name: str) -> T:
    for item in items:
        if getattr(item, "name", None) == name:
            return item
    raise KeyError(name)
