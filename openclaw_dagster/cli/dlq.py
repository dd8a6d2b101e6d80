"""`claw dlq`: cases that gave up, kept until somebody redrives them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from openclaw_dagster.cli import output
from openclaw_dagster.cli.case import Id, Reason, find_case
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import case_url, opened_ledger, opened_shop, user
from openclaw_dagster.clock import SystemClock
from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import read_settings

if TYPE_CHECKING:
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.store.retention import GONE

#: Most dead letters that one command redrives.
MOST = 1_000

System = Annotated[str | None, typer.Option(help="Only dead letters of this system.")]


class NotDead(ClawError):
    """{case} is not a dead letter: it is {state}. `claw case show {case}` tells its story."""

    code = "CLAW709"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True, help="Look at dead letters, and redrive them when the cause is mended."
    )
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(redrive)
    app.add_typer(group, name="dlq", rich_help_panel="Look")


def list_letters(
    system: System = None,
    redriven: Annotated[
        bool, typer.Option("--redriven", help="Those that were redriven or cancelled instead.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first.

    \b
    Example:
      claw dlq list --system dispatch
    """
    with opened_ledger() as ledger:
        letters = ledger.dead_letters(system=system, redriven=redriven, limit=limit + 1)
    more, letters = len(letters) > limit, letters[:limit]
    if as_json:
        settings = read_settings()
        output.say_json([one | {"url": case_url(settings, one["case_id"])} for one in letters])
        return
    if not letters:
        output.say("none was redriven" if redriven else "no dead letters")
        return
    now = SystemClock().now()
    output.table(
        ("case", "system", "key", "gave up", "at", "attempts", "why"),
        [
            (
                one["case_id"],
                one["system"],
                output.one_line(one["key"], 32),
                output.ago(one["at"], now),
                one["stage"],
                str(one["attempts"]),
                output.one_line(one["reason"], 160),
            )
            for one in letters
        ],
    )
    if more:
        output.remark(f"these are the oldest {limit}: --limit shows more", "yellow")
    if not redriven:
        output.remark('when the cause is mended: claw dlq redrive CASE --reason "…"', "dim")


def show(case: Id, as_json: AsJson = False) -> None:
    """Show why a case gave up, and under which version of its system.

    \b
    Example:
      claw dlq show A-1004
    """
    with opened_ledger() as ledger:
        found = find_case(ledger, case)
        letters = [
            one
            for redriven in (True, False)
            for one in ledger.dead_letters(case_id=found.id, redriven=redriven)
        ]
    if not letters:
        raise NotDead(case=found.id, state=found.state.replace("_", " "))
    if as_json:
        output.say_json({"case": found.id, "key": found.key, "state": found.state, "letters": letters})
        return
    now = SystemClock().now()
    output.out().print(
        Text(output.literal(f"{found.system} · {found.key}   "), style="bold") + output.state(found.state)
    )
    for one in letters:
        rows = [
            ("case", found.id),
            ("gave up", f"{output.moment(one['at'])} ({output.ago(one['at'], now)})"),
            ("at", f"{one['stage']}, after {output.count(one['attempts'], 'attempt')}"),
            ("why", one["reason"]),
            ("queue", one["queue"]),
            ("spec", one["digest"][:12]),
        ]
        if one["redriven_at"]:
            rows.append(("taken up", f"{output.moment(one['redriven_at'])} by {one['redriven_by']}"))
        output.table(("", ""), rows, indent=2)
    output.say(f"the whole story: claw case show {found.id}")
    if found.state == "dead_lettered" and letters[0]["reason"] == GONE:
        output.say(f'it is past its retention: claw case cancel {found.id} --reason "…"', "bold")
    elif found.state == "dead_lettered":
        output.say(f'when the cause is mended: claw dlq redrive {found.id} --reason "…"', "bold")


def redrive(
    reason: Reason,
    cases: Annotated[list[str] | None, typer.Argument(help="Ids, last letters of ids, or keys.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead letter that waits.")] = False,
    system: System = None,
    same_version: Annotated[
        bool, typer.Option("--same-version", help="Under the version it failed with, not the one of today.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before more than one is redriven.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make dead letters due again: what failed starts anew, what holds stays done.

    \b
    Examples:
      claw dlq redrive A-1004 --reason "the carrier is up again"
      claw dlq redrive --all --system dispatch --yes --reason "outage is over"
    """
    if bool(cases) == every:
        raise typer.BadParameter(
            "name the cases, or say --all" if not cases else "name the cases or say --all, not both"
        )
    if system is not None and not every:
        raise typer.BadParameter("--system goes with --all")
    with opened_shop() as shop:
        ids = _chosen(shop.ledger, cases or [], system)
        if not ids:
            output.say_json([]) if as_json else output.say("no dead letters")
            return
        if len(ids) > 1 and not yes:
            _ask(len(ids))
        said = [_redrive(shop, case_id, reason, same_version=same_version) for case_id in ids]
    if as_json:
        output.say_json(said)
    else:
        for one in said:
            output.say(
                f"{one['case']} {'is due again' if one['redriven'] else one['problem']}",
                None if one["redriven"] else "red",
            )
        if len(said) > 1:
            output.say(f"{sum(one['redriven'] for one in said)} of {len(said)} redriven", "bold")
    raise typer.Exit(0 if all(one["redriven"] for one in said) else 1)


def _chosen(ledger: Ledger, cases: list[str], system: str | None) -> list[str]:
    if cases:
        return list(dict.fromkeys(find_case(ledger, one).id for one in cases))
    chosen: list[str] = []
    after: tuple[int, str] | None = None
    while len(chosen) < MOST and (page := ledger.dead_letters(system=system, limit=MOST, after=after)):
        after = (page[-1]["at"], page[-1]["case_id"])
        # nobody knows what those would send that are past their retention
        chosen += [one["case_id"] for one in page if one["reason"] != GONE]
    return chosen[:MOST]


def _ask(number: int) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"{number} dead letters would be redriven: say --yes, for nobody can be asked here"
        )
    typer.confirm(f"Redrive {number} dead letters?", abort=True, err=True)


def _redrive(shop: Workspace, case_id: str, reason: str, *, same_version: bool) -> dict[str, Any]:
    from openclaw_dagster.runtime import operations
    from openclaw_dagster.runtime.refusals import noted

    try:
        with noted(shop, f"claw dlq redrive {case_id}", person=user()):
            operations.redrive(shop, case_id, by=user(), reason=reason, same_version=same_version)
    except ClawError as error:
        return {"case": case_id, "redriven": False, "problem": f"{error.code} {error}"}
    return {"case": case_id, "redriven": True, "problem": None}
