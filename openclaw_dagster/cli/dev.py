"""`claw dev`, `claw serve` and `claw demo`: everything on this machine, in one terminal."""

from __future__ import annotations

import re
import subprocess
from enum import StrEnum
from typing import Annotated

import typer

from openclaw_dagster.cli.host import Words, become
from openclaw_dagster.cli.instance import alone, prepare
from openclaw_dagster.cli.processes import READY, python
from openclaw_dagster.cli.terminal import say
from openclaw_dagster.settings import Settings, read_settings


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


def web(
    listener: Annotated[int | None, typer.Option(help="Descriptor of a socket to accept from.")] = None,
) -> None:
    """Serve the web host alone, where a process manager keeps each process: workspace.yaml has to be in CLAW_HOME."""
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.web.host import serve as serve_host

    settings = read_settings()
    shop, workspace = Workspace(settings), settings.home / "workspace.yaml"
    serve_host(shop, workspace, listener=listener, on_ready=lambda: print(READY, flush=True))


def _settings(port: int | None) -> Settings:
    return read_settings(port=str(port) if port else None)


def _run(
    settings: Settings, *, verbose: bool, watch: bool, demo: bool = False, roles: frozenset[Role] = EVERY
) -> None:
    """Prepare what a host needs, and become the host."""
    with alone(settings, listens=Role.WEB in roles) as listener:
        environment = _prepare(settings, roles)
        accepts = listener.fileno() if listener is not None else None
        words = Words(frozenset(roles), accepts, watch=watch, demo=demo, verbose=verbose)
        become(words, environment)


def _prepare(settings: Settings, roles: frozenset[Role]) -> dict[str, str]:
    """Refuse what cannot be served, bring the databases up to date, and return the environment of the host."""
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.store.database import address
    from openclaw_dagster.web.secrets import check_door

    shop = Workspace(settings)
    for refused in shop.project.refused:
        typer.echo(refused.render() + "\n", err=True)
    if Role.WEB in roles:
        check_door(shop)
    environment = prepare(settings).environment()
    ledger = address(settings.database).render_as_string(hide_password=True)
    broker = f", broker {settings.broker_shown}" if settings.broker else ""
    say("claw", f"environment {settings.environment}, ledger {ledger}{broker}")
    _initialise(environment)
    return environment


def _initialise(environment: dict[str, str]) -> None:
    command = python("openclaw_dagster.compile.instance")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        say("claw", f"cannot start: {re.sub(r'^[a-zA-Z_.]+: ', '', said)}")
        raise typer.Exit(1)
