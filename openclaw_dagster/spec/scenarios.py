"""Scenario tests: what comes in, what people do, and what must stand at the end, all on a virtual clock."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.environment import Fault
from openclaw_dagster.spec.units import Action, Duration, Name, problem

#: How a step may stand when a scenario is over.
STEP_STATES = (
    "not_reached", "waiting", "retrying", "on_hold", "unknown", "completed", "skipped", "denied", "expired",
    "failed", "undone",
)  # fmt: skip
#: What a person may do in a scenario; exactly one of them in each line of `do`.
DEEDS = ("approve", "acknowledge", "deny", "skip", "hold", "release", "send")


class Deed(Frozen):
    """One thing that happens while a scenario runs: a person does something, or a further event comes in."""

    at: Duration = Field(default=0, description="When, counted from the begin of the scenario.")
    approve: Name | None = Field(default=None, description="The step whose checkpoint is approved.")
    acknowledge: Name | None = Field(default=None, description="The step whose checkpoint is acknowledged.")
    deny: Name | None = Field(default=None, description="The step whose checkpoint is denied.")
    skip: Name | None = Field(default=None, description="The step that is left out under its policy.")
    hold: str | None = Field(default=None, description="The system or action that is put on hold.")
    release: str | None = Field(default=None, description="The system or action whose hold ends.")
    send: dict[Name, str] | None = Field(
        default=None, min_length=1, max_length=1, description="A trigger and the file of its payload."
    )
    person: str = Field(default="", alias="as", description="The id of the person who does it.")
    reason: str = Field(default="as the scenario says", description="Why.")
    form: dict[Name, str] = Field(default={}, description="What is filled in.")
    refused: bool = Field(default=False, description="Whether it must be refused; otherwise it must not.")

    @model_validator(mode="after")
    def _one_deed(self) -> Deed:
        said = [word for word in DEEDS if getattr(self, word) is not None]
        if len(said) != 1:
            raise problem("CLAW013", f"a line of do says exactly one of {', '.join(DEEDS)}")
        if not self.person and said[0] != "send":
            raise problem("CLAW013", f"who does it: add `as:` and the id of a person to {said[0]}")
        return self

    @property
    def deed(
        self,
    ) -> tuple[Literal["approve", "acknowledge", "deny", "skip", "hold", "release", "send"], Any]:
        """What is done, and to what."""
        return next((word, said) for word in DEEDS if (said := getattr(self, word)) is not None)  # type: ignore[return-value]


class Scenario(Frozen):
    """One test of a system, played with simulators and the environment's people."""

    name: Name = Field(exclude=True)
    given: dict[Name, str] = Field(
        min_length=1, max_length=10, description="The events it begins with: trigger to file of the payload."
    )
    do: tuple[Deed, ...] = Field(default=(), strict=False, description="What happens then, in order.")
    until: Duration | None = Field(
        default=None, description="When it is judged; without it right after the last line of `do`."
    )
    faults: dict[Name, tuple[Fault, ...]] = Field(
        default={}, strict=False, description="How simulators misbehave, by adapter."
    )
    expect: dict[str, Any] = Field(
        min_length=1,
        description="Steps with their state, decisions with their branch, `case` with its state, `effects` as a list.",
    )

    @property
    def files(self) -> tuple[str, ...]:
        """The payload files it needs."""
        sent = [path for deed in self.do for path in (deed.send or {}).values()]
        return tuple(dict.fromkeys((*self.given.values(), *sent)))

    @property
    def effects(self) -> tuple[Action, ...] | None:
        """The actions that must have taken place, in order; None when the scenario does not say."""
        said = self.expect.get("effects")
        return tuple(said) if said is not None else None
