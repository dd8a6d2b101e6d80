"""The commands of `claw`, and how one that fails says so: a line with code and repair, never a traceback."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from openclaw_dagster.cli import (
    adapter,
    answers,
    audit,
    case,
    check,
    dlq,
    doctor,
    language,
    output,
    send,
    test,
    token,
)
from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import placed, variable

#: Commands whose module is imported only when one of them is asked for: it needs the database driver.
HOST = "openclaw_dagster.cli.dev"
HOST_COMMANDS = {
    "dev": "Run everything on this machine, and load changed files by themselves.",
    "serve": "Run everything on this machine, or one part of several machines, without watching files.",
    "demo": "Run everything and send four orders, one of which is retried and one dead-lettered.",
}

#: The order in which the help shows the commands: as one needs them.
ORDER = (
    *("check", "test", "explain", "schema", "adapter"),
    *HOST_COMMANDS,
    *("send", "case", "dlq", "inbox", "approve", "acknowledge", "deny", "skip", "hold", "release"),
    *("doctor", "audit", "token"),
)

HELP = """Run operational systems that are written down in one file each.

A `.claw` file says what starts a case, how it is decided, what is done, and what is promised.

\b
Begin here:
  claw check claw_specs/dispatch.claw       is the file right?
  claw test                                 does it do what it should? two days in a blink
  claw dev                                  run everything on this machine
  claw send dispatch --set order.id=A-1     send an event, as the shop would
  claw case list                            what became of it
  claw inbox                                what waits for people
  claw dlq list                             what gave up, and why
  claw doctor                               is all well here?

\b
Every command explains itself with --help and prints JSON with --json.
Exit codes: 0 good, 1 failed while running, 2 a file or an argument is wrong.
"""


class Root(TyperGroup):
    """The root command: it imports late what is heavy, and turns errors into lines and exit codes."""

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the names of the commands in the order one needs them."""
        known = {*self.commands, *(HOST_COMMANDS if find_spec(HOST) else ())}
        return sorted(known, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; of one that is imported late, what its help line says."""
        if cmd_name in HOST_COMMANDS and cmd_name not in self.commands:
            return typer.core.TyperCommand(cmd_name, help=HOST_COMMANDS[cmd_name], rich_help_panel="Run")
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that was asked for, imported by now."""
        if args and args[0] not in self.commands and find_spec(HOST):
            self.commands = {**_host_commands(), **self.commands}
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error becomes one line, and the exit code says whose it is."""
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if variable("CLAW_DEBUG"):
                raise
            raise typer.Exit(_tell(error, as_json=ctx.meta.get("claw.json", False))) from error


def _host_commands() -> dict[str, Any]:
    app = typer.Typer()
    importlib.import_module(HOST).register(app)
    group = typer.main.get_group(app)
    return dict(group.commands)


def _tell(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong; return the exit code."""
    from openclaw_dagster.spec.diagnostics import SpecRefused

    refused = error if isinstance(error, SpecRefused) else None
    if isinstance(error, ClawError):
        code, text = error.code, str(error)
    else:
        code = "CLAW999"
        # what the error says may quote a secret; what it is and where never does
        text = f"This is a fault of claw itself ({type(error).__name__} at {_place(error)})."
        text += " Run it again with CLAW_DEBUG=1 to see where, and report it."
    if as_json:
        said: dict[str, Any] = {"code": code, "message": text}
        if refused:
            said["diagnostics"] = [one.as_json() for one in refused.diagnostics]
        output.say_json({"error": said})
    elif refused:
        output.err().print(output.diagnostics(refused))
    else:
        output.err().print(f"[bold red]error[/] {code}  ", markup=True, end="")
        output.remark(text)
    return 2 if refused else 1


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"


app = typer.Typer(
    cls=Root,
    name="claw",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
check.register(app)
test.register(app)
language.register(app)
send.register(app)
case.register(app)
dlq.register(app)
answers.register(app)
audit.register(app)
adapter.register(app)
doctor.register(app)
token.register(app)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        output.say(f"claw {version('openclaw-dagster')}")
        raise typer.Exit()


@app.callback()
def root(
    context: typer.Context,
    specs: Annotated[str | None, typer.Option(help="Folder of the .claw files (CLAW_SPECS).")] = None,
    environment: Annotated[
        str | None, typer.Option(help="Which file of environments/ holds (CLAW_ENVIRONMENT).")
    ] = None,
    home: Annotated[
        str | None, typer.Option(help="Folder of ledger and Dagster storage (CLAW_HOME).")
    ] = None,
    database: Annotated[str | None, typer.Option(help="Address of the ledger (CLAW_DATABASE_URL).")] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Say where things are; the help of the root command stands in HELP."""
    context.with_resource(placed(specs=specs, environment=environment, home=home, database=database))


def run() -> None:
    """Run the command line and end the process; who stops reading, or presses Ctrl-C, is not scolded."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:  # a terminal that cannot show a letter gets its number
            reconfigure(errors="backslashreplace")
    try:
        try:
            app(prog_name="claw")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
