"""How many cases one run carries, and whose cases no run carries: their system's file is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from openclaw_dagster.store.case import ENDED


def batch_size(waiting: int, room: int, most: int) -> int:
    """Return the size of the next batch for `waiting` cases and `room` more runs; never more than `most`."""
    if waiting <= room or room < 1:
        return 1
    return min(most, -(-waiting // room))


def forsaken(counts: Mapping[tuple[str, str], int], systems: Collection[str]) -> Counter[str]:
    """Return how many cases have not ended of each system that is not among `systems`: no job is there to move them."""
    found: Counter[str] = Counter()
    for (system, state), number in counts.items():
        if state not in ENDED and system not in systems:
            found[system] += number
    return found
