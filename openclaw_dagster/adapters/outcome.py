"""What one call to the outside came to: five answers, and only these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from openclaw_dagster.spec.expressions import JSON

__all__ = ["JSON", "Absent", "Answered", "Failed", "Outcome", "Refused", "Unknown", "unclear"]


@dataclass(frozen=True)
class Answered:
    """It took place, and this is what came back."""

    result: JSON


@dataclass(frozen=True)
class Absent:
    """A read found that there is no such thing."""


@dataclass(frozen=True)
class Refused:
    """The answer is no and stays no: trying again changes nothing, and nothing took place."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """It certainly did not take place and may be tried again, not before `retry_after` milliseconds."""

    reason: str
    retry_after: int | None = None


@dataclass(frozen=True)
class Unknown:
    """It may or may not have taken place: ask the operation's `verify`, never simply try again."""

    reason: str


Outcome: TypeAlias = Answered | Absent | Refused | Failed | Unknown


def unclear(effect: str, reason: str) -> Failed | Unknown:
    """Return what a call without a usable answer is: a read changed nothing, a write may have."""
    return Failed(reason) if effect == "read" else Unknown(reason)
