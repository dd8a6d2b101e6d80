"""What people are told of a request: what will run, with what, on what evidence, who may answer, until when."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from openclaw_dagster.adapters.channel import Message, Question
from openclaw_dagster.clock import iso, span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store import gates
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.gates import GateFact
from openclaw_dagster.store.journal import Record
from openclaw_dagster.store.notices import Notice

#: What ends a request without an answer to it, in words for whoever was asked.
_ENDS: Mapping[Kind, str] = {
    Kind.CANCELLED: "The case was cancelled",
    Kind.REDRIVEN: "The case begins anew; what it asks is asked again",
    Kind.HANDED_OFF: "The case was handed to its owner",
    Kind.DEAD_LETTERED: "The case has failed",
    Kind.CLOSED: "The case is over",
}


@dataclass(frozen=True)
class Story:
    """One request as the journal tells it: how it stands, and what ended it if nobody answered."""

    gate: GateFact
    ended: str = ""  # why nobody waits for an answer, where the gate does not say it
    seq: int = 0  # the last journal line that says anything about it

    @property
    def open(self) -> bool:
        """Whether it waits for an answer."""
        return self.gate.open and not self.ended


def told(shop: Workspace, notice: Notice) -> Message | None:
    """Return what a notice has to say as things are now; None when the journal does not tell it any more."""
    case = shop.ledger.case(notice.case_id)
    if case is None:
        return None
    records = shop.ledger.journal(case.id)
    if notice.sort == "handoff":
        return _handoff(shop, case, notice, records)
    story = story_of(records, notice.step, notice.request)
    if story is None:
        return None
    if notice.sort == "follow_up":
        return _follow_up(shop, case, notice, story, records)
    return request(shop, case, notice.step, story)


def story_of(records: Iterable[Record], step: str, number: int) -> Story | None:
    """Return one request of a step; None when it is not in the journal, or past its retention."""
    story: Story | None = None
    for record in records:
        body = record.body or {}
        if record.kind is Kind.ASKED and body.get("step") == step:
            if body["request"] == number:
                story = Story(gates.asked(body, record.moment), seq=record.seq)
            elif story is not None and story.open:
                story = replace(story, ended="It is asked anew", seq=record.seq)
        elif story is not None and story.open:
            story = _next(story, record, body, step, number)
    return story


def _next(story: Story, record: Record, body: Mapping[str, Any], step: str, number: int) -> Story:
    gate, kind = story.gate, record.kind
    if kind in _ENDS:
        because = f": {body['reason']}" if body.get("reason") else ""
        by = f" by {body['by']}" if body.get("by") else ""
        return replace(story, ended=f"{_ENDS[kind]}{by}{because}", seq=record.seq)
    if body.get("step") != step:
        return story
    if kind is Kind.SKIPPED:
        return replace(story, ended=f"The step is left out: {body.get('why', '')}", seq=record.seq)
    if body.get("request") != number:
        return story
    match kind:
        case Kind.REMINDED:
            gate = gates.reminded(gate, body)
        case Kind.ESCALATED:
            gate = gates.escalated(gate, body)
        case Kind.CLEARANCE:
            gate = gates.answered(gate, body, record.moment)
        case Kind.VOIDED:
            gate = replace(gate, state="voided")
        case Kind.EXPIRED:
            gate = replace(gate, state="expired")
        case _:
            return story
    return replace(story, gate=gate, seq=record.seq)


def request(shop: Workspace, case: Case, step: str, story: Story) -> Message:
    """Return the message of one request: with what may be answered while it waits, without once it does not."""
    gate, shown = story.gate, story.gate.shown
    word = "Approval" if gate.kind == "approval" else "Acknowledgement"
    verdicts = ("approve" if gate.kind == "approval" else "acknowledge", "deny") if story.open else ()
    who = " or ".join(gate.roles)
    if gate.quorum > 1:
        who += f", {gate.quorum} different people"
    lines = [
        ("Will run", f"{shown.get('action', '')}{_target(shown)}"),
        ("May answer", f"{who}; never who asked for it"),
    ]
    if story.open:
        lines.append(("Answer by", _until(gate, shop.clock.now())))
    texts = [("With", pretty(shown.get("args", {})))]
    if gate.changed:
        texts.insert(0, ("Changed since it was asked before", _difference(gate.changed)))
    texts.append(("Evidence", pretty(_evidence(shown))))
    return Message(
        title=f"{word} wanted: {step}" if story.open else f"{step}: {_outcome(story)}",
        about=_about(case), link=page(shop, case.id, step), standing=_standing(shop, story), lines=tuple(lines),
        texts=tuple(texts), verdicts=verdicts, ticket=ticket(case.id, step, gate) if story.open else "",
        questions=questions(shop, case, step) if story.open else (),
    )  # fmt: skip


def ticket(case_id: str, step: str, gate: GateFact) -> str:
    """Return what a channel gives back with an answer: which request it is about, and what was shown."""
    return dumps({"case": case_id, "step": step, "request": gate.request, "digest": gate.digest})


def page(shop: Workspace, case_id: str, step: str) -> str:
    """Return the address of the page of a checkpoint."""
    return f"{shop.settings.public_url}/claw/checkpoints/{quote(case_id, safe='')}/{quote(step, safe='')}"


def questions(shop: Workspace, case: Case, step: str) -> tuple[Question, ...]:
    """Return what is asked together with a yes; nothing where the version of the case cannot be had."""
    try:
        asks = shop.version(case.digest).step(step).checkpoint
    except DatabaseAway:
        raise
    except (ClawError, LookupError, StopIteration):
        return ()
    fields = asks.form if asks else {}
    return tuple(Question(name, one.choose, one.text or 1) for name, one in fields.items())


def person(shop: Workspace, name: str) -> str:
    """Return a person as people call them."""
    known = shop.environment.people.get(name)
    return known.name or name if known else name


def pretty(value: Any) -> str:
    """Return a value as people read it."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=dict)


def _about(case: Case) -> str:
    return f"{case.system} · {case.key}"


def _target(shown: Mapping[str, Any]) -> str:
    target = shown.get("target") or {}
    where = target.get("url") or ("the simulator" if target.get("use") == "simulator" else "")
    return f" at {where}" if where else ""


def _evidence(shown: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(shown.get("evidence") or {})
    decided = {
        name: " · ".join(
            str(part) for part in ((one.get("output") or {}).get("branch"), one.get("reason")) if part
        )
        for name, one in (found.get("decisions") or {}).items()
    }
    return {"decisions": decided, **({"read": found["read"]} if found.get("read") else {})}


def _difference(changed: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{path}: {json.dumps(one.get('before'), ensure_ascii=False, default=dict)} → "
        f"{json.dumps(one.get('after'), ensure_ascii=False, default=dict)}"
        for path, one in changed.items()
    )


def _until(gate: GateFact, now: int) -> str:
    if gate.deadline_at is None:
        return (
            "as long as it takes" if not gate.reminded and not gate.escalated else "its deadline has passed"
        )
    when = iso(gate.deadline_at)[:16].replace("T", " ") + " UTC"
    left = f"{span(gate.deadline_at - now)} left" if gate.deadline_at > now else "it has passed"
    after = {"escalate": "then others are asked too", "deny": "then it is denied", "hold": "then it waits on"}
    return f"{when} ({left}; {after.get(gate.overdue, '')})"


def _yes(shop: Workspace, gate: GateFact) -> str:
    return " and ".join(person(shop, one["person"]) for one in gate.answers if one["verdict"] != "deny")


def _outcome(story: Story) -> str:
    words = {"cleared": "cleared", "denied": "denied", "expired": "not answered in time", "voided": "void"}
    return words.get(story.gate.state, "no answer is wanted any more")


def _standing(shop: Workspace, story: Story) -> str:
    gate = story.gate
    if story.ended:
        return f"{story.ended}."
    match gate.state:
        case "asked":
            have = f"{_yes(shop, gate)} said yes; {gate.missing} more to go. " if gate.answers else ""
            others = "The deadline has passed, and others are asked too. " if gate.escalated else ""
            return f"{others}{have}Nothing runs until it is answered."
        case "cleared":
            return f"{'Approved' if gate.kind == 'approval' else 'Acknowledged'} by {_yes(shop, gate)}."
        case "denied":
            last = gate.answers[-1]
            because = f": {last['reason']}" if last.get("reason") else ""
            return f"Denied by {person(shop, last['person'])}{because}"
        case "expired":
            return "Nobody answered in time, so it is not done."
        case "voided":
            return "What would run now is not what was shown here, so no answer to this counts: it is asked anew."
        case _:
            return "The case was cancelled."


def _follow_up(
    shop: Workspace, case: Case, notice: Notice, story: Story, records: Sequence[Record]
) -> Message | None:
    line = next((one for one in records if one.seq == notice.wants), None)
    if line is None or line.body is None or not story.open:
        return None
    about = (line.kind, notice.step, notice.request)
    if any(one.seq > line.seq and _subject(one) == about for one in records):
        return None  # a newer one says it: nobody is reminded twice at once
    if line.kind is Kind.ESCALATED:
        title = f"{notice.step}: the deadline has passed, {' and '.join(line.body['to'])} may answer too"
    elif line.body.get("overdue"):
        title = f"{notice.step}: the deadline has passed, and it still waits"
    else:
        asked = span(max(0, shop.clock.now() - story.gate.asked_at))
        title = f"{notice.step} still waits for an answer, asked {asked} ago"
    return Message(title=title, about=_about(case), link=page(shop, case.id, notice.step))


def _subject(record: Record) -> tuple[Kind, object, object]:
    body = record.body or {}
    return record.kind, body.get("step"), body.get("request")


def _handoff(shop: Workspace, case: Case, notice: Notice, records: Sequence[Record]) -> Message | None:
    line = next((one for one in records if one.seq == notice.wants), None)
    if line is None or line.body is None:
        return None
    left = line.body.get("residual") or []
    texts = (("Left to do", "\n".join(f"{one['owner']}: {one['action']}" for one in left)),) if left else ()
    return Message(
        title=f"Handed to {line.body.get('to')}: {notice.step}", about=_about(case), texts=texts,
        standing=str(line.body.get("reason", "")), link=f"{shop.settings.public_url}/claw/cases/{case.id}",
    )  # fmt: skip
