"""The processes of one host: started in order, restarted when they die, stopped together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

#: Shows who says what. It raises nothing: a child whose words nobody reads any more would wait for ever.
Say = Callable[[str, str], None]

#: Seconds a process gets to end by itself before it is killed.
PATIENCE = 8.0
#: Seconds between a death and the next start, growing with every death in a row.
WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
#: A process that lived this long (s) has recovered.
HEALTHY = 30.0

#: What Dagster's processes say while all is well, and stack traces; shown only on demand.
NOISE = re.compile(
    r"^\s|^$|^>$|^Stack Trace:|^Traceback|^The above exception|"
    r"\b(INFO|DEBUG)\b|(Supersession|Beta|Preview)Warning|"
    r"Reloading definitions from a code server|"  # the host does, with a new one
    r"dagster - ERROR - .*(STEP_FAILURE|RUN_FAILURE|Not executing)|so not trying to catch up$"
)
#: What comes before a stack trace; whether it matters shows in the exception after it.
HEADLINE = re.compile(r"caught an error")
#: Exceptions of a code server that is being restarted, which the line about its restart says better.
PASSING = re.compile(r"InactiveRpcError|UserCodeUnreachableError|Error loading repository location")
#: What stands before the one sentence of a run that failed on purpose; Dagster says it twice.
FAILURE = re.compile(r"^(\w+\.)+Failure: ")
#: What a process prints when it can do its work.
READY = "ready"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

#: Becomes the process it is given, which Linux ends when its parent dies: a supervisor that was killed leaves
#: nothing behind that stands in the way of the next. It is no `preexec_fn`: that is unsafe beside threads.
LEASH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Child:
    """One process and how often it died lately."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    shared: tuple[int, ...] = ()  # descriptors it inherits
    ready: threading.Event = field(default_factory=threading.Event)  # it has said that it is
    process: subprocess.Popen[str] | None = None
    deaths: int = 0
    started: float = 0.0
    due: float = 0.0

    def start(self, tell: Callable[[Child, IO[str]], None]) -> None:
        """Start the process, in a group of its own so that it is stopped with all it started."""
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LEASH, str(os.getpid()), *self.command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=self.shared,
        )
        self.started = time.monotonic()
        assert self.process.stdout is not None
        threading.Thread(target=tell, args=(self, self.process.stdout), daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """Keeps the processes of one host alive until it is told to stop."""

    say: Say
    verbose: bool = False
    children: list[Child] = field(default_factory=list)
    leaving: list[Child] = field(default_factory=list)  # they end by themselves and are not started again
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(self, child: Child) -> None:
        """Start a process and show what it says; nobody looks after it yet."""
        child.start(self._tell)

    def take(self, *children: Child) -> None:
        """Look after processes from now on."""
        self.children += children

    def wait(self, child: Child, sign: Callable[[], bool], seconds: float) -> bool:
        """Wait for a sign of a process; False when it ends before, or the host does."""
        end = time.monotonic() + seconds
        while not sign():
            if not child.alive or self.stopping.is_set() or time.monotonic() > end:
                return False
            time.sleep(0.05)
            self.look()
        return True

    def _tell(self, child: Child, stream: IO[str]) -> None:
        headline = failure = ""
        for line in stream:
            text = COLOUR.sub("", line.rstrip())
            if text == READY:
                child.ready.set()
            if self.verbose:
                self.say(child.name, text)
            elif NOISE.search(text) or text == failure:
                continue
            elif FAILURE.search(text):
                failure = text
                self.say(child.name, FAILURE.sub("", text))
            elif HEADLINE.search(text):
                headline = text
            elif PASSING.search(text):
                headline = ""
            else:
                for one in filter(None, (headline, text)):
                    self.say(child.name, one)
                headline = ""

    def look(self) -> None:
        """Start again what died; the wait grows while it keeps dying."""
        now = time.monotonic()
        self.leaving = [child for child in self.leaving if child.alive]
        for child in self.children:
            if child.alive:
                if child.deaths and now - child.started > HEALTHY:
                    child.deaths = 0
                continue
            if not child.due:
                code = child.process.returncode if child.process else None
                wait = WAITS[min(child.deaths, len(WAITS) - 1)]
                child.deaths += 1
                child.due = now + wait
                self.say("claw", f"{child.name} ended ({_code(code)}); starting it again in {wait:g} s")
            elif now >= child.due:
                child.due = 0.0
                child.start(self._tell)

    def run(self, every: Callable[[], None] = lambda: None) -> None:
        """Look after the processes until told to stop; `every` is called about once a second."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stopping.set())
        while not self.stopping.wait(0.5):
            self.look()
            every()

    def leave(self, child: Child, number: int) -> None:
        """Send a process the signal by which it finishes what it has begun; it may take its time."""
        self.children.remove(child)
        self.leaving.append(child)
        _signal(child, number)

    def stop(self) -> None:
        """End every process, the last started first."""
        self.end([*reversed(self.children), *self.leaving])

    def end(self, children: Sequence[Child], number: int = signal.SIGINT) -> None:
        """End processes, and no longer look after them; those that do not stop are killed."""
        for child in children:
            _signal(child, number)
        deadline = time.monotonic() + PATIENCE
        for child in children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say("claw", f"{child.name} does not stop; it is killed")
            _signal(child, signal.SIGKILL)
            child.process.wait()
        self.children = [child for child in self.children if child not in children]


def _signal(child: Child, number: int) -> None:
    if child.process is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def _code(code: int | None) -> str:
    if code is None:
        return "never started"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this very interpreter."""
    return [sys.executable, "-m", module, *arguments]
