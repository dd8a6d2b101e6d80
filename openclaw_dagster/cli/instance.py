"""Prepares what the processes of one host share: the Dagster home, the workspace file, the ledger."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import ADDRESS, Settings, as_variables, inherited, variable
from openclaw_dagster.store.database import relaxed
from openclaw_dagster.warm.line import code_socket_of

#: Connections that may wait for a web process; the system's own limit may be lower.
BACKLOG = 2048

#: What the Dagster instance is told; the storage follows the ledger's database.
DAGSTER_YAML = """\
# Written once by openclaw; yours to change from here on.
telemetry: {{enabled: false}}
nux: {{enabled: false}}
run_launcher: {launcher}
run_monitoring:
  {{enabled: true, poll_interval_seconds: 5, start_timeout_seconds: 60, max_resume_run_attempts: 0,
    max_runtime_seconds: 3600}}
concurrency: {{runs: {{max_concurrent_runs: 4}}}}
compute_logs: {{module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}}
sensors: {{use_threads: true, num_workers: 2}}
schedules: {{use_threads: true, num_workers: 2}}
{storage}"""

#: `run_launcher` of each kind of CLAW_LAUNCHER.
LAUNCHERS = {
    "warm": "{module: openclaw_dagster.warm.launcher, class: WarmRunLauncher}",
    "celery": "{module: openclaw_dagster.warm.hosts, class: HostsRunLauncher,\n"
    "  config: {broker: {env: CLAW_BROKER_URL}}}",
}

SQLITE = """\
run_storage: {module: openclaw_dagster.warm.storage, class: WarmRunStorage,
  config: {base_dir: {env: DAGSTER_HOME}}}
event_log_storage: {module: openclaw_dagster.warm.storage, class: WarmEventLogStorage,
  config: {base_dir: {env: DAGSTER_HOME}}}
schedule_storage: {module: openclaw_dagster.warm.storage, class: WarmScheduleStorage,
  config: {base_dir: {env: DAGSTER_HOME}}}
"""
POSTGRES = "storage: {postgres: {postgres_url: {env: CLAW_DAGSTER_DATABASE_URL}}}\n"


class PortTaken(ClawError):
    """The port {port} is in use: stop what listens there, or choose another with --port."""

    code = "CLAW720"


class HomeTaken(ClawError):
    """Another host runs in {home} already: stop it, or choose another folder with --home."""

    code = "CLAW721"


class OtherLauncher(ClawError):
    """
    CLAW_LAUNCHER is {launcher}, and {file} was written for another one: change `run_launcher` in it, or remove
    the file and it is written anew.
    """

    code = "CLAW722"


@dataclass(frozen=True)
class Home:
    """Where the processes of one host meet."""

    settings: Settings
    dagster: Path
    workspace: Path
    socket: Path

    def environment(self) -> dict[str, str]:
        """Return the environment every process of this host is started with."""
        # Dagster's view of runs needs no disk flush for each of its events: the truth is in the ledger, which flushes
        url = relaxed(self.settings.database)
        extra = {**as_variables(self.settings), "DAGSTER_HOME": str(self.dagster), "PYTHONUNBUFFERED": "1"}
        if url.startswith("postgresql"):
            extra["CLAW_DAGSTER_DATABASE_URL"] = url
        return inherited(extra)


def prepare(settings: Settings) -> Home:
    """Make the folders and files the processes need, leaving alone what is there already; OtherLauncher."""
    dagster = Path(variable("DAGSTER_HOME") or settings.home / "dagster")
    dagster.mkdir(parents=True, exist_ok=True)
    config = dagster / "dagster.yaml"
    if not config.exists():
        storage = POSTGRES if settings.database.startswith("postgres") else SQLITE
        config.write_text(DAGSTER_YAML.format(storage=storage, launcher=LAUNCHERS[settings.launcher]))
    elif any(_class(other) in config.read_text() for other in LAUNCHERS if other != settings.launcher):
        raise OtherLauncher(launcher=settings.launcher, file=config)
    socket = code_socket_of(settings)
    (settings.home / ADDRESS).write_text(settings.public_url)
    workspace = settings.home / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{socket: {socket}, location_name: openclaw}}\n")
    return Home(settings, dagster, workspace, socket)


def _class(launcher: str) -> str:
    return LAUNCHERS[launcher].partition("class: ")[2].rstrip("}").partition(",")[0]


@contextmanager
def alone(settings: Settings, *, listens: bool = True) -> Iterator[socket.socket | None]:
    """Hold this home as its only host, for two would take each other's sockets, and the port if it `listens`.

    HomeTaken, PortTaken. What is held is handed on to what this process becomes, and to none that it starts.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "host.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeTaken(home=settings.home) from None
        os.set_inheritable(lock.fileno(), True)
        if not listens:
            yield None
            return
        with _listener(settings) as listener:
            yield listener


def _listener(settings: Settings) -> socket.socket:
    """Return the socket that web processes accept from, one after another: who calls between two of them waits."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(port=settings.port) from None
    listener.set_inheritable(True)
    return listener
