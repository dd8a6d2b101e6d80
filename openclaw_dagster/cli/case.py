"""`claw case`: what became of events, one by one; and the two things a person may do to a case."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import case_url, opened_ledger, opened_shop, user
from openclaw_dagster.clock import SystemClock
from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import read_settings

if TYPE_CHECKING:
    from openclaw_dagster.store.case import Case
    from openclaw_dagster.store.ledger import Ledger

#: Cases, the newest first, among which the last letters of an id are looked for.
LOOKED_AT = 5_000
PAGE = 500
FEWEST_LETTERS = 4

STATE_WORDS = (
    "open",
    "running",
    "waiting_retry",
    "awaiting_human",
    "completed",
    "handed_off",
    "dead_lettered",
    "cancelled",
)

Id = Annotated[str, typer.Argument(help="Its id, the last letters of it, or its idempotency key.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it is written into the journal.")]


class NoCase(ClawError):
    """
    The ledger has no case {said!r}, by id, by the last letters of an id, or by key:
    `claw case list` shows those there are.
    """

    code = "CLAW707"


class ManyCases(ClawError):
    """{said!r} is more than one case: {cases}. Give the whole id."""

    code = "CLAW708"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True, help="Look at cases; cancel one, or answer what only a person knows."
    )
    group.command("list")(list_cases)
    group.command()(show)
    group.command()(cancel)
    group.command()(answer)
    app.add_typer(group, name="case", rich_help_panel="Look")


def find_case(ledger: Ledger, said: str) -> Case:
    """Return the one case that is meant by an id, the last letters of one, or a key; NoCase, ManyCases."""
    exact = ledger.case(said)
    if exact is not None:
        return exact
    found = ledger.find(key=said, limit=6) or _ending_in(ledger, said)
    if not found:
        raise NoCase(said=said)
    if len(found) > 1:
        raise ManyCases(said=said, cases=", ".join(f"{one.id} ({one.system} {one.key})" for one in found[:5]))
    return found[0]


def _ending_in(ledger: Ledger, letters: str) -> list[Case]:
    if len(letters) < FEWEST_LETTERS:
        return []
    found: list[Case] = []
    before: str | None = None
    for _ in range(LOOKED_AT // PAGE):
        page = ledger.find(limit=PAGE, before=before)
        found += [one for one in page if one.id.endswith(letters.lower())]
        if len(page) < PAGE:
            break
        before = page[-1].id
    return found


def list_cases(
    system: Annotated[str | None, typer.Option(help="Only cases of this system.")] = None,
    state: Annotated[
        str | None, typer.Option(help=f"Only cases in this state: {', '.join(STATE_WORDS)}.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only cases with this idempotency key.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many, the newest.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List cases, the newest first.

    \b
    Examples:
      claw case list --state awaiting_human
      claw case list --system dispatch --key A-1004
    """
    if state is not None and state not in STATE_WORDS:
        raise typer.BadParameter(f"{state!r} is not a state; there are: {', '.join(STATE_WORDS)}")
    with opened_ledger() as ledger:
        cases = ledger.find(system=system, state=state, key=key, limit=limit)
    if as_json:
        output.say_json([_brief(case) for case in cases])
        return
    if not cases:
        output.say(
            "no such case" if system or state or key else "no case yet: `claw send SYSTEM` sends an event"
        )
        return
    now = SystemClock().now()
    output.table(
        ("case", "system", "key", "state", "begun", "why"),
        [
            (
                case.id,
                case.system,
                output.one_line(case.key, 32),
                output.state(case.state),
                output.ago(case.created_at, now),
                output.one_line(case.reason, 120),
            )
            for case in cases
        ],
    )
    if len(cases) == limit:
        output.remark(f"the newest {limit}; --limit shows more", "dim")


def _brief(case: Case) -> dict[str, Any]:
    names = (
        "id",
        "system",
        "trigger",
        "key",
        "state",
        "reason",
        "digest",
        "run_id",
        "created_at",
        "started_at",
        "closed_at",
        "updated_at",
        "due_at",
        "redrives",
    )
    return {name: getattr(case, name) for name in names} | {"url": case_url(read_settings(), case.id)}


def show(
    case: Id,
    full: Annotated[bool, typer.Option("--full", help="Show payloads and results whole.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one case: its event, what was decided and why, each step with its attempts, and the journal.

    \b
    Examples:
      claw case show case_01jd4xq2m8r5v7w9y0z1a2b3c4
      claw case show A-1004                 by its idempotency key
      claw case show b3c4                   by the last letters of its id
    """
    from openclaw_dagster.cli import case_page

    settings = read_settings()
    with opened_ledger() as ledger:
        story = case_page.read(ledger, find_case(ledger, case), settings)
    if as_json:
        output.say_json(story.as_json())
    else:
        case_page.show(story, now=SystemClock().now(), full=full)


def cancel(case: Id, reason: Reason, as_json: AsJson = False) -> None:
    """Cancel a case: nothing more is done for it, and what was done stays done.

    \b
    Example:
      claw case cancel A-1004 --reason "the customer withdrew the order"
    """
    from openclaw_dagster.runtime import operations

    with opened_shop() as shop:
        found = find_case(shop.ledger, case)
        operations.cancel(shop, found.id, by=user(), reason=reason)
        _confirm(shop.ledger, found.id, "cancelled", as_json=as_json)


def answer(
    case: Id,
    reason: Reason,
    took_place: Annotated[
        bool | None,
        typer.Option("--took-place/--did-not", help="Whether the call of unknown outcome took place."),
    ] = None,
    result: Annotated[
        str | None, typer.Option(help="What the call gave, as JSON, when it took place.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a call took place of which nobody knows; the case goes on with that knowledge.

    Ask the far side first, under the effect key that `claw case show` prints: an answer is not taken back.

    \b
    Examples:
      claw case answer A-1 --took-place --reason "booked, says their portal"
      claw case answer A-1 --took-place --result '{"id": "BK-7"}' --reason "…"
      claw case answer A-1 --did-not --reason "their desk found no booking"
    """
    from openclaw_dagster.runtime import operations
    from openclaw_dagster.runtime.refusals import noted

    if took_place is None:
        raise typer.BadParameter("say --took-place or --did-not")
    if result is not None and not took_place:
        raise typer.BadParameter("a call that did not take place has no --result")
    try:
        given = json.loads(result) if result is not None else None
    except ValueError as error:
        raise typer.BadParameter(f"--result is not JSON: {error}") from error
    with opened_shop() as shop:
        found = find_case(shop.ledger, case)
        with noted(shop, f"claw case answer {found.id}", person=user()):
            operations.answer(shop, found.id, by=user(), took_place=took_place, result=given, reason=reason)
        _confirm(shop.ledger, found.id, "answered: it goes on at once", as_json=as_json)


def _confirm(ledger: Ledger, case_id: str, what: str, *, as_json: bool) -> None:
    case = ledger.case(case_id)
    assert case is not None
    if as_json:
        output.say_json(_brief(case))
    else:
        output.say(f"{case.id} ({case.key}) {what}")
