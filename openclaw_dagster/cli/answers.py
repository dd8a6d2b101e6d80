"""`claw inbox`, `approve`, `deny`, `acknowledge`, `skip`, `hold`, `release`: what people say, from a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.caller import Nobody, named
from openclaw_dagster.cli.case import find_case
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import opened_ledger, opened_shop, user
from openclaw_dagster.clock import span
from openclaw_dagster.errors import ClawError

if TYPE_CHECKING:
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.spec.gates import FormField
    from openclaw_dagster.store.checkpoints import Request
    from openclaw_dagster.store.gates import GateFact

Case = Annotated[str, typer.Argument(help="Id or key of the case.")]
Step = Annotated[str, typer.Argument(help="The step whose checkpoint it is.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the journal.")]
Needed = Annotated[str, typer.Option(help="Why; it is kept in the journal.")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--form", help="What is filled in, as name=value; can be said several times."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is answered.")]
As = Annotated[
    str | None,
    typer.Option("--as", help="Who answers, in the environment development; elsewhere CLAW_TOKEN says it."),
]


class NotTaken(ClawError):
    """It does not count: {why}."""

    code = "CLAW716"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (inbox, approve, acknowledge, deny, skip, hold, release):
        app.command(rich_help_panel="Answer")(command)


def inbox(as_json: AsJson = False) -> None:
    """Show what waits for people, the oldest first, and what is on hold.

    \b
    Example:
      claw inbox
    """
    with opened_ledger() as ledger:
        waiting, held, doubts = ledger.checkpoints(waiting=True), ledger.holds(), ledger.in_doubt()
        now = ledger.clock.now()
    if as_json:
        shown = [{name: getattr(one, name) for name in one.__slots__} for one in waiting]
        output.say_json(
            {
                "waiting": shown,
                "doubts": [{n: getattr(one, n) for n in ("id", "system", "key", "reason")} for one in doubts],
                "holds": [{n: getattr(one, n) for n in one.__slots__} for one in held],
            }
        )
        return
    for one in held:
        output.say(f"{one.scope} is on hold: {one.reason} ({one.by})", "yellow")
    if not waiting and not doubts:
        output.say("nothing waits for anybody")
    for case in doubts:
        output.say(f"{case.key} of {case.system}: {case.reason}", "yellow")
        output.say(f"  claw case show {case.id}", "dim")
    if waiting:
        _requests(waiting, now)


def _requests(waiting: list[Request], now: int) -> None:
    output.table(
        ("case", "step", "asked of", "answers", "since"),
        [
            (
                one.key,
                one.step,
                " or ".join(one.roles),
                f"{one.answers} of {one.quorum}",
                span(now - one.asked_at),
            )
            for one in waiting
        ],
    )


def approve(
    case: Case,
    step: Step,
    form: Fields = None,
    reason: Reason = "",
    who: As = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Approve what a step is about to do; it shows that first and asks.

    \b
    Example:
      claw approve A-7 refund --form reason=lost --as fin_1
    """
    _answer(case, step, "approve", form, reason, who, yes=yes, as_json=as_json)


def acknowledge(
    case: Case,
    step: Step,
    form: Fields = None,
    reason: Reason = "",
    who: As = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Say that you have seen what a step is about to do; it shows that first and asks.

    \b
    Example:
      claw acknowledge A-7 pack --as agent_1
    """
    _answer(case, step, "acknowledge", form, reason, who, yes=yes, as_json=as_json)


def deny(case: Case, step: Step, reason: Needed, who: As = None, as_json: AsJson = False) -> None:
    """Deny what a step is about to do: what was done before is taken back, and the owner gets the case.

    \b
    Example:
      claw deny A-7 refund --reason "no receipt" --as fin_1
    """
    _answer(case, step, "deny", None, reason, who, yes=True, as_json=as_json)


def _answer(
    case: str,
    step: str,
    verdict: Any,
    form: list[str] | None,
    reason: str,
    who: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from openclaw_dagster.runtime.clearance import Answer, Counted, Refused, answer

    with opened_shop() as shop:
        found = find_case(shop.ledger, case)
        gate = found.facts.gates.get(step)
        person, token = _person(shop, found.id, step, verdict, who)
        if gate is not None and gate.open and not as_json:
            checkpoint = shop.version(found.digest).step(step).checkpoint
            _show(step, gate, checkpoint.form if checkpoint and verdict != "deny" else {})
        if not yes and gate is not None and gate.open:
            _ask(step, verdict, as_json=as_json)
        shown, said = gate.digest if gate else "", _fields(form)
        given = Answer(found.id, step, shown, person, verdict, "cli", reason, said, token=token)
        outcome = answer(shop, given)
    if isinstance(outcome, Refused):
        raise NotTaken(why=outcome.why)
    missing = outcome.missing if isinstance(outcome, Counted) else 0
    if as_json:
        output.say_json({"ok": True, "case": found.id, "step": step, "missing": missing})
    elif missing:
        output.say(f"recorded; {missing} more to answer", "yellow")
    else:
        output.say("recorded; the case goes on", "green")


def skip(case: Case, step: Step, reason: Needed, who: As = None, as_json: AsJson = False) -> None:
    """Leave a step out of one case, where its exception policy lets you.

    \b
    Example:
      claw skip A-7 rebook --reason "the carrier's line is down" --as lead_1
    """
    from openclaw_dagster.runtime.skips import NotGranted, Skip, grant

    with opened_shop() as shop:
        found = find_case(shop.ledger, case)
        person, token = _person(shop, found.id, step, "skip", who)
        given = grant(shop, Skip(found.id, step, person, "cli", reason, token))
        now = shop.clock.now()
    if isinstance(given, NotGranted):
        raise NotTaken(why=given.why)
    if as_json:
        output.say_json({"ok": True, "case": found.id, "step": step, "until": given.until})
    else:
        output.say(f"{step} is left out, if the case comes to it within {span(given.until - now)}", "green")


def hold(
    scope: Annotated[str, typer.Argument(help="A system, or an action such as erp.refund.")],
    reason: Needed,
    as_json: AsJson = False,
) -> None:
    """Pause a system or an action: cases rest where they are, and nothing is lost.

    \b
    Example:
      claw hold carrier.book --reason "wrong prices since noon"
    """
    from openclaw_dagster.runtime import holds

    with opened_shop() as shop:
        placed = holds.place(shop, scope, by=user(), reason=reason)
    if as_json:
        output.say_json({"ok": True, "scope": scope, "new": placed})
    else:
        output.say(f"{scope} is on hold" if placed else f"{scope} is on hold already", "yellow")


def release(
    scope: Annotated[str, typer.Argument(help="What is on hold.")], reason: Needed, as_json: AsJson = False
) -> None:
    """End a hold: what waited for it goes on at once.

    \b
    Example:
      claw release carrier.book --reason "prices are right again"
    """
    from openclaw_dagster.runtime import holds

    with opened_shop() as shop:
        freed = holds.release(shop, scope, by=user(), reason=reason)
    if freed is None:
        raise NotTaken(why=f"{scope} is not on hold")
    if as_json:
        output.say_json({"ok": True, "scope": scope, "freed": freed})
    else:
        output.say(
            f"{scope} goes on" + (f"; {output.count(freed, 'case')} due again" if freed else ""), "green"
        )


def _show(step: str, gate: GateFact, form: Mapping[str, FormField]) -> None:
    """Print what will run, as the digest of the answer has it, and what is filled in."""
    output.say(
        f"{step} will run {gate.shown['action']} {gate.shown['target'].get('url', '')}".rstrip(), "bold"
    )
    output.table(("", ""), [(name, str(value)) for name, value in gate.shown["args"].items()])
    for name, one in gate.changed.items():
        said = f"changed since it was asked before: {name} from {one['before']} to {one['after']}"
        output.say(said, "yellow")
    for name, field in form.items():
        output.say(f"fill in: --form {name}={'|'.join(field.choose) if field.choose else '…'}")


def _ask(step: str, verdict: str, *, as_json: bool) -> None:
    if as_json or not _terminal():
        raise typer.BadParameter("say --yes, for nobody can be asked here")
    typer.confirm(f"{verdict.capitalize()} {step}?", abort=True, err=True)


def _terminal() -> bool:
    return sys.stdin.isatty()


def _person(
    shop: Workspace, case_id: str, step: str, verdict: Any, said: str | None
) -> tuple[str, frozenset[str] | None]:
    """Return who answers, and what the token may that says so; Nobody, and the journal says so, when that is not known."""
    from openclaw_dagster.runtime.clearance import Answer, refuse

    try:
        return _named(shop, said)
    except Nobody:
        refuse(shop, Answer(case_id, step, "", user(), verdict, "cli"), "nobody knows who answers")
        raise


def _named(shop: Workspace, said: str | None) -> tuple[str, frozenset[str] | None]:
    """Return whom the token of CLAW_TOKEN belongs to, or in development whoever says so."""
    found = named(shop, said)
    if found is None:
        raise Nobody(
            repair="set CLAW_TOKEN to a token of yours, or in development say --as and an id under `people`"
        )
    return found


def _fields(said: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in said or ():
        name, equals, value = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"--form is name=value, not {one}")
        found[name] = value
    return found
