"""When something that failed is tried again."""

from __future__ import annotations

import random

from openclaw_dagster.clock import HOUR
from openclaw_dagster.spec.model import Retries

#: No wait is longer than this, whatever the far side or the backoff says (ms).
LONGEST = HOUR


def wait(retries: Retries, attempt: int, retry_after: int | None = None) -> int:
    """Return the wait in ms after the given attempt (1, 2, …); never shorter than the far side asked for."""
    grown = retries.delay * (2 ** min(attempt - 1, 30) if retries.backoff == "exponential" else 1)
    grown = min(grown, LONGEST)
    if retries.jitter:
        grown += int(grown * random.uniform(0, 0.25))
    return max(grown, min(retry_after or 0, LONGEST))
