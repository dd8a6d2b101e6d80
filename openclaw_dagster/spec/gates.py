"""What stands before a step: the checkpoint people answer at, and the policy under which it may be skipped."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.units import Duration, Name, RoleName, distinct, format_duration, problem

#: The shortest time (ms) that people are given for anything, and the longest a skip is granted for.
SHORTEST = 1_000
LONGEST_SKIP = 30 * 86_400_000
#: The word for a step that no policy lets anybody skip.
NEVER = "never"
#: Words by which somebody may try to let silence approve.
_APPROVE = ("approve", "approved", "approval", "accept", "allow", "clear", "pass")


def _span(value: int) -> int:
    if value < SHORTEST:
        raise problem("CLAW017", f"{format_duration(value)} is too short: at least 1s")
    return value


def _grant(value: int) -> int:
    if value > LONGEST_SKIP:
        said = format_duration(value)
        raise problem(
            "CLAW017", f"{said} is too long for a skip: it is granted for at most 30d, then asked anew"
        )
    return value


def _overdue(value: Any) -> Any:
    if value in _APPROVE:
        raise problem(
            "CLAW037", "silence never approves: when nobody answers in time, write escalate, deny or hold"
        )
    return value


_SOME = Field(strict=False, min_length=1, max_length=20, json_schema_extra={"uniqueItems": True})
Names = Annotated[tuple[Name, ...], _SOME, AfterValidator(distinct)]
Roles = Annotated[tuple[RoleName, ...], _SOME, AfterValidator(distinct)]
Span = Annotated[Duration, AfterValidator(_span)]
Choice = Annotated[str, Field(min_length=1, max_length=64)]
Choices = Annotated[
    tuple[Choice, ...],
    Field(strict=False, min_length=1, max_length=50, json_schema_extra={"uniqueItems": True}),
    AfterValidator(distinct),
]
Overdue = Annotated[Literal["escalate", "deny", "hold"], BeforeValidator(_overdue)]


class FormField(Frozen):
    """One question that is answered together with a checkpoint; exactly one of the two."""

    choose: Choices = Field(default=(), description="The answers of which one is chosen.")
    text: int | None = Field(
        default=None, ge=1, le=4_000, description="A free answer of at most so many characters."
    )


class Checkpoint(Frozen):
    """People who have to answer before a step runs: exactly one of acknowledge and approval."""

    acknowledge: Roles = Field(default=(), description="Roles of whom one has to say that it was seen.")
    approval: Roles = Field(default=(), description="Roles of whom one has to approve.")
    quorum: int = Field(default=1, ge=1, le=5, description="How many different people have to answer.")
    form: dict[Name, FormField] = Field(
        default={}, max_length=20, description="Questions that are answered together with it, by name."
    )
    remind: Span | None = Field(
        default=None, description="After how long without an answer people are reminded."
    )
    deadline: Span | None = Field(
        default=None, description="How long people have to answer; without it as long as it takes."
    )
    overdue: Overdue = Field(
        default="hold",
        description=(
            "What happens at the deadline: `escalate` asks another role, `deny` ends the case, `hold` waits on."
        ),
    )
    escalate_to: RoleName | None = Field(
        default=None, description="The role that is asked too when the deadline has passed."
    )

    @property
    def kind(self) -> Literal["approval", "acknowledge"]:
        """What is asked of people: to approve, or to say that they saw it."""
        return "approval" if self.approval else "acknowledge"

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that may answer before the deadline."""
        return self.approval or self.acknowledge


class SkipPolicy(Frozen):
    """When a step may be left out by a person: for which steps, on whose word, for how long."""

    name: Name = Field(exclude=True)
    steps: Names = Field(description="The steps that may be skipped under it; each names it under `skip`.")
    when: str | None = Field(default=None, description="CEL; while it is false nothing is skipped under it.")
    approval: Roles = Field(description="Roles of whom one has to approve a skip.")
    expires: Annotated[Span, AfterValidator(_grant)] = Field(
        description="How long an approved skip holds; at most 30d."
    )
