"""Asks the host that keeps this process to read the files anew, when somebody presses Reload in the Dagster UI."""

from __future__ import annotations

import asyncio
import os
import signal
import sys


class Reload:
    """The way to the host: it replaces this process with the others, so that all of them read the same files."""

    def __init__(self, host: int) -> None:
        self.host = host

    async def trouble(self) -> str | None:
        """Return what is wrong with the files as they are now, judged in a process of its own; None when all is well."""
        judge = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "openclaw_dagster.web.fitness", "door",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, broke = await judge.communicate()
        if not judge.returncode:
            return None
        why = (said or broke).decode(errors="replace").strip()
        return f"the files are not loaded, what ran before goes on:\n{why}"

    def ask(self) -> None:
        """Ask the host; it answers on its console."""
        if os.getppid() == self.host:  # else it has died, and this process is about to
            os.kill(self.host, signal.SIGUSR1)
