"""`claw dev`, `claw serve` and `claw demo`: everything on this machine, in one terminal."""

from __future__ import annotations

import re
import sys
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from openclaw_dagster.cli.instance import Home, alone, prepare
from openclaw_dagster.cli.processes import Supervisor, python
from openclaw_dagster.settings import Settings, read_settings

COLOURS = {"claw": "1", "web": "36", "daemon": "35", "code": "34"}


class Role(StrEnum):
    """What a host does; without a choice, all of it."""

    WEB = "web"
    DAEMON = "daemon"
    WORKER = "worker"


EVERY = frozenset(Role)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel="Run")(dev)
    app.command(rich_help_panel="Run")(serve)
    app.command(rich_help_panel="Run")(demo)
    app.command(hidden=True)(web)


Port = Annotated[int | None, typer.Option(help="Port to listen on, on loopback.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show everything Dagster's processes say.")]
Only = Annotated[
    list[Role] | None,
    typer.Option(
        help="Run this part alone: web, daemon or worker. Give it twice for two; without it, all run."
    ),
]


def dev(port: Port = None, verbose: Verbose = False) -> None:
    """Run everything on this machine, and load changed files by themselves.

    Starts the web host (Dagster UI, webhooks, pages), the Dagster daemon and the code server, restarts
    what dies, and stops all of it on Ctrl-C.

    Example:  claw dev --port 3000
    """
    _run(_settings(port), verbose=verbose, watch=True)


def serve(port: Port = None, verbose: Verbose = False, only: Only = None) -> None:
    """Run everything on this machine, as `claw dev` does, without watching files.

    With CLAW_LAUNCHER=celery the parts may run on machines of their own: `web` takes events, `daemon`
    keeps schedules, `worker` executes runs. Each has a CLAW_HOME of its own; Postgres and the broker are shared.

    Example:  claw serve --only worker
    """
    _run(_settings(port), verbose=verbose, watch=False, roles=frozenset(only or EVERY))


def demo(port: Port = None, verbose: Verbose = False) -> None:
    """Run everything and send four orders: one is retried, one ends with the dead letters."""
    _run(_settings(port), verbose=verbose, watch=True, demo=True)


def web() -> None:
    """Serve the web host alone, where a process manager keeps each process: workspace.yaml has to be in CLAW_HOME."""
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.web.host import serve as serve_host

    settings = read_settings()
    workspace = settings.home / "workspace.yaml"
    serve_host(Workspace(settings), workspace, on_ready=lambda: print("ready", flush=True))


def _settings(port: int | None) -> Settings:
    return read_settings(port=str(port) if port else None)


def _run(
    settings: Settings, *, verbose: bool, watch: bool, demo: bool = False, roles: frozenset[Role] = EVERY
) -> None:
    with alone(settings, listens=Role.WEB in roles):
        _run_alone(settings, verbose=verbose, watch=watch, demo=demo, roles=roles)


def _run_alone(settings: Settings, *, verbose: bool, watch: bool, demo: bool, roles: frozenset[Role]) -> None:
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.web.secrets import check_door

    shop = Workspace(settings)
    for refused in shop.project.refused:
        typer.echo(refused.render() + "\n", err=True)
    if Role.WEB in roles:
        check_door(shop)
    home = prepare(settings)
    supervisor = Supervisor(_say, verbose)
    broker = f", broker {settings.broker_shown}" if settings.broker else ""
    _say("claw", f"environment {settings.environment}, ledger {_shown(settings)}{broker}")
    environment = home.environment()
    try:
        _initialise(environment)
        home.socket.unlink(missing_ok=True)
        if roles & {Role.WEB, Role.DAEMON}:
            module = ("--module-name", "openclaw_dagster.definitions", "--location-name", "openclaw")
            code = python("dagster", "api", "grpc", "--socket", str(home.socket), *module)
            supervisor.start("code", code, environment)
            _wait_for(home.socket)
        if Role.WORKER in roles and settings.workers:
            supervisor.start(*_workers(home), environment)
        if Role.WEB in roles:
            supervisor.start("web", python("openclaw_dagster.cli", "web"), environment)
        if Role.DAEMON in roles:
            daemon = python("dagster._daemon", "run", "-w", str(home.workspace))
            supervisor.start("daemon", daemon, environment)
        if Role.WEB in roles:
            announce = threading.Thread(target=_announce, args=(shop.settings, supervisor, demo), daemon=True)
            announce.start()
        changes = _Watch(settings.specs)
        supervisor.run(lambda: _reload(changes, supervisor, settings) if watch else None)
    finally:
        _say("claw", "stopping")
        supervisor.stop()
        home.socket.unlink(missing_ok=True)


def _workers(home: Home) -> tuple[str, list[str]]:
    """Return the name and the command of what executes runs here."""
    if home.settings.launcher == "warm":
        return "pool", python("openclaw_dagster.warm.pool")
    # each home is a host of its own for Celery, also where several stand on one machine
    name, count = f"{home.socket.stem}@%h", str(home.settings.workers)
    words = (
        "worker",
        "--concurrency",
        count,
        "--hostname",
        name,
        "--loglevel",
        "WARNING",
        "--queues",
        "dagster",
    )
    return "worker", python("celery", "-q", "-A", "openclaw_dagster.warm.hands", *words, "--without-mingle")


def _initialise(environment: dict[str, str]) -> None:
    import subprocess

    command = python("openclaw_dagster.compile.instance")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        _say("claw", f"cannot start: {re.sub(r'^[a-zA-Z_.]+: ', '', said)}")
        raise typer.Exit(1)


def _wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)


def _announce(settings: Settings, supervisor: Supervisor, demo: bool) -> None:
    import urllib.request

    url = f"http://{settings.host}:{settings.port}"
    while not supervisor.stopping.wait(0.2):
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            break
        except OSError:
            continue
    _say("claw", f"Dagster UI    {settings.public_url}")
    _say("claw", f"cases         {settings.public_url}/claw")
    hooks = f"{settings.public_url}/hooks/SYSTEM/TRIGGER"
    _say("claw", f"webhooks      {hooks}")
    if demo:
        from openclaw_dagster.cli.demo import send_orders

        send_orders(settings, _say, supervisor.stopping)
    _say("claw", "Ctrl-C stops everything")


class _Watch:
    """Tells when a file of the project has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = self._marks()

    def _marks(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.folder.rglob("*") if path.is_file()}

    def changed(self) -> bool:
        try:
            marks = self._marks()
        except OSError:  # an editor replaced a file between the listing and the look
            return False
        before, self.seen = self.seen, marks
        return marks != before


def _reload(changes: _Watch, supervisor: Supervisor, settings: Settings) -> None:
    if not changes.changed():
        return
    from openclaw_dagster.errors import ClawError
    from openclaw_dagster.runtime.workspace import Project, Workspace
    from openclaw_dagster.web.secrets import check_door

    try:
        project = Project(settings.specs)
        check_door(Workspace(settings, project=project))
    except ClawError as error:
        _say("claw", f"files changed and are not loaded: {error}")
        return
    if project.refused:
        for refused in project.refused:
            typer.echo(refused.render() + "\n", err=True)
        _say("claw", "files changed and are not loaded: what ran before goes on")
        return
    _say("claw", "files changed: loading them")
    supervisor.restart("code", "pool", "worker", "web")


def _shown(settings: Settings) -> str:
    from openclaw_dagster.store.database import address

    return address(settings.database).render_as_string(hide_password=True)


_lock = threading.Lock()


def _say(who: str, text: str) -> None:
    label = f"{who:>7} │ "
    if sys.stdout.isatty():
        label = f"\x1b[{COLOURS.get(who, '0')}m{label}\x1b[0m"
    with _lock:
        print(label + text, flush=True)
