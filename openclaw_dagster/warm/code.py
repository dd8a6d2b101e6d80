"""The code server as a fork of the pool: what the files say is read once, and held in memory once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dagster._cli.api import grpc_command

from openclaw_dagster.warm.kin import end_with_parent, name


def serve_code(path: Path) -> None:
    """Answer Dagster's questions about the code at a socket until told to stop; never returns."""
    end_with_parent()
    name("claw-code")
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = [
        "--socket",
        str(path),
        "--module-name",
        "openclaw_dagster.definitions",
        "--location-name",
        "openclaw",
    ]
    try:
        grpc_command.main(words, standalone_mode=False)
    except BaseException:  # a forked process must not run the code after the fork
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)
