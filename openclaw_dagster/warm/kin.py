"""What a forked process says and asks of Linux: its name in lists of processes, and to end with its parent."""

from __future__ import annotations

import ctypes
import signal
import sys

#: Numbers of prctl(2).
END_WITH_PARENT, NAME = 1, 15


def name(what: str) -> None:
    """Give this process a name of its own, of 15 letters at most: a fork has the command line of its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(NAME, what.encode(), 0, 0, 0)


def end_with_parent() -> None:
    """Let this process be told to end when its parent dies, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGTERM, 0, 0, 0)
