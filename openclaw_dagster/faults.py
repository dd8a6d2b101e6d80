"""Named places at which a test can end or freeze the process; nothing happens there unless the environment says so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from openclaw_dagster.settings import variable

#: `point=kill|raise|freeze`, read once: in production the variable is not set and a point costs one comparison.
_PLAN = dict(part.split("=", 1) for part in (variable("CLAW_FAULTS") or "").split(",") if "=" in part)


class PlannedFault(RuntimeError):
    """The exception that a `raise` plan throws."""


def point(name: str) -> None:
    """Do what the plan says for this place, once per plan file entry: kill -9, raise, or freeze for 20 s."""
    if not _PLAN or name not in _PLAN:
        return
    what, _, once = _PLAN[name].partition("@")
    if once:  # a file that remembers that this fault has happened, so that the process after it lives
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "freeze":
        time.sleep(20)
    if what == "raise":
        raise PlannedFault(name)
