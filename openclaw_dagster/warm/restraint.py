"""How soon something may be started again that dies as soon as it is: a fork costs nothing only when it is seldom."""

from __future__ import annotations

import time
from dataclasses import dataclass

#: Seconds between a death and the next start, growing with every death in a row.
WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
#: What could be started for so long (s) without a death has recovered.
HEALTHY = 10.0


@dataclass(slots=True)
class Restraint:
    """Holds back the next start of what died, longer and longer while it keeps dying."""

    deaths: int = 0
    until: float = float("-inf")

    def lets(self) -> bool:
        """Tell whether it may be started now."""
        return time.monotonic() >= self.until

    def died(self) -> None:
        """Take note of a death; those that die together die once."""
        now = time.monotonic()
        if now < self.until:
            return
        if now - self.until > HEALTHY:
            self.deaths = 0
        self.until = now + WAITS[min(self.deaths, len(WAITS) - 1)]
        self.deaths += 1

    def lives(self) -> None:
        """Take note that what was started does its work."""
        self.deaths = 0
