"""One call to the outside, complete: what an adapter needs and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openclaw_dagster.adapters.outcome import JSON, Outcome
from openclaw_dagster.spec.contracts import Operation


@dataclass(frozen=True)
class Call:
    """One action with its arguments, under the key that makes it the same call when it is repeated."""

    action: str
    operation: Operation
    args: Mapping[str, JSON]
    #: The idempotency key: the same effect has the same key, however often it is tried.
    key: str
    #: How long the whole call may last, in milliseconds.
    timeout: int
    #: The W3C `traceparent` header of the span the call belongs to.
    traceparent: str | None = None

    @property
    def adapter(self) -> str:
        """Return `carrier` of `carrier.book`."""
        return self.action.partition(".")[0]

    @property
    def name(self) -> str:
        """Return `book` of `carrier.book`."""
        return self.action.partition(".")[2]

    @property
    def is_read(self) -> bool:
        """Return whether the call changes nothing outside."""
        return self.operation.effect == "read"


class Adapter(Protocol):
    """What stands behind the actions of one adapter. Calls come from many threads at once."""

    def call(self, call: Call) -> Outcome:
        """Make the call. Whatever the far side does is an outcome, never an exception."""

    def problems(self) -> list[str]:
        """Return what keeps the binding from working, each with its repair."""

    def close(self) -> None:
        """Give back connections and files."""
