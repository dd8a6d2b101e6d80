"""The lines that a host prints: who says something, in a colour of its own where that is shown.

Nothing ends because it cannot be said: a full disk behind `claw serve > log`, or a pipe that nobody reads any more,
costs the lines and no more.
"""

from __future__ import annotations

import contextlib
import sys
import threading

COLOURS = {"claw": "1", "web": "36", "daemon": "35", "code": "34"}
#: What a console raises that is full or gone, closed or without the letters, or not there at all.
UNSAID = (OSError, ValueError, AttributeError)

_lock = threading.Lock()


def say(who: str, text: str) -> None:
    """Print one line of a process."""
    label = f"{who:>7} │ "
    if _coloured():
        label = f"\x1b[{COLOURS.get(who, '0')}m{label}\x1b[0m"
    show(label + text)


def show(text: str) -> None:
    """Print what is nobody's line."""
    with _lock, contextlib.suppress(*UNSAID):
        print(text, flush=True)


def _coloured() -> bool:
    with contextlib.suppress(*UNSAID):
        return sys.stdout.isatty()
    return False
