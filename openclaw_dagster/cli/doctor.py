"""`claw doctor`: is all well here; one line each, with the repair."""

from __future__ import annotations

from typing import Annotated

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Prove")(doctor)


def doctor(
    url: Annotated[str | None, typer.Option(help="Where the host is; without it CLAW_PUBLIC_URL.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at everything a working system needs, and say what to repair.

    \b
    Examples:
      claw doctor
      claw --environment production doctor

    Exit code 1 when something fails; warnings do not count.
    """
    from openclaw_dagster.cli.examination import examine

    findings = list(examine(url))
    bad = sum(one.verdict == "fail" for one in findings)
    doubtful = sum(one.verdict == "warn" for one in findings)
    if as_json:
        output.say_json({"ok": not bad, "findings": [vars(one) for one in findings]})
    else:
        output.table(
            ("", "", ""),
            [
                (output.state(one.verdict), one.what, one.found + (f"\n→ {one.repair}" if one.repair else ""))
                for one in findings
            ],
        )
        output.say()
        if bad or doubtful:
            output.say(
                f"{output.count(bad, 'failure')}, {output.count(doubtful, 'warning')}",
                "bold red" if bad else "yellow",
            )
        else:
            output.say("all is well", "green")
    raise typer.Exit(1 if bad else 0)
