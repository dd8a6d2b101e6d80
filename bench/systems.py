"""The contenders: each is started, told where the carrier is, and says where orders are posted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

ENVIRONMENT = """\
unsigned_webhooks: true
adapters:
  carrier: {{use: http, url: "http://127.0.0.1:{port}", allow_private: true}}
constants:
  carrier_rates:
    - {{carrier: northway, service: standard, price: 6.40, days: 3, max_kg: 30}}
    - {{carrier: swiftline, service: express, price: 14.90, days: 1, max_kg: 20}}
  sla_policy: {{standard: {{max_days: 4}}, express: {{max_days: 1}}}}
"""


@dataclass
class Running:
    """A contender that runs, and what it costs."""

    name: str
    url: str
    home: Path
    mark: str
    database: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def pids(self) -> list[int]:
        """Every process of the contender, found by the variable it was started with."""
        wanted = f"BENCH_MARK={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def cpu(self) -> float:
        """CPU seconds used so far by every process, those that ended and were waited for included."""
        return sum(used(pid) for pid in self.pids())

    def memory(self) -> float:
        """Megabytes held, what is shared counted once."""
        return sum(held(pid) for pid in self.pids())


def used(pid: int) -> float:
    """CPU seconds a process and its ended children used so far."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICK
    return 0.0


def held(pid: int, *kinds: str) -> float:
    """Megabytes of a process: its proportional share, or the sum of other `kinds` of /proc/PID/smaps_rollup."""
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.partition(":")[0] in (kinds or ("Pss",)):
                total += int(line.split()[1])
    return total / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float = 90) -> None:
    end = time.time() + seconds
    while time.time() < end:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.1)
    raise TimeoutError(url)


@contextlib.contextmanager
def ours(carrier_port: int, database: str, *, workers: int = 2) -> Iterator[Running]:
    """This product with its sample, as `claw serve` runs it; `database` is "sqlite" or a Postgres url."""

    def sample(specs: Path) -> None:
        shutil.copytree(ROOT / "claw_specs", specs)
        (specs / "environments" / "development.yaml").write_text(ENVIRONMENT.format(port=carrier_port))

    with host(sample, database, "serve", workers=workers) as running:
        running.url += "/hooks/dispatch/order_created"
        yield running


@contextlib.contextmanager
def host(
    write: Callable[[Path], object], database: str, command: str, *, workers: int = 2
) -> Iterator[Running]:
    """This product with the systems that `write` puts into a folder, run by `claw dev` or `claw serve`."""
    home = Path(tempfile.mkdtemp(prefix="claw-bench-"))
    specs = home / "specs"
    write(specs)
    port = free_port()
    url = f"sqlite:///{home / 'ledger.db'}" if database == "sqlite" else database
    mark = home.name
    environment = {
        **os.environ, "CLAW_HOME": str(home), "CLAW_SPECS": str(specs), "CLAW_DATABASE_URL": url,
        "CLAW_WORKERS": str(workers), "BENCH_MARK": mark,
    }  # fmt: skip
    environment.pop("DAGSTER_HOME", None)
    log = (home / "log").open("wb")
    words = [sys.executable, "-m", "openclaw_dagster.cli", command, "--port", str(port)]
    process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
    running = Running("openclaw", f"http://127.0.0.1:{port}", home, mark, url, [process])
    try:
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz")
        except TimeoutError:
            print((home / "log").read_text()[-3000:], file=sys.stderr)
            raise
        time.sleep(4)
        yield running
    finally:
        stop(running)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def stop(running: Running) -> None:
    """End every process of a contender."""
    for process in running.processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
    for process in running.processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    for pid in running.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def stock(carrier_port: int, database: str) -> Iterator[Running]:
    """Stock Dagster with its daemon, default launcher and in-process executor, behind a webhook of its own."""
    home = Path(tempfile.mkdtemp(prefix="stock-bench-"))
    # SQLAlchemy takes a bare postgresql:// for psycopg 3, which Dagster's storage does not know
    database = database.replace("postgresql://", "postgresql+psycopg2://")
    events = f"sqlite:///{home / 'events.db'}" if database == "sqlite" else database
    storage = "" if database == "sqlite" else f"storage: {{postgres: {{postgres_url: '{database}'}}}}\n"
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n" + storage)
    hook = _hook(home, events, carrier_port) | {"DAGSTER_HOME": str(home)}
    environment, port = {**os.environ, **hook, "PYTHONPATH": str(ROOT)}, hook["HOOK_PORT"]
    log = (home / "log").open("wb")
    running = Running("stock Dagster", f"http://127.0.0.1:{port}/orders", home, home.name, events)
    try:
        _start(running, [sys.executable, "-m", "bench.contenders.hook"], environment, log)
        wait_for(f"http://127.0.0.1:{port}/ready")
        daemon = [sys.executable, "-m", "dagster._daemon", "run", "-m", "bench.contenders.stock_dagster"]
        _start(running, daemon, environment, log)
        time.sleep(12)
        yield running
    finally:
        stop(running)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def peer(
    name: str, module: str, python: str, carrier_port: int, database: str, **extra: str
) -> Iterator[Running]:
    """Another product that does the same work, from a virtual environment of its own."""
    home = Path(tempfile.mkdtemp(prefix="peer-bench-"))
    hook = _hook(home, database, carrier_port) | {"HOME": str(home)} | extra
    environment = {**os.environ, **hook, "PYTHONPATH": str(ROOT)}
    log = (home / "log").open("wb")
    running = Running(name, f"http://127.0.0.1:{hook['HOOK_PORT']}/orders", home, home.name, database)
    try:
        _start(running, [python, "-m", module], environment, log)
        wait_for(f"http://127.0.0.1:{hook['HOOK_PORT']}/ready")
        time.sleep(3)
        yield running
    finally:
        stop(running)
        log.close()
        shutil.rmtree(home, ignore_errors=True)


def _hook(home: Path, events: str, carrier_port: int) -> dict[str, str]:
    return {
        "EVENTS_URL": events, "HOOK_PORT": str(free_port()), "CARRIER_PORT": str(carrier_port), "BENCH_MARK": home.name
    }  # fmt: skip


def _start(running: Running, command: list[str], environment: dict[str, str], log: object) -> None:
    running.processes.append(
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)  # type: ignore[call-overload]
    )
