"""Scenario tests: what comes in, what people do, and what must stand at the end, all on a virtual clock."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.environment import Fault
from openclaw_dagster.spec.units import Duration, Json, Name, StepPath, problem

#: How a step may stand when a scenario is judged.
STEP_STATES = (
    "not_reached", "waiting", "on_hold", "under_way", "retrying", "unknown", "completed", "skipped", "denied", "expired",
    "failed", "undoing", "undone", "stuck",
)  # fmt: skip
#: How its case may stand.
CASE_STATES = (
    "not_opened", "open", "running", "waiting_retry", "awaiting_human", "completed", "handed_off",
    "dead_lettered", "cancelled",
)  # fmt: skip
#: What `expect` may name beside steps and decisions.
CASE, EFFECTS, RESIDUAL = "case", "effects", "residual"
#: What a person may do in a scenario, or may come in; exactly one of them in each line of `do`.
DEEDS = ("approve", "acknowledge", "deny", "skip", "hold", "release", "send")
#: What stands in the place of a payload's file for a trigger of the clock: its tick has no file.
TICK = "tick"

Word = Literal["approve", "acknowledge", "deny", "skip", "hold", "release", "send"]


class Deed(Frozen):
    """One thing that happens while a scenario runs: a person does something, or a further event comes in."""

    at: Duration = Field(default=0, description="When, counted from the begin of the scenario.")
    approve: StepPath | None = Field(default=None, description="The step whose checkpoint is approved.")
    acknowledge: StepPath | None = Field(
        default=None, description="The step whose checkpoint is acknowledged."
    )
    deny: StepPath | None = Field(default=None, description="The step whose checkpoint is denied.")
    skip: StepPath | None = Field(default=None, description="The step that is left out under its policy.")
    hold: str | None = Field(default=None, description="The system or action that is put on hold.")
    release: str | None = Field(default=None, description="The system or action whose hold ends.")
    send: dict[Name, str] | None = Field(
        default=None, min_length=1, max_length=1, description="A trigger and the file of its payload."
    )
    person: Name | None = Field(
        default=None, alias="as", description="The id of the person who does it; an event has none."
    )
    reason: str | None = Field(
        default=None, min_length=1, max_length=400, description="Why the person does it."
    )
    form: dict[Name, str] | None = Field(default=None, description="What the person fills in.")
    refused: bool = Field(default=False, description="Whether it must be refused; otherwise it must not be.")

    @model_validator(mode="after")
    def _one_deed(self) -> Deed:
        said = [word for word in DEEDS if getattr(self, word) is not None]
        if len(said) != 1:
            raise problem("CLAW013", f"a line of do says exactly one of {', '.join(DEEDS)}")
        if said[0] != "send" and self.person is None:
            raise problem("CLAW013", f"nobody does it: add as: with the id of the person to {said[0]}")
        known = {"as": self.person, "reason": self.reason, "form": self.form}
        for word in TOO_MUCH[said[0]]:
            if known[word] is not None:
                raise problem("CLAW014", f"{word} says nothing to {said[0]}: leave it out")
        return self

    @property
    def deed(self) -> tuple[Word, Any]:
        """What is done, and to what."""
        return next((word, said) for word in DEEDS if (said := getattr(self, word)) is not None)  # type: ignore[return-value]


#: The words that a deed has no use for.
TOO_MUCH: dict[str, tuple[str, ...]] = {
    "approve": (), "acknowledge": (), "deny": ("form",), "skip": ("form",), "hold": ("form",),
    "release": ("form",), "send": ("as", "reason", "form"),
}  # fmt: skip


Faults = Annotated[tuple[Fault, ...], Field(strict=False, min_length=1, max_length=20)]


class Scenario(Frozen):
    """One test of the system, played with simulators and the people of the environment."""

    name: Name = Field(exclude=True)
    given: dict[Name, str] = Field(
        min_length=1,
        max_length=10,
        description="The events it begins with: trigger and file of the payload, or `tick` for the clock.",
    )
    do: tuple[Deed, ...] = Field(
        default=(), strict=False, max_length=200, description="What happens then, in order."
    )
    until: Duration | None = Field(
        default=None, description="When it is judged; without it right after the last line of `do`."
    )
    faults: dict[Name, Faults] = Field(default={}, description="How simulators misbehave, by adapter.")
    expect: dict[str, Json] = Field(
        min_length=1,
        description=(
            "What stands at the end: steps with their state, decisions with their branch, `case` with its state, "
            "`effects` as the list of writes that stand, `residual` as the steps that are left with their owners."
        ),
    )

    @property
    def end(self) -> int:
        """When (ms, from its begin) it is judged."""
        return self.until if self.until is not None else max((deed.at for deed in self.do), default=0)

    @property
    def sent(self) -> tuple[tuple[str, str], ...]:
        """Every trigger that it sends an event to, with the file of the payload."""
        later = [pair for deed in self.do for pair in (deed.send or {}).items()]
        return (*self.given.items(), *later)

    @property
    def people(self) -> tuple[str, ...]:
        """The ids of those who do something in it, each once."""
        return tuple(dict.fromkeys(deed.person for deed in self.do if deed.person is not None))
