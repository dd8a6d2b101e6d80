"""How many cases one run carries: one while there is room, more when a backlog builds."""

from __future__ import annotations


def batch_size(waiting: int, room: int, most: int) -> int:
    """Return the size of the next batch for `waiting` cases and `room` more runs; never more than `most`."""
    if waiting <= room or room < 1:
        return 1
    return min(most, -(-waiting // room))
