"""What an action takes, gives and may break: the contract of every operation of every adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from openclaw_dagster.spec.units import Json, Name

Effect = Literal["read", "write", "irreversible"]


class Frozen(BaseModel):
    """The base of every model of the language: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class HttpCall(Frozen):
    """How the `http` adapter makes the call."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(description="The HTTP method.")
    path: str = Field(
        pattern=r"^/[^\s?#]*$",
        description="The path below the binding's url; {name} takes an argument, percent-encoded.",
    )
    missing: tuple[int, ...] = Field(
        strict=False,
        default=(404,),
        description="Statuses with which a read says that there is no such thing, rather than failing.",
    )


class Operation(Frozen):
    """One action of an adapter, such as `carrier.book`."""

    effect: Effect = Field(
        description="read changes nothing outside; write can be undone; irreversible cannot."
    )
    summary: str = Field(default="", description="One line for people.")
    idempotent: bool = Field(
        default=False, description="Whether the far side refuses a second call with the same Idempotency-Key."
    )
    verify: Name | None = Field(
        default=None, description="The operation of the same adapter that tells whether a write took place."
    )
    undo: Name | None = Field(
        default=None, description="The operation of the same adapter that takes a write back."
    )
    input: dict[str, Json] | None = Field(default=None, description="JSON Schema of the arguments.")
    output: dict[str, Json] | None = Field(
        default=None, description="JSON Schema of the result; a mismatch only warns."
    )
    http: HttpCall | None = Field(
        default=None, description="The call made when the adapter is bound to `http`."
    )
    simulate: dict[str, Json] | None = Field(
        default=None,
        description="The simulator's answer; its ${…} are CEL over `args`, `key`, `count` and `record`.",
    )


class Contract(Frozen):
    """One adapter: its operations by name. The file `adapters/NAME.yaml` holds one."""

    summary: str = Field(default="", description="One line for people.")
    kind: Literal["task", "sync", "remediation", "brief"] = Field(
        default="task", description="Which kind of skill the adapter serves."
    )
    operations: dict[Name, Operation] = Field(min_length=1, description="The operations by name.")


#: Every operation that is known, by action name such as `carrier.book`.
Catalog = Mapping[str, Operation]


def catalog_of(contracts: Mapping[str, Contract]) -> dict[str, Operation]:
    """Return the operations of all contracts by action name."""
    return {
        f"{adapter}.{name}": operation
        for adapter, contract in contracts.items()
        for name, operation in contract.operations.items()
    }
