"""Policies in Python: checked when read, run in a bounded child process that nothing outlives."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openclaw_dagster.policy.guard import check_source, column_of
from openclaw_dagster.policy.verdict import PolicyFailed, Verdict, frozen_inputs, verdict_of
from openclaw_dagster.spec.expressions import JSON

#: Name of the engine; part of a policy's digest. The minor version counts: Python's own functions change.
ENGINE = f"python {sys.version_info[0]}.{sys.version_info[1]}"

_HOST = Path(__file__).with_name("host.py")
#: Hosts kept warm in one process; more threads than this at once start their own, which end again.
_WARM = 4
#: How long a busy machine may keep a decision waiting beyond its processor time, in seconds.
_PATIENCE = 10.0


@dataclass(frozen=True)
class PythonPolicy:
    """A policy whose function `decide(inputs)` returns the decision; ready to decide once it is made.

    `milliseconds` bounds the processor time of one decision, `megabytes` the memory it takes on top of
    Python's own. Making it raises `PolicyFailed` for what is not Python or not allowed in a policy.
    """

    file: str
    source: str = field(repr=False)
    milliseconds: int = 250
    megabytes: int = 64
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        check_source(self.file, self.source)
        digest = hashlib.sha256(f"{ENGINE}\0{self.source}".encode()).hexdigest()
        object.__setattr__(self, "digest", digest)

    def decide(self, inputs: Mapping[str, JSON]) -> Verdict:
        """Return the verdict on `inputs`, of which the policy gets a copy, or raise `PolicyFailed`."""
        frozen_inputs(self.file, inputs)
        request = {
            "digest": hashlib.sha256(f"{self.file}\0{self.digest}".encode()).hexdigest(),
            "file": self.file,
            "source": self.source,
            "inputs": dict(inputs),
            "seconds": self.milliseconds / 1000,
            "megabytes": self.megabytes,
        }
        reply = _ask(json.dumps(request).encode() + b"\n", self.milliseconds / 1000 + _PATIENCE)
        if "output" in reply:
            return verdict_of(self.file, reply["output"])
        line = int(reply.get("line", 1))
        column = column_of(self.source, line, int(reply.get("column", 0)))
        raise PolicyFailed(file=self.file, line=line, column=column, problem=self._problem(reply))

    def _problem(self, reply: Mapping[str, Any]) -> str:
        if "bad" in reply:
            return str(reply["bad"])
        if "memory" in reply or reply.get("killed") in (0, signal.SIGSEGV):
            return f"the policy needed more than {self.megabytes} MB: keep only what the decision needs"
        if "late" in reply or "killed" in reply:
            return f"the policy did not end within {self.milliseconds} ms: remove the endless loop"
        problem = str(reply["error"])
        if problem.startswith("RecursionError"):
            return "the policy calls itself too deep: replace the recursion by a loop"
        return problem


class _Host:
    """One warm child process; used by one thread at a time."""

    def __init__(self) -> None:
        # Not -I, which would make Python ignore the hash seed and so differ from run to run.
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", "-B", str(_HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            bufsize=0,
        )
        self.owner = os.getpid()

    def ask(self, request: bytes, seconds: float) -> dict[str, Any]:
        """Return the answer; raise `OSError` when the process is gone or does not answer in time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        sent = 0
        while sent < len(request):
            sent += self.process.stdin.write(request[sent:]) or 0
        answer = b""
        deadline = time.monotonic() + seconds
        waiter = select.poll()
        waiter.register(self.process.stdout, select.POLLIN)
        while not answer.endswith(b"\n"):
            if not waiter.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            chunk = self.process.stdout.read(1 << 16)
            if not chunk:
                raise BrokenPipeError
            answer += chunk
        reply: dict[str, Any] = json.loads(answer)
        return reply

    def close(self) -> None:
        """End the process and all it started; only by the process that started it."""
        if self.owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        else:
            # It is not our child, so nothing here may wait for it.
            self.process.returncode = 0
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


_idle: list[_Host] = []
_lock = threading.Lock()


def _ask(request: bytes, seconds: float) -> dict[str, Any]:
    """Ask a warm host; a host that died while it was idle is replaced once, because a policy is pure."""
    for attempt in (1, 2):
        with _lock:
            host = _idle.pop() if _idle and attempt == 1 else None
        host = host or _Host()
        try:
            reply = host.ask(request, seconds)
        except TimeoutError:
            host.close()
            return {"late": True}
        except (OSError, ValueError):
            host.close()
            continue
        with _lock:
            if len(_idle) < _WARM:
                _idle.append(host)
                return reply
        host.close()
        return reply
    return {"killed": int(signal.SIGKILL)}


def _forget() -> None:
    """After a fork: the pipes belong to the parent, and the lock may be held by a thread that is not here."""
    global _lock
    _lock = threading.Lock()
    for host in _idle:
        host.close()
    _idle.clear()


def _end() -> None:
    while _idle:
        _idle.pop().close()


os.register_at_fork(after_in_child=_forget)
atexit.register(_end)
