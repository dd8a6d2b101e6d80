"""`claw dev` as a customer has it: started, asked, killed part by part, restarted, and always cleaned up."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from openclaw_dagster import settings
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.web.signatures import sign

from .ports import free_port

T = TypeVar("T")

SECRET = "whsec_" + "ZTJlLXNlY3JldC1vZi0yNC1ieXRlcy1vci1tb3Jl"

#: What each process of a host is recognised by.
ROLES = {
    "claw": ("openclaw_dagster.cli.host",),
    "web": ("openclaw_dagster.cli", "web"),
    "daemon": ("openclaw_dagster.warm.daemon",),
    "code": ("dagster", "api", "grpc"),
    "pool": ("openclaw_dagster.warm.pool",),
}
#: And what the pool has forked, by the name it gave itself.
NAMES = {"claw-code": "code", "claw-worker": "worker"}

SENSORS = """{ sensorsOrError(repositorySelector: {
  repositoryName: "__repository__", repositoryLocationName: "openclaw"
}) { ... on Sensors { results { name sensorState { status } } } } }"""
RUNS = """query($tags: [ExecutionTag!]!) { runsOrError(filter: {tags: $tags}) { ... on Runs { results {
  runId status tags { key value } eventConnection { events {
    ... on ExecutionStepOutputEvent { stepKey metadataEntries { label ... on UrlMetadataEntry { url } } }
  } } } } } }"""


class Stack:
    """One host with its project, its home and its database."""

    def __init__(
        self,
        folder: Path,
        specs: Path,
        database: str | None = None,
        *,
        environment: str = "staging",
        command: str = "dev",
    ) -> None:
        self.command = command
        self.folder, self.specs = folder, specs
        self.home = folder / "home"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = database or f"sqlite:///{self.home / 'ledger.db'}"
        self.log = folder / "claw.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "dumb",
            "PYTHONPATH": str(Path(settings.__file__).parents[1]),
            "CLAW_HOME": str(self.home), "CLAW_SPECS": str(specs), "CLAW_ENVIRONMENT": environment,
            "CLAW_PORT": str(self.port), "CLAW_PUBLIC_URL": self.url, "CLAW_DATABASE_URL": self.database,
            **{f"{path.stem}_order_created_secret".upper(): SECRET for path in specs.glob("*.claw")},
        }  # fmt: skip
        self._ledger: Ledger | None = None

    # ── its processes

    def launch(self) -> subprocess.Popen[bytes]:
        """Start `claw dev` and return at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "openclaw_dagster.cli", self.command, "--port", str(self.port)],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self.process

    def start(self) -> Stack:
        """Start `claw dev` and wait until it takes events and its sensors are on."""
        self.launch()
        self.ready()
        return self

    def ready(self, seconds: float = 90) -> None:
        """Wait until events are taken and every dispatch sensor is on."""

        def up() -> bool:
            status, said = self.get("/readyz")
            assert status != 200 or json.loads(said)["problems"] == [], self.tail()
            return status == 200 and self._sensors_on()

        self.until(up, seconds, "the host was not ready")

    def _sensors_on(self) -> bool:
        found = self.graphql(SENSORS).get("sensorsOrError", {}).get("results", [])
        return bool(found) and all(one["sensorState"]["status"] == "RUNNING" for one in found)

    def processes(self) -> dict[int, str]:
        """Return the processes of this host, and of no other, with their roles."""
        mark = f"CLAW_HOME={self.home}".encode()
        found: dict[int, str] = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (place / "environ").read_bytes().split(b"\0"):
                    words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    name = (place / "comm").read_text().strip()
                    found[int(place.name)] = NAMES.get(name) or _role(words)
        return found

    def pids(self, role: str) -> list[int]:
        """Return the processes of one role."""
        return [pid for pid, found in self.processes().items() if found == role]

    def kill(self, role: str) -> list[int]:
        """kill -9 every process of a role, once it is back from an earlier kill; return which."""
        end = time.monotonic() + 30
        while not (pids := self.pids(role)) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def kill_all(self) -> None:
        """kill -9 everything at once, as a power cut would."""
        while alive := self.processes():
            for pid in sorted(alive, key=lambda one: alive[one] != "claw"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.process is not None:
                self.process.wait()
            time.sleep(0.05)

    def interrupt(self, seconds: float = 15) -> int:
        """Press Ctrl-C; return the exit code, AssertionError when it does not end in time."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"claw dev did not end within {seconds} s\n{self.tail()}") from None

    def close(self) -> None:
        """End everything this host started, whatever state it is in."""
        if self._ledger is not None:
            self._ledger.database.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        self.kill_all()

    def tail(self, lines: int = 60) -> str:
        """Return the end of what the host printed."""
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """Return all the host printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def until(self, true: Callable[[], T], seconds: float, otherwise: str) -> T:
        """Wait until `true` gives something; AssertionError with the host's output when it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := true():
                return found
            time.sleep(0.2)
        raise AssertionError(f"{otherwise} within {seconds} s\n{self.tail()}")

    # ── what is said to it

    def get(self, path: str) -> tuple[int, str]:
        """GET a path of the host; status 0 when it does not answer."""
        return _exchange(urllib.request.Request(self.url + path))

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask Dagster; an empty answer when the host is not there."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        status, text = _exchange(
            urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        )
        if status != 200:
            return {}
        found: dict[str, Any] = json.loads(text).get("data") or {}
        return found

    def runs(self, case_id: str) -> list[dict[str, Any]]:
        """Return the Dagster runs that carry a case's tag."""
        found = self.graphql(RUNS, {"tags": [{"key": "claw/case", "value": case_id}]})
        runs: list[dict[str, Any]] = found.get("runsOrError", {}).get("results", [])
        return runs

    def post(
        self, system: str, order: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """Post an order, signed unless `headers` are given; status 0 when nobody answers."""
        body = json.dumps({"order": {"id": order, "weight_kg": 2, **more}}).encode()
        signed = sign(
            "standard-webhooks", SECRET, body, time.time_ns() // 1_000_000, f"msg_{time.monotonic_ns()}"
        )
        said = {"Content-Type": "application/json", **(signed if headers is None else headers)}
        status, text = _exchange(
            urllib.request.Request(f"{self.url}/hooks/{system}/order_created", body, said)
        )
        return status, json.loads(text) if text.startswith("{") else {}

    def send(self, system: str, order: str, **more: Any) -> str:
        """Post an order that is taken, as a patient sender does: again, until it is; return its case."""

        def taken() -> str | None:
            status, said = self.post(system, order, **more)
            return said["case"] if status == 202 else None

        return self.until(taken, 60, f"order {order} was not taken") or ""

    def send_at_once(self, system: str, order: str, times: int) -> list[tuple[int, dict[str, Any]]]:
        """Post one order many times at the same moment."""
        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(lambda _: self.post(system, order), range(times)))

    def claw(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `claw` with some words, as an operator at this host would."""
        return subprocess.run(
            [sys.executable, "-m", "openclaw_dagster.cli", *words], cwd=self.folder, env=self.environment,
            text=True, capture_output=True, check=False, timeout=60,
        )  # fmt: skip

    # ── what became of it

    @property
    def ledger(self) -> Ledger:
        """The ledger, for looking."""
        if self._ledger is None:
            self._ledger = Ledger(Database(self.database))
        return self._ledger

    def case(self, case_id: str) -> Case:
        """Return a case as it stands."""
        case = self.ledger.case(case_id)
        assert case is not None, f"the ledger has no case {case_id}"
        return case

    def ended(self, case_id: str, state: str, seconds: float = 120) -> Case:
        """Wait until a case has ended, and that it ended like this."""
        with suppress(AssertionError):
            self.until(lambda: self.case(case_id).ended, seconds, "")
        case = self.case(case_id)
        journal = "\n".join(
            f"{record.at} {record.kind} {record.body}" for record in self.ledger.journal(case_id)
        )
        assert case.state == state, f"{case.state}, not {state}: {case.reason}\n{journal}\n{self.tail()}"
        return case


def _role(words: list[str]) -> str:
    for role, marks in ROLES.items():
        if all(mark in words for mark in marks):
            return role
    return "other"


def _exchange(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
