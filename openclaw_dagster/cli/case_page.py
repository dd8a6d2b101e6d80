"""One case as it is read at three in the morning: what happened, why, what is known, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import ago, literal, moment, one_line, pretty, say, time_of_day
from openclaw_dagster.cli.place import case_url, run_url
from openclaw_dagster.clock import day_of, span
from openclaw_dagster.settings import Settings
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.events import Event
from openclaw_dagster.store.journal import Record
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.store.retention import forgotten

#: How an attempt can end, as the journal says it.
ENDS = {
    Kind.COMPLETED: "completed",
    Kind.RETRY: "failed",
    Kind.UNKNOWN: "outcome unknown",
    Kind.PARKED: "outcome unknown",
    Kind.FAILED: "failed",
    Kind.UNDONE: "taken back",
    Kind.UNDO_RETRY: "not taken back",
    Kind.UNDO_FAILED: "not taken back",
    Kind.ANSWERED: "answered by a person",
}


#: What a line about a step is when it is not the begin of an attempt.
WORDS = {
    **dict.fromkeys((Kind.UNDO_BEGUN, Kind.UNDONE, Kind.UNDO_RETRY, Kind.UNDO_FAILED), "undo"),
    **dict.fromkeys((Kind.UNKNOWN, Kind.PARKED, Kind.COMPLETED, Kind.RETRY, Kind.ANSWERED), "asked"),
    Kind.FAILED: "gave up",
}


@dataclass(frozen=True)
class Story:
    """Everything the ledger knows about one case."""

    case: Case
    event: Event | None
    version: str  # of the system, as its authors count
    journal: list[Record]
    effects: list[dict[str, Any]]
    url: str
    run_url: str | None

    def as_json(self) -> dict[str, Any]:
        """Return plain data; times are milliseconds since 1970, UTC."""
        case = asdict(self.case)
        facts = case.pop("facts")
        steps = {name: one for name, one in facts["steps"].items() if name not in facts["decisions"]}
        return {
            **case,
            "version": self.version,
            "url": self.url,
            "run_url": self.run_url,
            "event": asdict(self.event) if self.event else None,
            "decisions": facts["decisions"],
            "steps": steps,
            "effects": self.effects,
            "journal": [
                {"seq": one.seq, "at": one.at, "kind": str(one.kind), "body": one.body}
                for one in self.journal
            ],
        }


def read(ledger: Ledger, case: Case, settings: Settings) -> Story:
    """Return everything the ledger knows about a case."""
    bundle = ledger.spec(case.digest)
    return Story(
        case,
        ledger.events([case.event_id]).get(case.event_id),
        _version(bundle),
        ledger.journal(case.id),
        ledger.effects(case.id),
        case_url(settings, case.id),
        run_url(settings, case.run_id) if case.run_id else None,
    )


def _version(bundle: Mapping[str, Any] | None) -> str:
    if bundle is None:
        return ""
    lines = str(bundle.get("files", {}).get(bundle.get("path"), "")).splitlines()
    said = next((line for line in lines if line.startswith("version:")), "")
    return said.removeprefix("version:").partition("#")[0].strip().strip("\"'")


def show(story: Story, *, now: int, full: bool) -> None:
    """Print the case."""
    case = story.case
    title = Text(literal(f"{case.system} · {case.trigger} · {case.key}   "), style="bold")
    output.out().print(title + output.state(case.state))
    _facts(story, now)
    _event(story, full)
    _decisions(story, full)
    _steps(story, full)
    _journal(story)
    if (hint := next_move(case, now, forgotten(story.event, story.journal))) is not None:
        say()
        say(hint, "bold")


def _facts(story: Story, now: int) -> None:
    case = story.case
    rows: list[tuple[str, str]] = [("case", case.id)]
    if (origin := case.facts.origin) is not None:
        rows.append(("begun by", f"{origin.case}, step {origin.step}, item {origin.index + 1}"))
    if case.reason:
        rows.append(("why", case.reason))
    rows.append(("begun", f"{moment(case.created_at)} ({ago(case.created_at, now)})"))
    if case.closed_at:
        rows.append(("ended", f"{moment(case.closed_at)}, after {span(case.closed_at - case.created_at)}"))
    elif case.due_at:
        what = "lease until" if case.state == "running" else "due"
        rows.append((what, f"{moment(case.due_at)} ({ago(case.due_at, now)})"))
    rows.append(("spec", f"{story.version} {case.digest[:12]}".strip()))
    if case.redrives:
        rows.append(("redriven", f"{case.redrives} ×"))
    rows.append(("page", story.url))
    if story.run_url:
        rows.append(("run", story.run_url))
    output.table(("", ""), rows, indent=2)


def _event(story: Story, full: bool) -> None:
    event = story.event
    say()
    if event is None:
        say("Event: it is not in the ledger; run `claw audit verify`", "bold red")
        return
    say(f"Event  {event.source} {event.name}, received {moment(event.received_at)}", "bold")
    said = (
        pretty(event.payload, full=full)
        if event.payload is not None
        else f"past its retention; sha256 {event.digest}"
    )
    _block(said)


def _decisions(story: Story, full: bool) -> None:
    for name, made in story.case.facts.decisions.items():
        say()
        branch = f" → {made.output['branch']}" if "branch" in made.output else ""
        say(f"Decision  {name}{branch}   {time_of_day(made.at)}", "bold")
        rows = [
            ("reason", made.reason),
            ("output", pretty(made.output, full=full)),
            ("inputs", pretty(made.inputs, full=full)),
        ]
        output.table(("", ""), [*rows, ("policy", f"sha256 {made.policy}")], indent=2)


def _steps(story: Story, full: bool) -> None:
    actions = {one["step"]: one["action"] for one in story.effects}
    first = {(record.body or {}).get("step"): record.seq for record in reversed(story.journal)}
    for name, fact in sorted(story.case.facts.steps.items(), key=lambda one: first.get(one[0], 0)):
        if name in story.case.facts.decisions:
            continue
        say()
        action = f"  {actions[name]}" if name in actions else ""
        head = Text(literal(f"Step  {name}{action}   "), style="bold")
        output.out().print(head + output.state(fact.state))
        lines = list(_attempts(name, story.journal))
        if lines:
            output.table(("", "", "", ""), lines, indent=2)
        output.table(("", ""), list(_step_facts(fact, full)), indent=2)


def _step_facts(fact: StepFact, full: bool) -> Iterator[tuple[str, str]]:
    if fact.key:
        yield "effect key", fact.key
    if fact.error:
        yield ("because" if fact.state in ("skipped", "held") else "error"), fact.error
    if fact.args:
        yield "sent", pretty(fact.args, full=full)
    for number, one in enumerate(fact.branches, 1):
        why = f": {one.reason}" if one.reason else ""
        yield f"case {number}", f"{one.case or one.key} {one.state.replace('_', ' ')}{one_line(why, 200)}"
    if fact.result is not None:
        yield "result", pretty(fact.result, full=full)


def _attempts(step: str, journal: list[Record]) -> Iterator[tuple[str, str, str, str]]:
    """Yield each attempt of a step: what it was, when, how it ended, and what was said."""
    begun: Record | None = None
    for record in journal:
        body = record.body or {}
        if body.get("step") != step:
            continue
        if record.kind in (Kind.BEGUN, Kind.UNDO_BEGUN):
            if begun is not None:
                yield _attempt(begun, "no end written: its worker died", "")
            begun = record
        elif record.kind in ENDS:
            took = f" after {span(record.at - begun.at)}" if begun else ""
            yield _attempt(begun or record, ENDS[record.kind] + took, _said(body))
            begun = None
    if begun is not None:
        yield _attempt(begun, "under way", "")


def _attempt(begun: Record, end: str, said: str) -> tuple[str, str, str, str]:
    number = (begun.body or {}).get("attempt")
    what = WORDS.get(begun.kind, "attempt")
    return f"{what} {number}" if number and what != "asked" else what, time_of_day(begun.at), end, said


def _said(body: Mapping[str, Any]) -> str:
    parts = [str(body[name]) for name in ("error", "reason") if body.get(name)]
    if body.get("found_by"):
        parts.append(f"found by {body['found_by']}")
    if body.get("due_at"):
        parts.append(f"again at {time_of_day(body['due_at'])}")
    if body.get("by"):
        parts.append(f"by {body['by']}")
    return one_line("; ".join(parts), 300)


def _journal(story: Story) -> None:
    say()
    say("Journal", "bold")
    rows = []
    before: int | None = None
    for record in story.journal:
        later = f"+{span(record.at - before)}" if before is not None else day_of(record.at)
        rows.append((str(record.seq), time_of_day(record.at), later, str(record.kind), gist(record)))
        before = record.at
    output.table(("", "", "", "", ""), rows, indent=2)


def gist(record: Record) -> str:
    """Return the few words of a journal line that matter most."""
    if record.body is None:
        return "(past its retention)"
    body = record.body
    parts = [str(body[name]) for name in ("decision", "step", "stage", "queue", "run") if body.get(name)]
    if "attempt" in body:
        parts.append(f"attempt {body['attempt']}")
    if "took_place" in body:
        parts.append("it took place" if body["took_place"] else "it did not take place")
    for name in ("reason", "error", "why"):
        if body.get(name):
            parts.append(str(body[name]))
    if body.get("emits"):
        parts.append(f"emits {body['emits']}")
    if body.get("by"):
        parts.append(f"by {body['by']}")
    return one_line(" · ".join(parts), 200)


def next_move(case: Case, now: int, past: bool) -> str | None:
    """Return what a person can do about the case as it stands."""
    match case.state:
        case "dead_lettered" if past:
            return (
                "It gave up, and its payload is past its retention: send its event anew.\n"
                f'To put it away: claw case cancel {case.id} --reason "…"'
            )
        case "dead_lettered":
            return f'It gave up. Mend the cause, then: claw dlq redrive {case.id} --reason "…"'
        case "awaiting_human" if case.facts.waits_at:
            return f"{case.reason}: claw approve {case.id} {case.facts.waits_at[0]}, or claw deny"
        case "awaiting_human" if case.facts.given_up:
            first = case.facts.given_up[0].case
            return (
                f'A case that it began gave up. Mend the cause, then: claw dlq redrive {first} --reason "…"\n'
                f'  or let it go: claw case cancel {first} --reason "…"'
            )
        case "awaiting_human":
            return (
                "Nobody knows whether the call took place. Look it up under its effect key, then:\n"
                f'  claw case answer {case.id} --took-place --reason "…"     or --did-not'
            )
        case "waiting_retry" if case.due_at is not None:
            return (
                f"It is tried again by itself {ago(case.due_at, now)}."
                if case.due_at > now
                else "It is due and waits for its run."
            )
        case "open":
            return "It waits for its run. If it keeps waiting, is the host up? claw doctor"
        case _:
            return None


def _block(text: str) -> None:
    for line in text.splitlines():
        say(f"  {line}")
