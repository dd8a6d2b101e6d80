"""The lines that a host prints: who says something, in a colour of its own where that is shown."""

from __future__ import annotations

import sys
import threading

COLOURS = {"claw": "1", "web": "36", "daemon": "35", "code": "34"}

_lock = threading.Lock()


def say(who: str, text: str) -> None:
    """Print one line of a process."""
    label = f"{who:>7} │ "
    if sys.stdout.isatty():
        label = f"\x1b[{COLOURS.get(who, '0')}m{label}\x1b[0m"
    with _lock:
        print(label + text, flush=True)
