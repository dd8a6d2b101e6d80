"""The only place that reads the time, so that tests and replays can own it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """Tells the time in milliseconds since 1970, UTC: the only unit the ledger keeps."""

    def now(self) -> int:
        """Return the current time in milliseconds since 1970, UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return the machine's time in milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000


@dataclass
class VirtualClock:
    """A clock that stands still until it is moved: for tests, scenarios and replay."""

    at: int

    def now(self) -> int:
        """Return the time it was last set to, in milliseconds since 1970, UTC."""
        return self.at

    def advance(self, milliseconds: int) -> None:
        """Move forward by `milliseconds`."""
        self.at += milliseconds


def iso(milliseconds: int) -> str:
    """Return the moment as RFC 3339 text with milliseconds, such as `2026-01-31T09:30:00.000Z`."""
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day_of(milliseconds: int) -> str:
    """Return the UTC day of the moment, such as `2026-01-31`."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).date().isoformat()


def span(milliseconds: int) -> str:
    """Return a length of time as people say it, in the two largest units that matter."""
    if milliseconds < SECOND:
        return f"{milliseconds} ms"
    if milliseconds < MINUTE:
        return f"{milliseconds / SECOND:.1f} s"
    if milliseconds < HOUR:
        return f"{milliseconds // MINUTE} min {milliseconds % MINUTE // SECOND} s"
    if milliseconds < 2 * DAY:
        return f"{milliseconds // HOUR} h {milliseconds % HOUR // MINUTE} min"
    return f"{milliseconds // DAY} days"
