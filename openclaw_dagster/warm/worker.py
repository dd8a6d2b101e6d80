"""A worker of the pool: a forked process with everything imported, which executes one run after another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from dataclasses import dataclass, field

from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body
from dagster._utils.interrupts import capture_interrupts

from openclaw_dagster.warm.instance import keep
from openclaw_dagster.warm.kin import name
from openclaw_dagster.warm.restraint import HEALTHY

#: What a worker says when it can execute runs.
READY = b"ready\n"


@dataclass
class Worker:
    """One warm process and what it is doing, as the pool sees it."""

    pid: int
    line: socket.socket
    run: str | None = None
    ready: bool = False  # it has said that it can execute runs
    used: bool = False  # it was given one
    since: float = field(default_factory=time.monotonic)

    @property
    def idle(self) -> bool:
        """Whether it can begin a run at once."""
        return self.ready and self.run is None

    @property
    def stillborn(self) -> bool:
        """Whether it ended as soon as it was there: then so will the next, and no run is to blame."""
        return not self.used and time.monotonic() - self.since < HEALTHY

    def dismiss(self) -> None:
        """Hang up: an idle worker ends at once, a busy one after its run."""
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_WR)


def work(line: socket.socket, recycle: int) -> None:
    """Execute the runs that come over `line` until it closes or `recycle` runs are done; never returns."""
    name("claw-worker")
    os.setsid()  # a Ctrl-C in the terminal is for the pool, which lets runs end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 0
    try:
        with DagsterInstance.get() as instance:
            keep(instance)
            reader = line.makefile("r")
            line.sendall(READY)
            for _ in range(recycle):
                order = reader.readline()
                if not order:
                    break
                execute(json.loads(order)["run"], instance)
                line.sendall(b"done\n")
    except BaseException:  # a forked process must not run the code after the fork
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def execute(run_id: str, instance: DagsterInstance) -> None:
    """Execute one run; its trouble is written to its own event log, so the worker goes on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with capture_interrupts():
            _execute_run_command_body(run_id, instance, lambda _event: None, set_exit_code_on_failure=False)
    except KeyboardInterrupt:
        pass  # terminated after the last op: the run is settled
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
