"""What differs between development, staging and production: bindings, constants, secrets by name."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from openclaw_dagster.spec.channels import Channels
from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.login import Access, Login
from openclaw_dagster.spec.queues import Queues
from openclaw_dagster.spec.units import Duration, Json, Name, Place, distinct, problem, shown

EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}\Z")
SLACK = re.compile(r"[UW][A-Z0-9]{1,30}\Z")


class SecretSource(Frozen):
    """Where a secret's value comes from; exactly one of the two."""

    env: str | None = Field(
        default=None, description="The variable of the process environment that holds it."
    )
    file: str | None = Field(default=None, description="The file that holds it, as orchestrators mount it.")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> SecretSource:
        if (self.env is None) == (self.file is None):
            raise problem("CLAW013", "a secret comes from exactly one of env and file")
        return self


class Auth(Frozen):
    """How outgoing calls of one adapter say who calls; each value is the name of a secret."""

    bearer: str | None = Field(default=None, description="Secret sent as `Authorization: Bearer …`.")
    header: dict[str, str] = Field(default={}, description="Header name to the secret that is its value.")


class HttpBinding(Frozen):
    """The adapter calls a real service over HTTP."""

    use: Literal["http"]
    url: str = Field(pattern=r"^https?://[^\s/]+(/[^\s]*)?$", description="The service's base url.")
    auth: Auth = Field(default=Auth(), description="Credentials, by the name of the secret.")
    allow_private: bool = Field(
        default=False,
        description="Whether the url may lead to a loopback or private address; there is no other way in.",
    )


class Fault(Frozen):
    """One way a simulator misbehaves, for demos and tests."""

    operation: Name = Field(description="The operation it concerns, such as `book`.")
    when: str = Field(default="true", description="CEL over `args` that picks the calls.")
    answer: Literal["fail", "refuse", "lose", "timeout"] = Field(
        description=(
            "fail: an error that may pass; refuse: an error that stays; "
            "lose: the call takes place and no answer comes back; "
            "timeout: no answer, and the call does not take place."
        )
    )
    times: int | None = Field(
        default=None, ge=1, description="How often, per distinct call; without it always."
    )


class SimulatorBinding(Frozen):
    """The adapter is its offline twin: no network, the same contract."""

    use: Literal["simulator"]
    faults: tuple[Fault, ...] = Field(default=(), strict=False, description="How it misbehaves.")


class PythonBinding(Frozen):
    """The adapter's operations are `@action` functions of the project's own modules."""

    use: Literal["python"]


Binding = Annotated[HttpBinding | SimulatorBinding | PythonBinding, Field(discriminator="use")]


def _email(value: str) -> str:
    if not EMAIL.match(value):
        raise problem("CLAW014", f"{shown(value)} is no address: write for example ops@example.org")
    return value


def _slack(value: str) -> str:
    if not SLACK.match(value):
        raise problem("CLAW014", f"{shown(value)} is no member id of Slack: write one such as U024BE7LH")
    return value


def _somebody(value: Any) -> Any:
    if value == []:
        raise problem(
            "CLAW039", "nobody has this role, so nobody could answer for it: name at least one person"
        )
    return value


def _told(value: str) -> str:
    if not value.startswith(("slack://", "email://")):
        raise problem("CLAW018", f"{value!r} reaches nobody: people are told by slack://… or email://…")
    return value


class Person(Frozen):
    """Somebody who may answer; the id it stands under is the one that the journal names."""

    email: Annotated[str, AfterValidator(_email)] | None = Field(
        default=None, description="The address a login is known by, and where requests are sent."
    )
    slack: Annotated[str, AfterValidator(_slack)] | None = Field(
        default=None, description="The member id of Slack, such as U024BE7LH."
    )
    name: str = Field(
        default="", max_length=100, description="How pages call the person; without it, the id."
    )
    sub: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="What the login provider calls the person, for one whose address may change.",
    )


class Role(Frozen):
    """Who may answer for one role of the systems, and where the role is told."""

    people: Annotated[
        tuple[Name, ...],
        BeforeValidator(_somebody),
        AfterValidator(distinct),
        Field(strict=False, min_length=1, max_length=200),
    ] = Field(description="Ids of people.")
    notify: Annotated[Place, AfterValidator(_told)] | None = Field(
        default=None, description="Where requests to the role are sent: slack://… or email://…."
    )


class Environment(Frozen):
    """One file of `environments/`: everything that differs between two places the same system runs in."""

    adapters: dict[Name, Binding] = Field(default={}, description="What stands behind each adapter.")
    constants: dict[Name, Json] = Field(default={}, description="Values that decisions may take as inputs.")
    secrets: dict[str, SecretSource] = Field(
        default={},
        description="Where each secret comes from; one not listed is the variable of its own name.",
    )
    people: dict[Name, Person] = Field(default={}, description="Who people are, by id.")
    roles: dict[Name, Role] = Field(default={}, description="Who has which role of the systems.")
    login: Login | None = Field(
        default=None,
        description="How people log in; without it the host listens on loopback only, and knows nobody by name.",
    )
    access: Access = Field(default=Access(), description="What people may do with the host.")
    queues: Queues = Field(default=Queues(), description="Where queues are that start cases.")
    channels: Channels = Field(
        default=Channels(),
        description="How people are told; without it requests stand in the inbox only.",
    )
    unsigned_webhooks: bool = Field(
        default=False,
        description="Take webhooks without signature, for triggers without secret; only in development.",
    )
    lease: Duration = Field(
        default=45_000,
        description="How long a worker may be silent before its case is taken over by another.",
    )
