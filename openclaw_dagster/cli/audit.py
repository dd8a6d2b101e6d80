"""`claw audit`: is history what was written, and the seals by which others can tell."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import opened_ledger, shown_path
from openclaw_dagster.clock import SystemClock
from openclaw_dagster.errors import ClawError


class BadHeads(ClawError):
    """
    {file}, line {line}: {problem}. A line of it is what `claw audit seal` prints; take out one that was torn,
    and its head is given again.
    """

    code = "CLAW710"


class OtherHead(ClawError):
    """
    {file} has another head for {day} than the ledger: history was changed, or it is the file of another ledger.
    `claw audit verify --heads` tells more; nothing was written into the file.
    """

    code = "CLAW717"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, help="Prove that history is what was written.")
    group.command()(verify)
    group.command()(seal)
    app.add_typer(group, name="audit", rich_help_panel="Prove")


def verify(
    heads: Annotated[
        Path | None,
        typer.Option(help="Day heads that were kept elsewhere, as `claw audit seal` printed them."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Name at most so many faults.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Read all of history and recompute every hash; name each place that is not what was written.

    \b
    Examples:
      claw audit verify
      claw audit verify --heads /mnt/elsewhere/heads.jsonl

    Exit code 1 when a fault is found.
    """
    from openclaw_dagster.store import audit

    external = _heads(heads) if heads else {}
    with opened_ledger() as ledger:
        verdict = audit.verify(ledger.database, external=external, most=most)
    if as_json:
        faults = [{"where": fault.where, "problem": fault.problem} for fault in verdict.faults]
        counts = {
            "cases": verdict.cases,
            "rows": verdict.rows,
            "events": verdict.events,
            "days": verdict.days,
        }
        output.say_json({"ok": not faults, **counts, "external_days": len(external), "faults": faults})
    else:
        for fault in verdict.faults:
            output.say(f"{fault.where}: {fault.problem}", "red")
        seen = ", ".join(
            (
                output.count(verdict.events, "event"),
                output.count(verdict.cases, "case"),
                output.count(verdict.rows, "journal row"),
                output.count(verdict.days, "sealed day"),
            )
        )
        against = f", {output.count(len(external), 'day')} against {heads}" if heads else ""
        if verdict.faults:
            cut = " or more" if len(verdict.faults) >= most else ""
            output.say(f"{output.count(len(verdict.faults), 'fault')}{cut} in {seen}{against}", "bold red")
        else:
            output.say(f"history is what was written: {seen}{against}", "green")
    raise typer.Exit(1 if verdict.faults else 0)


def seal(
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Append what this file does not have yet, instead of printing it all."
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="Only days from this one on (UTC)."),
    ] = None,
) -> None:
    """Seal the days that are over, and give the heads of all sealed days as JSON lines, to be kept on another machine.

    Whoever changes history here cannot change what lies there: `claw audit verify --heads` compares the two.

    A host seals by itself every hour; its heads are given too.

    \b
    Examples:
      claw audit seal --output /mnt/elsewhere/heads.jsonl
      claw audit seal --since 2026-01-31 | ssh vault 'cat >> heads.jsonl'
    """
    from openclaw_dagster.store import seals

    with opened_ledger() as ledger:
        known = _heads(file) if file is not None and file.is_file() else {}
        target = _open(file) if file else None
        with os.fdopen(target, "w") if target is not None else nullcontext(output.out().file) as stream:
            sealed = seals.seal(ledger.database, SystemClock().now())
            heads = seals.heads(ledger.database, f"{since:%Y-%m-%d}" if since else "")
            for day, head in heads.items():
                if known.get(day, head) != head:
                    raise OtherHead(file=file, day=day)
            new = [(day, head) for day, head in heads.items() if day not in known]
            if new and file is not None and _torn(file):
                stream.write("\n")
            stream.writelines(json.dumps({"day": day, "head": head}) + "\n" for day, head in new)
            stream.flush()
            if target is not None:
                os.fsync(target)
    said = (
        f"{output.count(len(sealed.made), 'day')} sealed"
        if sealed.made
        else "no day is over that was not sealed before"
    )
    output.remark(f"{said}; {output.count(len(new), 'new head')} in {shown_path(file)}" if file else said)
    if sealed.doubt is not None:
        output.remark(sealed.doubt)


def _torn(file: Path) -> bool:
    """Tell whether the last line of a file has no end."""
    return file.is_file() and file.read_bytes()[-1:] not in (b"", b"\n")


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error


def _heads(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            day, head = str(said["day"]), str(said["head"])
        except (ValueError, KeyError, TypeError):
            raise BadHeads(file=file, line=number, problem="it is not a day with its head") from None
        if found.setdefault(day, head) != head:
            raise BadHeads(
                file=file, line=number, problem=f"the day {day} stands there twice, with two heads"
            )
    return found
