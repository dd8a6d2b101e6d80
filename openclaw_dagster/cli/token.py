"""`claw token`: what programs show to the host instead of a login."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import opened_ledger, user
from openclaw_dagster.clock import DAY, SystemClock
from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import read_settings
from openclaw_dagster.spec.login import Level as LevelName

if TYPE_CHECKING:
    from openclaw_dagster.store.tokens import Token

Level = Enum("Level", {name: name for name in get_args(LevelName)}, type=str)  # type: ignore[misc]


class NoPerson(ClawError):
    """The environment {environment} has nobody {person!r} under `people`; it has: {known}."""

    code = "CLAW713"


class NoToken(ClawError):
    """There is no token {token!r}: `claw token list` shows them."""

    code = "CLAW714"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, help="Make, show and end the API tokens of programs.")
    group.command()(create)
    group.command("list")(list_tokens)
    group.command()(revoke)
    app.add_typer(group, name="token", rich_help_panel="Run")


def create(
    person: Annotated[str, typer.Argument(help="In whose name it acts: an id under `people`.")],
    levels: Annotated[
        list[Level], typer.Option("--level", help="What it may do; can be said several times.")
    ],
    label: Annotated[str, typer.Option("--for", help="What it is for, such as `prometheus`.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="For how many days it is good.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: this once, for only its hash is kept.

    \b
    Example:
      claw token create ci --level operator --for "nightly launch" --days 30
    """
    from openclaw_dagster.spec.surroundings import load_environment
    from openclaw_dagster.store.tokens import Tokens

    settings = read_settings()
    people = load_environment(settings.environment_file).people
    if person not in people:
        known = ", ".join(sorted(people)) or "nobody"
        raise NoPerson(environment=settings.environment, person=person, known=known)
    claims = {"label": label[:200], "levels": sorted({level.value for level in levels})}
    with opened_ledger() as ledger:
        text, token = Tokens(ledger.database).make(
            "token", person, lasts=days * DAY, by=user(), claims=claims
        )
    if as_json:
        output.say_json({"token": text, **_row(token, token.created_at)})
        return
    output.say(text)
    output.remark(f"{token.id} acts for {person} until {output.moment(token.expires_at)}; send it as")
    output.remark("Authorization: Bearer …; it is not shown again", "dim")


def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, the newest first; their texts are nowhere.

    \b
    Example:
      claw token list
    """
    from openclaw_dagster.store.tokens import Tokens

    now = SystemClock().now()
    with opened_ledger() as ledger:
        rows = [_row(token, now) for token in Tokens(ledger.database).all()]
    if as_json:
        output.say_json(rows)
        return
    if not rows:
        output.say("no tokens")
        return
    output.table(
        ("token", "person", "levels", "for", "state", "used", "until"),
        [
            (
                one["id"],
                one["person"],
                ", ".join(one["levels"]),
                output.one_line(one["for"], 40),
                one["state"],
                output.ago(one["used_at"], now),
                output.moment(one["expires_at"]),
            )
            for one in rows
        ],
    )


def revoke(
    token: Annotated[str, typer.Argument(help="Its id, as `claw token list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a token for good; hosts that run refuse it within seconds.

    \b
    Example:
      claw token revoke token_01hq2v8m4k0000000000000000
    """
    from openclaw_dagster.store.tokens import Tokens

    with opened_ledger() as ledger:
        ended = Tokens(ledger.database).revoke(token)
    if ended is None:
        raise NoToken(token=token[:100])
    row = _row(ended, SystemClock().now())
    output.say_json(row) if as_json else output.say(f"{ended.id} opens nothing any more")


def _row(token: Token, now: int) -> dict[str, Any]:
    return {
        "id": token.id,
        "person": token.person,
        "levels": list(token.claims.get("levels", ())),
        "for": token.claims.get("label", ""),
        "state": token.state(now),
        "created_at": token.created_at,
        "created_by": token.created_by,
        "used_at": token.seen_at,
        "expires_at": token.expires_at,
    }
