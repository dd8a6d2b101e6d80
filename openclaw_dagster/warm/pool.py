"""The pool: a process without threads or database handles that keeps warm workers and hands them runs.

It has read the files once, so what else serves them on this machine, the code server, is forked from it too.
SIGHUP lets a pool leave: its workers finish what they have, and it answers for them until they have.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from openclaw_dagster.settings import read_settings
from openclaw_dagster.warm.code import serve_code
from openclaw_dagster.warm.kin import name
from openclaw_dagster.warm.line import PoolDown, ask, socket_of
from openclaw_dagster.warm.restraint import Restraint
from openclaw_dagster.warm.undertaker import bury
from openclaw_dagster.warm.worker import READY, Worker, work

#: Runs after which a worker makes room for a fresh one.
RECYCLE = 500
#: Seconds that runs get to end when the pool is told to stop.
PATIENCE = 6.0
#: Seconds between two looks while nothing happens, and while something that died may not be started again yet.
QUIET, HELD_BACK = 5.0, 0.1


class Pool:
    """Hands each run to an idle worker, or says that there is none: nothing waits in here."""

    def __init__(
        self, path: Path, count: int, *, before: Path | None = None, code: Path | None = None
    ) -> None:
        self.path = path
        self.count = count
        self.before = before  # where the pool answers that this one follows
        self.code = code  # where the code server listens, if it is to be kept here
        self.coder, self.codes, self.births = 0, Restraint(), Restraint()
        self.leaving = False
        self.workers: dict[int, Worker] = {}
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.done = 0

    def run(self) -> None:
        """Serve until told to stop."""
        self.path.unlink(missing_ok=True)
        old = os.umask(0o077)
        self.listener.bind(str(self.path))
        os.umask(old)
        self.listener.listen(64)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, "listener")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "leaving", True))
        wake, waker = socket.socketpair()
        wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake, selectors.EVENT_READ, "wake")
        while not self.stopping and not (self.leaving and not self.workers):
            for key, _ in self.selector.select(timeout=self._leave() if self.leaving else self._fill()):
                self._react(key)
            self._reap()
        self._stop()

    def _leave(self) -> float:
        """Let workers end, those without a run at once, the others after it; return when to look again."""
        self._end_code()
        for worker in self.workers.values():
            worker.dismiss()
        return QUIET

    def _react(self, key: selectors.SelectorKey) -> None:
        if key.data == "listener":
            self._serve()
        elif key.data == "wake":
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv(4096)
        else:
            self._done(key.data)

    def _fill(self) -> float:
        """Start what is missing and not held back; return the seconds until the next look."""
        if self.code is not None and not self.coder and self.codes.lets():
            self._start_code(self.code)
        while len(self.workers) < self.count and self.births.lets():
            self._start_worker()
        all_there = len(self.workers) >= self.count and (self.code is None or self.coder)
        return QUIET if all_there else HELD_BACK

    def _start_code(self, at: Path) -> None:
        self.coder = os.fork()
        if self.coder == 0:
            self._forget()
            serve_code(at)

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._forget()
            work(theirs, RECYCLE)
        theirs.close()
        worker = Worker(pid, ours)
        self.workers[pid] = worker
        self.selector.register(ours, selectors.EVENT_READ, worker)

    def _forget(self) -> None:
        """Leave what is the pool's to it, in a process forked from it: a line held open elsewhere would never end."""
        signal.set_wakeup_fd(-1)
        self.listener.close()
        for worker in self.workers.values():
            worker.line.close()

    def _done(self, worker: Worker) -> None:
        try:
            said = worker.line.recv(4096)
        except OSError:
            said = b""
        if said == READY:
            worker.ready = True
        elif said:
            worker.run, worker.since = None, time.monotonic()
            self.done += 1
            self.births.lives()

    def _serve(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1.0)
            try:
                question = json.loads(connection.makefile("r").readline())
                connection.sendall(json.dumps(self._answer(question)).encode() + b"\n")
            except (OSError, ValueError, KeyError):
                return

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        match question["ask"]:
            case "launch":
                return self._launch(question["run"])
            case "terminate":
                return {"ok": self._terminate(question["run"]) or self._pass_on(question)}
            case "health":
                here = any(worker.run == question["run"] for worker in self.workers.values())
                return {"ok": here or self._pass_on(question)}
            case _:
                idle = sum(worker.idle for worker in self.workers.values())
                return {
                    "ok": True,
                    "workers": len(self.workers),
                    "idle": idle,
                    "done": self.done,
                    "pid": os.getpid(),
                }

    def _pass_on(self, question: dict[str, Any]) -> bool:
        """Ask the pool before this one, which leaves when its last run has ended."""
        if self.before is None:
            return False
        try:
            return bool(ask(self.before, question, seconds=0.5)["ok"])
        except PoolDown:
            return False

    def _launch(self, run: str) -> dict[str, Any]:
        for worker in self.workers.values():
            if worker.idle:
                try:
                    worker.line.sendall(json.dumps({"run": run}).encode() + b"\n")
                except OSError:
                    continue  # it has just ended; it is reaped in a moment
                worker.run, worker.used, worker.since = run, True, time.monotonic()
                return {"ok": True, "pid": worker.pid}
        return {"ok": False, "busy": len(self.workers)}

    def _terminate(self, run: str) -> bool:
        for worker in self.workers.values():
            if worker.run == run:
                os.kill(worker.pid, signal.SIGINT)
                return True
        return False

    def _reap(self) -> None:
        """Take note of processes that ended; a run that was under way is reported by somebody with a database."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.coder:
                self.coder = 0
                self.codes.died()
            worker = self.workers.pop(pid, None)
            if worker is None:
                continue
            self.selector.unregister(worker.line)
            worker.line.close()
            if worker.stillborn:
                self.births.died()
            if worker.run is not None and os.fork() == 0:
                self._forget()
                bury(worker.run, pid, os.waitstatus_to_exitcode(status))

    def _stop(self) -> None:
        self.listener.close()
        self.path.unlink(missing_ok=True)
        self._end_code()
        for worker in self.workers.values():
            worker.dismiss()
        end = time.monotonic() + PATIENCE
        while self.workers and time.monotonic() < end:
            self._reap()
            time.sleep(0.02)
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)

    def _end_code(self) -> None:
        if self.coder:
            os.kill(self.coder, signal.SIGTERM)
            self.coder, self.code = 0, None


def main(at: str = "", before: str = "", code: str = "") -> None:
    """Import everything a run needs, then keep the pool until told to stop."""
    settings = read_settings()
    warm_up()
    name("claw-pool")
    path = Path(at) if at else socket_of(settings)
    Pool(
        path, settings.workers, before=Path(before) if before else None, code=Path(code) if code else None
    ).run()
    sys.exit(0)


def warm_up() -> None:
    """Import and build what a first run would: the repository, so that each forked worker inherits it."""
    importlib.import_module("openclaw_dagster.definitions")
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    ReconstructableRepository(ModuleCodePointer("openclaw_dagster.definitions", "defs", None))
    import dagster._core.execution.api
    import dagster._grpc.server
    import dagster._grpc.types  # noqa: F401

    gc.collect()
    gc.freeze()  # what is there now is shared by all workers for good


if __name__ == "__main__":
    main(*sys.argv[1:])
