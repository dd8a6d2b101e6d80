"""What each process of a host is: told by its command line, and a worker by its parent, whose copy it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

#: What each process is recognised by in its command line; the first that fits.
MARKS = {"_daemon": "daemon", "grpc": "code", "warm.pool": "pool", "web": "web", "cli": "supervisor"}


def roles(pids: Iterable[int]) -> dict[int, str]:
    """Return what each process of a host is; what the pool has forked is a worker, or reports one's end."""
    found: dict[int, str] = {}
    parents: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            found[pid] = next((role for mark, role in MARKS.items() if mark in words), words[:40])
    return {
        pid: "worker" if role == "pool" and found.get(parents[pid]) == "pool" else role
        for pid, role in found.items()
    }
