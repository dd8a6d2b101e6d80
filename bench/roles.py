"""What each process of a host is: told by its command line, and what the pool has forked by its name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

#: What each process is recognised by in its command line; the first that fits.
MARKS = {
    "warm.daemon": "daemon",
    "grpc": "code",
    "warm.pool": "pool",
    "cli.host": "supervisor",
    "web": "web",
    "cli": "supervisor",
}
#: And what the pool has forked.
NAMES = {"claw-code": "code", "claw-worker": "worker"}


def roles(pids: Iterable[int]) -> dict[int, str]:
    """Return what each process of a host is; what else the pool has forked reports a worker's end."""
    found: dict[int, str] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            told = next((role for mark, role in MARKS.items() if mark in words), words[:40])
            found[pid] = NAMES.get(name, told)
    return found
