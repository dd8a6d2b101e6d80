"""A case as it stands: its state, and the facts that its journal adds up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openclaw_dagster.clock import DAY
from openclaw_dagster.store.gates import GateFact, SkipFact

#: How long (ms) texts are kept of what has no retention of its own.
KEEP = 365 * DAY

State = Literal[
    "open",
    "running",
    "waiting_retry",
    "awaiting_human",
    "completed",
    "handed_off",
    "dead_lettered",
    "cancelled",
]
#: States in which nothing more happens by itself.
ENDED: frozenset[str] = frozenset({"completed", "handed_off", "dead_lettered", "cancelled"})

StepState = Literal[
    "begun", "completed", "skipped", "waiting", "held", "unknown", "failed", "undoing", "undone", "stuck",
    "under_way",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class DecisionFact:
    """A decision that was made, with everything that is needed to make it again."""

    output: Mapping[str, Any]
    reason: str
    inputs: Mapping[str, Any]
    policy: str  # digest of the policy or table
    at: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Which step of which case began a case, and as which of how many."""

    case: str
    step: str
    index: int  # from 0
    depth: int = 1  # how many cases stand above it
    room: int = 16 * 1024  # bytes of results that it may hand to the step


@dataclass(frozen=True, slots=True)
class Branch:
    """One case that a step began, as far as the step has heard of it."""

    key: str
    digest: str  # of what it was begun with
    state: str = "open"  # open, or as it ended
    case: str = ""  # its id, once it was heard of
    reason: str = ""
    result: Any = None

    @property
    def settled(self) -> bool:
        """Whether nothing more is heard of it: a dead letter may still be redriven."""
        return self.state in ("completed", "handed_off", "cancelled")


@dataclass(frozen=True, slots=True)
class StepFact:
    """How one step of a case stands."""

    state: StepState
    attempt: int = 0
    generation: int = 1  # counts up when the step was taken back and is to be done anew
    key: str = ""  # of the effect
    fence: int = 0  # under which the last attempt began
    args: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: str = ""
    until: int = 0  # when (ms) the last attempt is over at the latest, whoever waits for its answer
    lost: int = 0  # when (ms) its worker was found dead; 0 while it lives, or nobody knows
    asked: int = 0  # how often somebody was asked whether the last attempt took place
    undo_attempt: int = 0
    branches: tuple[Branch, ...] = ()  # the cases it began, in order
    held: str = (
        ""  # the action on hold that it rests for with a call in doubt; `error` says what the doubt is
    )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepFact:
        """Build from its fields as JSON has them."""
        return cls(**{**data, "branches": tuple(Branch(**one) for one in data.get("branches", ()))})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the journal of a case adds up to, beside its columns."""

    happened: tuple[str, ...] = ()  # the trigger and every event emitted in this case
    decisions: Mapping[str, DecisionFact] = field(default_factory=dict)
    steps: Mapping[str, StepFact] = field(default_factory=dict)
    failing: str = ""  # the stage that failed for good, while what was done before is taken back
    why: str = ""  # it failed
    attempts: int = 0  # of the failing stage
    deaths: int = 0  # how often in a row a worker was silent until its lease ended, with nothing written
    gates: Mapping[str, GateFact] = field(default_factory=dict)  # checkpoints, by step
    skips: Mapping[str, SkipFact] = field(default_factory=dict)  # steps that may be left out, until when
    touches: int = 0  # how often a person did something to it
    requester: str = ""  # who asked for what the case does, as the event says it; never entitled to answer
    first_run: str = ""  # the Dagster run that moved the case first; later ones are grouped with it
    origin: Origin | None = None  # the step that began it, when one did
    keep: int = KEEP  # how long (ms) the texts of its journal are kept, as its system says

    @property
    def waits_at(self) -> tuple[str, ...]:
        """The steps whose checkpoints wait for people."""
        return tuple(name for name, gate in self.gates.items() if gate.open)

    @property
    def given_up(self) -> tuple[Branch, ...]:
        """The cases that its steps began and that gave up: it waits until somebody redrives them."""
        under_way = (fact for fact in self.steps.values() if fact.state == "under_way")
        return tuple(one for fact in under_way for one in fact.branches if one.state == "dead_lettered")

    def as_json(self) -> dict[str, Any]:
        """Return plain data that shares its values: it is written out at once, never changed."""
        return {
            **_fields(self),
            "decisions": {name: _fields(one) for name, one in self.decisions.items()},
            "steps": {name: _step_fields(one) for name, one in self.steps.items()},
            "gates": {name: _fields(one) for name, one in self.gates.items()},
            "skips": {name: _fields(one) for name, one in self.skips.items()},
            "origin": _fields(self.origin) if self.origin else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        """Build from what `as_json` gave."""
        return cls(
            happened=tuple(data["happened"]),
            decisions={name: DecisionFact(**one) for name, one in data["decisions"].items()},
            steps={name: StepFact.from_json(one) for name, one in data["steps"].items()},
            failing=data["failing"],
            why=data["why"],
            attempts=data["attempts"],
            deaths=data["deaths"],
            gates={name: GateFact.from_json(one) for name, one in data.get("gates", {}).items()},
            skips={name: SkipFact(**one) for name, one in data.get("skips", {}).items()},
            touches=data.get("touches", 0),
            requester=data.get("requester", ""),
            first_run=data.get("first_run", ""),
            origin=Origin(**data["origin"]) if data.get("origin") else None,
            keep=data.get("keep", KEEP),
        )


def _fields(one: DecisionFact | StepFact | GateFact | SkipFact | Facts | Origin | Branch) -> dict[str, Any]:
    """Return a fact's fields; `dataclasses.asdict` would copy every value it holds."""
    return {name: getattr(one, name) for name in one.__slots__}


def _step_fields(one: StepFact) -> dict[str, Any]:
    return {**_fields(one), "branches": [_fields(branch) for branch in one.branches]}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the case table."""

    id: str
    system: str
    trigger: str
    event_id: str
    key: str
    digest: str
    state: State = "open"
    rank: int = 1
    due_at: int | None = None
    fence: int = 0
    claim: str | None = None
    run_id: str | None = None
    created_at: int = 0
    started_at: int | None = None
    closed_at: int | None = None
    updated_at: int = 0
    reason: str | None = None
    redrives: int = 0
    facts: Facts = field(default_factory=Facts)
    seq: int = 0
    head: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ENDED
