"""Several hosts on this machine: two that take events, one daemon, two that execute runs, each with a home of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .redis import free_port

T = TypeVar("T")

ROLES = {"web1": "web", "web2": "web", "daemon": "daemon", "worker1": "worker", "worker2": "worker"}
#: Processes of a worker host that is ready: `claw`, Celery's main process, and two workers.
FULL = 4
#: Seconds until the hosts have found each other: the workers have forked, the sensors have looked once.
SETTLE = 4.0


@dataclass
class Hosts:
    """The hosts by name, and how they are reached and ended."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def home(self, name: str) -> Path:
        """The home of a host."""
        return self.folder / name

    def port(self, name: str) -> int:
        """The port of a host that listens."""
        return self.ports.setdefault(name, free_port())

    def url(self, name: str) -> str:
        """Where a web host is reached."""
        return f"http://127.0.0.1:{self.port(name)}"

    def start(self, name: str) -> None:
        """Start a host as its operator would: `claw serve --only ROLE`, in a home of its own."""
        home = self.home(name)
        home.mkdir(exist_ok=True)
        said = {
            "CLAW_HOME": str(home),
            "CLAW_PORT": str(self.port(name)),
            "CLAW_PUBLIC_URL": self.url("web1"),
        }
        command = [sys.executable, "-m", "openclaw_dagster.cli", "serve", "--only", ROLES[name]]
        with (home / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**self.environment, **said}, stdout=log, stderr=log, start_new_session=True
            )

    def pids(self, name: str) -> list[int]:
        """Return every process of a host, found by the home it was started with."""
        wanted = f"CLAW_HOME={self.home(name)}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to every process of a host."""
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, name: str) -> None:
        """kill -9 every process of a host until none is left, as a power cut would."""
        while self.pids(name):
            self.signal(name, signal.SIGKILL)
            self.processes[name].wait()
            time.sleep(0.02)

    def log(self, name: str) -> str:
        """Return what a host printed."""
        return (self.home(name) / "log").read_text(errors="replace")

    def ready(self, *names: str, seconds: float = 90) -> None:
        """Wait until web hosts take events, and worker hosts have their workers."""
        end = time.monotonic() + seconds
        while not all(self._up(name) for name in names):
            if time.monotonic() > end:
                raise TimeoutError("\n".join(f"== {name}\n{self.log(name)[-3000:]}" for name in names))
            time.sleep(0.2)

    def _up(self, name: str) -> bool:
        if ROLES[name] == "worker":
            return len(self.pids(name)) >= FULL
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.url(name)}/readyz", timeout=2).close()
            return True
        return False

    def close(self) -> None:
        """End every host."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for name in self.processes:
            self.kill(name)


def until(true: Callable[[], T | None], seconds: float, otherwise: str) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{otherwise} within {seconds} s")


@contextlib.contextmanager
def hosts(folder: Path, environment: dict[str, str]) -> Iterator[Hosts]:
    """Run two web hosts, a daemon and two worker hosts on one ledger and one broker."""
    found = Hosts(folder, environment)
    try:
        for name in ROLES:
            found.start(name)
            if name == "web1":  # it brings the schemas up to date
                found.ready(name)
        found.ready("web2", "worker1", "worker2")
        time.sleep(SETTLE)
        yield found
    finally:
        found.close()
