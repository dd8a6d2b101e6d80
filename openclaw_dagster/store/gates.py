"""Checkpoints of a case: what was asked, who answered, and what each entry about them makes of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

#: asked: it waits; cleared: the step may run once, exactly as it was shown; the others: it may not.
GateState = Literal["asked", "cleared", "denied", "expired", "voided", "cancelled"]


@dataclass(frozen=True, slots=True)
class GateFact:
    """One checkpoint of a case as it stands; a new request takes the place of the one before it."""

    request: int  # 1, 2, … within the step
    state: GateState
    kind: str  # approval or acknowledge
    digest: str  # of exactly what will run, and of what was shown
    roles: tuple[str, ...]  # whose answer counts
    quorum: int
    asked_at: int
    deadline_at: int | None  # ms since 1970; None for no deadline, or none any more
    remind_at: int | None
    overdue: str  # escalate, deny or hold
    escalated: bool = False
    reminded: int = 0  # how often
    answers: tuple[
        Mapping[str, Any], ...
    ] = ()  # those that count: person, verdict, channel, reason, form, at
    shown: Mapping[str, Any] = field(default_factory=dict)  # action, args and evidence, as they were shown
    changed: Mapping[str, Any] = field(default_factory=dict)  # what differs from the request before
    key: str = ""  # of the effect that the clearance was used for

    @property
    def open(self) -> bool:
        """Whether it waits for an answer."""
        return self.state == "asked"

    @property
    def stopped(self) -> bool:
        """Whether it ended with a no: its case goes no further, whatever else is said."""
        return self.state in ("denied", "expired")

    @property
    def missing(self) -> int:
        """How many more people have to say yes."""
        return max(0, self.quorum - len({one["person"] for one in self.answers}))

    @property
    def due_at(self) -> int | None:
        """When somebody is reminded or the deadline is over, whichever comes first; None for never."""
        return min((at for at in (self.deadline_at, self.remind_at) if at is not None), default=None)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GateFact:
        """Build from its fields as JSON has them."""
        return cls(**{**data, "roles": tuple(data["roles"]), "answers": tuple(data["answers"])})


@dataclass(frozen=True, slots=True)
class SkipFact:
    """A permission to leave one step of one case out, given under an exception policy."""

    policy: str
    by: str
    until: int
    reason: str


def asked(body: Mapping[str, Any], at: int) -> GateFact:
    """Return the gate that a `checkpoint.asked` entry opens."""
    return GateFact(
        request=body["request"], state="asked", kind=body["kind"], digest=body["digest"],
        roles=tuple(body["roles"]), quorum=body["quorum"], asked_at=at, deadline_at=body["deadline_at"],
        remind_at=body["remind_at"], overdue=body["overdue"], shown=body["shown"], changed=body["changed"],
    )  # fmt: skip


def answered(gate: GateFact, body: Mapping[str, Any], at: int) -> GateFact:
    """Return the gate after one answer that counts: denied by the first no, cleared by the last yes of the quorum."""
    said = {name: body[name] for name in ("person", "verdict", "channel", "reason", "form")} | {"at": at}
    after = replace(gate, answers=(*gate.answers, said))
    if body["verdict"] == "deny":
        return replace(after, state="denied")
    return after if after.missing else replace(after, state="cleared")


def reminded(gate: GateFact, body: Mapping[str, Any]) -> GateFact:
    """Return the gate after people were reminded, and told when the deadline had passed."""
    return replace(
        gate, reminded=gate.reminded + 1, remind_at=body["remind_at"], deadline_at=body["deadline_at"]
    )


def escalated(gate: GateFact, body: Mapping[str, Any]) -> GateFact:
    """Return the gate after its deadline passed and others were asked as well."""
    roles = tuple(dict.fromkeys((*gate.roles, *body["to"])))
    return replace(gate, escalated=True, roles=roles, deadline_at=None, remind_at=body["remind_at"])


def lets(gate: GateFact | None, digest: str, key: str) -> bool:
    """Decide whether a clearance lets an effect begin: given for exactly this digest, and used for no other effect."""
    return gate is not None and gate.state == "cleared" and gate.digest == digest and gate.key in ("", key)
