"""The pool: a process without threads or database handles that keeps warm workers and hands them runs."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openclaw_dagster.settings import read_settings
from openclaw_dagster.warm.line import socket_of
from openclaw_dagster.warm.undertaker import bury
from openclaw_dagster.warm.worker import work

#: Runs after which a worker makes room for a fresh one.
RECYCLE = 500
#: Seconds that runs get to end when the pool is told to stop.
PATIENCE = 6.0


@dataclass
class Worker:
    """One warm process and what it is doing."""

    pid: int
    line: socket.socket
    run: str | None = None
    since: float = field(default_factory=time.monotonic)


class Pool:
    """Hands each run to an idle worker, or says that there is none: nothing waits in here."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count
        self.workers: dict[int, Worker] = {}
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.buried: set[int] = set()
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
        wake, waker = socket.socketpair()
        wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake, selectors.EVENT_READ, "wake")
        while not self.stopping:
            self._fill()
            for key, _ in self.selector.select(timeout=5):
                self._react(key)
            self._reap()
        self._stop()

    def _react(self, key: selectors.SelectorKey) -> None:
        if key.data == "listener":
            self._serve()
        elif key.data == "wake":
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv(4096)
        else:
            self._done(key.data)

    def _fill(self) -> None:
        while len(self.workers) < self.count:
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                ours.close()
                self._close_inherited()
                work(theirs, RECYCLE)
            theirs.close()
            worker = Worker(pid, ours)
            self.workers[pid] = worker
            self.selector.register(ours, selectors.EVENT_READ, worker)

    def _close_inherited(self) -> None:
        """Close, in a new worker, what belongs to the pool: a line held open elsewhere would never end."""
        self.listener.close()
        for worker in self.workers.values():
            worker.line.close()

    def _done(self, worker: Worker) -> None:
        try:
            said = worker.line.recv(4096)
        except OSError:
            said = b""
        if said:
            worker.run, worker.since = None, time.monotonic()
            self.done += 1

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
                return {"ok": self._terminate(question["run"])}
            case "health":
                return {"ok": any(worker.run == question["run"] for worker in self.workers.values())}
            case _:
                idle = sum(worker.run is None for worker in self.workers.values())
                return {
                    "ok": True,
                    "workers": len(self.workers),
                    "idle": idle,
                    "done": self.done,
                    "pid": os.getpid(),
                }

    def _launch(self, run: str) -> dict[str, Any]:
        for worker in self.workers.values():
            if worker.run is None:
                try:
                    worker.line.sendall(json.dumps({"run": run}).encode() + b"\n")
                except OSError:
                    continue  # it has just ended; it is reaped in a moment
                worker.run, worker.since = run, time.monotonic()
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
            worker = self.workers.pop(pid, None)
            if worker is None:
                continue
            self.selector.unregister(worker.line)
            worker.line.close()
            if worker.run is not None and os.fork() == 0:
                signal.set_wakeup_fd(-1)
                self._close_inherited()
                bury(worker.run, pid, os.waitstatus_to_exitcode(status))

    def _stop(self) -> None:
        self.listener.close()
        self.path.unlink(missing_ok=True)
        for worker in self.workers.values():
            worker.line.shutdown(socket.SHUT_WR)  # an idle worker ends at once, a busy one after its run
        end = time.monotonic() + PATIENCE
        while self.workers and time.monotonic() < end:
            self._reap()
            time.sleep(0.02)
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Import everything a run needs, then keep the pool until told to stop."""
    settings = read_settings()
    warm_up()
    Pool(socket_of(settings), settings.workers).run()
    sys.exit(0)


def warm_up() -> None:
    """Import and build what a first run would: the repository, so that each forked worker inherits it."""
    importlib.import_module("openclaw_dagster.definitions")
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    ReconstructableRepository(ModuleCodePointer("openclaw_dagster.definitions", "defs", None))
    import dagster._core.execution.api
    import dagster._grpc.types  # noqa: F401

    gc.collect()
    gc.freeze()  # what is there now is shared by all workers for good


if __name__ == "__main__":
    main()
