"""`claw send`: a sample event, signed as its sender would sign it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import opened_shop, user
from openclaw_dagster.clock import span

if TYPE_CHECKING:
    from openclaw_dagster.cli.delivery import Delivered
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.spec.model import System
    from openclaw_dagster.spec.triggers import Trigger

SENDABLE = ("webhook", "manual")

Data = Annotated[str | None, typer.Option("--data", "-d", help="The payload, as JSON.")]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="The file that holds the payload; - reads standard input.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="path=value, such as order.id=A-1; repeatable.")
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Run")(send)


def send(
    system: Annotated[str, typer.Argument(help="The system, such as dispatch.")],
    trigger: Annotated[
        str | None, typer.Argument(help="Its webhook or manual trigger; needed when it has several.")
    ] = None,
    data: Data = None,
    file: File = None,
    set_: Set = None,
    times: Annotated[
        int,
        typer.Option("--times", "-n", min=1, max=10_000, help="Send so many, each with a key of its own."),
    ] = 1,
    url: Annotated[str | None, typer.Option(help="Where the host is; without it CLAW_PUBLIC_URL.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Follow each case until it rests, and say how it ended.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds --wait follows one case.")] = 120,
    who: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Who begins it by hand, in the environment development; elsewhere CLAW_TOKEN says it, or the account.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send an event to a system: signed, to the running host; to a manual trigger, straight into the ledger.

    Whoever begins a case by hand has asked for it, and clears none of its checkpoints.

    Without a payload a sample is made from the trigger's JSON Schema and its idempotency path.

    \b
    Examples:
      claw send dispatch                                a sample order
      claw send dispatch --set order.id=A-1 --wait      and how it ended
      claw send dispatch order_created --file order.json
      claw send dispatch --times 50                     fifty orders

    Exit code 1 when an event was refused, or, with --wait, when a case did not complete.
    """
    from openclaw_dagster.cli.sample import renumbered

    with opened_shop() as shop:
        chosen, entry = _choose(shop, system, trigger)
        payload = _payload(chosen, entry, data, file, set_ or [])
        fresh = not (data or file or set_)
        path = entry.idempotency.path if getattr(entry, "idempotency", None) else None  # type: ignore[union-attr]
        said: list[dict[str, Any]] = []
        good = True
        for number in range(1, times + 1):
            one = _payload(chosen, entry, data, file, []) if fresh and number > 1 else payload
            one = renumbered(one, path, number) if path and not fresh else one
            done = _deliver(shop, chosen, entry, one, url, who)
            shown = done.as_json() | {"payload": one}
            if not as_json:
                _show(done, one, quiet=times > 5)
            ended = _follow(shop, done, patience, quiet=as_json) if wait and done.case else None
            good = good and done.taken and ended in (None, "completed")
            said.append(shown | ({"state": ended} if ended else {}))
        if as_json:
            output.say_json(said[0] if times == 1 else said)
        elif times > 5:
            _sum_up(said)
        raise typer.Exit(0 if good else 1)


def _choose(shop: Workspace, system_name: str, name: str | None) -> tuple[System, Trigger]:
    for refused in shop.project.refused:
        if system_name not in shop.systems:
            raise refused
    if system_name not in shop.systems:
        known = ", ".join(sorted(shop.systems)) or "none"
        raise typer.BadParameter(
            f"there is no system {system_name!r} in {shop.settings.specs}; there are: {known}"
        )
    system = shop.systems[system_name]
    sendable = {one.name: one for one in system.triggers if one.source in SENDABLE}
    if name is None and len(sendable) == 1:
        return system, next(iter(sendable.values()))
    if name in sendable:
        return system, sendable[name]
    other = next((one for one in system.triggers if one.name == name), None)
    choices = ", ".join(sendable) or "none that can be sent to"
    if other is not None:
        why = (
            "starts when its hour comes"
            if other.source == "schedule"
            else "starts when a system emits its event"
        )
        raise typer.BadParameter(
            f"{name} is a trigger of source {other.source}: it {why}. To be sent to: {choices}"
        )
    problem = (
        f"{system_name} has several triggers, say which"
        if name is None
        else f"{system_name} has no trigger {name!r}"
    )
    raise typer.BadParameter(f"{problem}: {choices}")


def _payload(
    system: System, trigger: Trigger, data: str | None, file: Path | None, changes: list[str]
) -> dict[str, Any]:
    from openclaw_dagster.cli.sample import BadValue, assign, mapping, payload_of

    if data and file:
        raise typer.BadParameter("--data and --file both hold the payload: give one of them")
    try:
        if data:
            payload = mapping(data, "--data")
        elif file:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
            payload = mapping(text, str(file))
        else:
            payload = payload_of(system, trigger)
        for change in changes:
            assign(payload, change)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from error
    except BadValue as error:
        raise typer.BadParameter(str(error)) from error
    return payload


def _deliver(
    shop: Workspace,
    system: System,
    trigger: Trigger,
    payload: dict[str, Any],
    url: str | None,
    who: str | None,
) -> Delivered:
    from openclaw_dagster.cli.caller import named
    from openclaw_dagster.cli.delivery import enter, post
    from openclaw_dagster.spec.triggers import ManualTrigger, WebhookTrigger

    if isinstance(trigger, ManualTrigger):
        person, _ = named(shop, who) or (user(), None)
        return enter(shop, system, trigger, payload, person)
    if who is not None:
        raise typer.BadParameter(
            f"--as is for manual triggers: {trigger.name} hears from its sender who asked"
        )
    assert isinstance(trigger, WebhookTrigger)
    return post(shop, system, trigger, payload, url or shop.settings.public_url)


def _show(done: Delivered, payload: dict[str, Any], *, quiet: bool) -> None:
    head = "in the ledger" if not done.status else f"{done.status} {'accepted' if done.taken else 'refused'}"
    if not done.taken:
        output.out().print(f"[bold red]{head}[/]  ", markup=True, end="")
        output.say(done.problem)
    elif done.case is None:
        output.say(f"{head}  no case: {done.problem}", "yellow")
    else:
        known = "  (known already: the first one's case)" if done.duplicate else ""
        output.out().print(f"[green]{head}[/]  ", markup=True, end="")
        output.say(f"{done.case}{known}")
    if quiet:
        return
    unsigned = "  (unsigned: the trigger has no secret here)" if done.status and not done.signed else ""
    output.say(f"  sent   {output.one_line(output.pretty(payload), 160)}{unsigned}")
    if done.url:
        output.say(f"  page   {done.url}")


def _follow(shop: Workspace, done: Delivered, patience: float, *, quiet: bool) -> str:
    from openclaw_dagster.cli.delivery import RESTING, follow

    state = "open"
    for case in follow(shop.ledger, done.case or "", patience):
        state = case.state
        if not quiet:
            line = Text("  ") + output.state(case.state)
            took = f" after {span(case.closed_at - case.created_at)}" if case.closed_at else ""
            why = f": {output.literal(output.one_line(case.reason, 200))}" if case.reason else ""
            output.out().print(line + took + why)
    if state not in RESTING and not quiet:
        output.say(f"  still {state} after {patience:g} s: claw case show {done.case}", "yellow")
    return state


def _sum_up(said: list[dict[str, Any]]) -> None:
    taken = sum(one["taken"] for one in said)
    known = sum(one["duplicate"] for one in said)
    output.say(
        f"{taken} of {len(said)} taken" + (f", {known} of them known already" if known else ""), "bold"
    )
