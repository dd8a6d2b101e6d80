"""What stays of `claw dev` and `claw serve` once all is prepared: the slim process that keeps the others alive.

The files are read anew by processes of a new generation, started beside the old one. When they are ready they take
its place, and the old ones finish what they have begun; when they do not start, the old ones go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openclaw_dagster.cli.processes import Child, Supervisor, python
from openclaw_dagster.cli.terminal import UNSAID, say, show
from openclaw_dagster.cli.watch import Watch
from openclaw_dagster.settings import Settings, inherited, read_settings
from openclaw_dagster.warm.line import code_socket_of, socket_of

#: Seconds a process gets to be ready.
START = 90.0


@dataclass(frozen=True)
class Words:
    """What the host is told by the command that becomes it."""

    roles: frozenset[str]
    listener: int | None  # the descriptor of the socket that web processes accept from
    watch: bool = False
    demo: bool = False
    verbose: bool = False

    @classmethod
    def read(cls, words: Sequence[str]) -> Words:
        """Return what `spoken` made."""
        roles, listener, *flags = words
        return cls(
            frozenset(roles.split(",")),
            int(listener) if listener else None,
            **dict.fromkeys(flags, True),
        )

    def spoken(self) -> list[str]:
        """Return the arguments of the process."""
        flags = [name for name in ("watch", "demo", "verbose") if getattr(self, name)]
        listener = "" if self.listener is None else str(self.listener)
        return [",".join(sorted(self.roles)), listener, *flags]


@dataclass
class Generation:
    """The processes that share one reading of the files, the last started first to end."""

    number: int
    code: Path
    pool: Path
    children: list[Child] = field(default_factory=list)
    web: Child | None = None

    @property
    def every(self) -> list[Child]:
        """All its processes."""
        return [*self.children, *([self.web] if self.web else [])]


class Host:
    """Keeps the parts of one host that its roles ask for, and replaces them when the files are to be read anew."""

    def __init__(self, settings: Settings, words: Words) -> None:
        self.settings = settings
        self.words = words
        self.environment = inherited({})
        self.supervisor = Supervisor(say, words.verbose)
        self.code, self.pool = code_socket_of(settings), socket_of(settings)
        self.now: Generation | None = None
        self.asked = threading.Event()
        self.watch = Watch(settings.specs)

    def run(self) -> None:
        """Start everything and look after it until told to stop."""
        signal.signal(signal.SIGUSR1, lambda *_: self.asked.set())
        try:
            self._clear()
            self._begin()
            self.supervisor.run(self._look)
        finally:
            say("claw", "stopping")
            self.supervisor.stop()
            self._clear()

    def _begin(self) -> None:
        self.now = first = self._generation(1)
        self.supervisor.take(*first.children)
        if not all(self._ready(first, child) for child in first.children):
            say("claw", "not everything has started; it is tried again")
        self._point(first)
        if "web" in self.words.roles:
            first.web = self._web()
            self.supervisor.take(first.web)
            threading.Thread(target=self._announce, args=(first.web,), daemon=True).start()
        if "daemon" in self.words.roles:
            command = python("openclaw_dagster.warm.daemon", str(self.settings.home / "workspace.yaml"))
            self.supervisor.take(self._started("daemon", command))

    # ── the processes

    def _generation(self, number: int) -> Generation:
        """Start what reads the files, but for the web process, which needs the others to be ready."""
        new = Generation(number, numbered(self.code, number), numbered(self.pool, number))
        serves, works = self.words.roles & {"web", "daemon"}, "worker" in self.words.roles
        warm = works and self.settings.workers and self.settings.launcher == "warm"
        for path in (new.code, new.pool):
            path.unlink(missing_ok=True)
        if warm:
            code = [str(new.code)] if serves else []
            before = str(self.now.pool) if self.now else ""
            command = python("openclaw_dagster.warm.pool", str(new.pool), before, *code)
            new.children.append(self._started("pool", command))
        elif serves:
            module = ("--module-name", "openclaw_dagster.definitions", "--location-name", "openclaw")
            command = python("dagster", "api", "grpc", "--socket", str(new.code), *module)
            new.children.append(self._started("code", command))
        if works and self.settings.workers and not warm:
            new.children.append(self._started("worker", self._celery(number)))
        return new

    def _celery(self, number: int) -> list[str]:
        # each home is a host of its own for Celery, also where several stand on one machine
        name, count = f"{self.code.stem}.{number}@%h", str(self.settings.workers)
        words = ("--concurrency", count, "--hostname", name, "--loglevel", "WARNING", "--queues", "dagster")
        app = ("-A", "openclaw_dagster.warm.hands", "worker")
        return python("celery", "-q", *app, *words, "--without-mingle")

    def _web(self) -> Child:
        listener = self.words.listener
        words = ("--listener", str(listener)) if listener is not None else ()
        return self._started("web", python("openclaw_dagster.cli", "web", *words), listener)

    def _started(self, name: str, command: list[str], shared: int | None = None) -> Child:
        child = Child(name, command, self.environment, shared=() if shared is None else (shared,))
        self.supervisor.begin(child)
        return child

    def _ready(self, generation: Generation, child: Child) -> bool:
        """Wait until a process can do its work; False when it ends before."""
        match child.name:
            case "pool":
                serves = self.words.roles & {"web", "daemon"}
                signs = [generation.pool, *([generation.code] if serves else [])]
                return self.supervisor.wait(child, lambda: all(path.exists() for path in signs), START)
            case "code":
                return self.supervisor.wait(child, generation.code.exists, START)
            case "web":
                return self.supervisor.wait(child, child.ready.is_set, START)
            case _:
                return child.alive

    def _point(self, generation: Generation) -> None:
        """Let the addresses that others know lead to the sockets of a generation."""
        for link, path in ((self.code, generation.code), (self.pool, generation.pool)):
            beside = link.with_suffix(".next")
            beside.unlink(missing_ok=True)
            beside.symlink_to(path)
            beside.replace(link)

    def _clear(self) -> None:
        """Remove every socket of this home, also those that a killed host left behind."""
        for link in (self.code, self.pool):
            for path in (link, *link.parent.glob(f"{link.stem}.*.sock")):
                path.unlink(missing_ok=True)

    # ── reading the files anew

    def _look(self) -> None:
        """Read the files anew when one has changed, or somebody asks."""
        if self.asked.is_set():
            self.asked.clear()
            self.watch.changed()  # what is loaded now is not loaded again for having changed
            self._reload("asked to reload")
        elif self.words.watch and self.watch.changed():
            self._reload("files changed")

    def _reload(self, why: str) -> None:
        if not self._fit():
            say("claw", f"{why}, and nothing is loaded: what ran before goes on")
            return
        say("claw", f"{why}: loading them" if why == "files changed" else f"{why}: loading the files")
        assert self.now is not None
        old, new = self.now, self._generation(self.now.number + 1)
        if not self._takes_over(old, new):
            self._point(old)
            self.supervisor.end(new.every)
            if not self.supervisor.stopping.is_set():
                say("claw", "what was loaded does not start: what ran before goes on")
            return
        self.supervisor.take(*new.every)
        self.now = new
        if old.web is not None:
            self.supervisor.end([old.web], signal.SIGTERM)  # first, for it hands runs to the others
        for child in old.children:
            self.supervisor.leave(child, signal.SIGHUP if child.name == "pool" else signal.SIGINT)

    def _takes_over(self, old: Generation, new: Generation) -> bool:
        if not all(self._ready(new, child) for child in new.children):
            return False
        self._point(new)
        if old.web is None:
            return True
        new.web = self._web()
        return self._ready(new, new.web)

    def _fit(self) -> bool:
        """Judge the files in a process of its own, and show what is wrong with them."""
        door = ("door",) if "web" in self.words.roles else ()
        command = python("openclaw_dagster.web.fitness", *door)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            show(done.stdout or done.stderr)
        return done.returncode == 0

    # ── what is said

    def _announce(self, web: Child) -> None:
        web.ready.wait()
        url = self.settings.public_url
        say("claw", f"Dagster UI    {url}")
        say("claw", f"cases         {url}/claw")
        say("claw", f"webhooks      {url}/hooks/SYSTEM/TRIGGER")
        if self.words.demo:
            orders = Child("claw", python("openclaw_dagster.cli.demo"), self.environment)
            self.supervisor.begin(orders)
            self.supervisor.leaving.append(orders)
        say("claw", "Ctrl-C stops everything")


def numbered(path: Path, number: int) -> Path:
    """Return the socket of one generation behind an address."""
    return path.with_suffix(f".{number}.sock")


def become(words: Words, environment: dict[str, str]) -> None:
    """Turn this process, with all it imported, into the slim one; its open descriptors are kept."""
    with contextlib.suppress(*UNSAID):
        sys.stdout.flush()
    command = python("openclaw_dagster.cli.host", *words.spoken())
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    Host(read_settings(), Words.read(sys.argv[1:])).run()
