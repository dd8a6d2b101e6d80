"""What differs between development, staging and production: bindings, constants, secrets by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.units import Duration, Name, problem


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


class Environment(Frozen):
    """One file of `environments/`: everything that differs between two places the same system runs in."""

    adapters: dict[Name, Binding] = Field(default={}, description="What stands behind each adapter.")
    constants: dict[Name, Any] = Field(default={}, description="Values that decisions may take as inputs.")
    secrets: dict[str, SecretSource] = Field(
        default={},
        description="Where each secret comes from; one not listed is the variable of its own name.",
    )
    unsigned_webhooks: bool = Field(
        default=False,
        description="Take webhooks without signature, for triggers without secret; only in development.",
    )
    lease: Duration = Field(
        default=45_000,
        description="How long a worker may be silent before its case is taken over by another.",
    )
