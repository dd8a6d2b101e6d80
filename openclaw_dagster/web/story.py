"""What a case's page tells: the stops on its way, every attempt, its completion record, a line of its journal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openclaw_dagster.clock import iso
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.journal import Record

#: How one attempt of a step ended, by the journal line that says it.
ENDINGS = {
    Kind.COMPLETED: "completed", Kind.RETRY: "failed", Kind.UNKNOWN: "unknown", Kind.PARKED: "unknown",
    Kind.FAILED: "failed", Kind.ANSWERED: "answered",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One stop on a case's way, as the page draws it."""

    kind: str
    name: str
    state: str
    note: str = ""


@dataclass(frozen=True)
class Attempt:
    """One call of a step, put together from the journal."""

    number: int
    at: int
    took: int | None  # ms; None while it is under way, or when nobody wrote down how it ended
    state: str
    note: str


def record_of(journal: Sequence[Record]) -> Mapping[str, Any] | None:
    """Return the completion record of a case that people had a part in, or that left something to do."""
    last = next((one for one in reversed(journal) if one.kind in (Kind.CLOSED, Kind.HANDED_OFF)), None)
    body = last.body if last else None
    return body if body and ("clearances" in body or body.get("residual") or body.get("touches")) else None


def way(system: System | None, case: Case) -> list[Node]:
    """Return the stops of a case in order, from trigger to end; what it has not reached is `ahead`."""
    stages = [(stage.kind, stage.name) for stage in system.stages] if system else _reached(case)
    nodes = [Node("trigger", case.trigger, "completed", "received")]
    for kind, name in stages:
        made, fact = case.facts.decisions.get(name), case.facts.steps.get(name)
        if kind == "decision" and made:
            nodes.append(Node(kind, name, "completed", str(made.output.get("branch", "decided"))))
        elif kind == "step" and fact:
            tries = f" in {fact.attempt} attempts" if fact.attempt > 1 else _ended(fact)
            nodes.append(Node(kind, name, fact.state, words(fact.state) + tries))
        elif (gate := case.facts.gates.get(name)) is not None and gate.open:
            nodes.append(Node("checkpoint", name, "waiting", f"waits for {' or '.join(gate.roles)}"))
        else:
            failed = name == case.facts.failing
            nodes.append(
                Node(kind, name, "failed" if failed else "ahead", "failed" if failed else "not reached")
            )
    last = case.state if case.closed_at else "ahead"
    nodes.append(Node("end", "close", last, words(case.state)))
    return nodes


def in_order(system: System | None, case: Case) -> dict[str, StepFact]:
    """Return the steps of a case in the order in which they run."""
    names = [stage.name for stage in system.stages] if system else []
    facts = case.facts.steps
    return {name: facts[name] for name in (*names, *facts) if name in facts}


def _ended(fact: StepFact) -> str:
    """Return how many of the cases that a step began have ended."""
    count = len(fact.branches)
    return f", {sum(one.settled for one in fact.branches)} of {count} ended" if count > 1 else ""


def _reached(case: Case) -> list[tuple[str, str]]:
    decisions = [("decision", name) for name in case.facts.decisions]
    return decisions + [("step", name) for name in case.facts.steps if name not in case.facts.decisions]


def attempts(journal: Sequence[Record]) -> Mapping[str, list[Attempt]]:
    """Return every attempt of every step, in order, as far as the journal has their texts."""
    found: dict[str, list[Attempt]] = {}
    for line in journal:
        body = line.body
        if body is None:
            continue
        tried = found.setdefault(str(body.get("step") or body.get("stage") or ""), [])
        if line.kind is Kind.BEGUN:
            tried.append(Attempt(int(body["attempt"]), line.at, None, "begun", ""))
        elif line.kind in ENDINGS and tried and tried[-1].took is None:
            note = _note(line.kind, body)
            tried[-1] = Attempt(
                tried[-1].number, tried[-1].at, line.at - tried[-1].at, ENDINGS[line.kind], note
            )
    return {step: tried for step, tried in found.items() if tried}


def _note(kind: Kind, body: Mapping[str, Any]) -> str:
    if kind is Kind.ANSWERED:
        return f"{body['by']}: it {'took' if body['took_place'] else 'did not take'} place"
    if kind is Kind.COMPLETED and body.get("found_by"):
        return f"no answer came; {body['found_by']} says it took place"
    again = f"; again at {clock(body['due_at'])}" if body.get("due_at") else ""
    return f"{body['error']}{again}" if body.get("error") else ""


def moment(milliseconds: int) -> str:
    """Return a time as people read it, in UTC."""
    return iso(milliseconds)[:19].replace("T", " ") + " UTC"


def clock(milliseconds: int) -> str:
    """Return the time of day to the millisecond, in UTC."""
    return iso(milliseconds)[11:23]


def words(name: str) -> str:
    """Return a state as people say it."""
    return name.replace("_", " ")


def pretty(value: Any) -> str:
    """Return JSON as people read it, cut at a length no page suffers from."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=dict)
    return text if len(text) <= 20_000 else text[:20_000] + "\n… cut"


def gist(record: Record) -> str:
    """Return the few words of a journal line that matter most."""
    body = record.body or {}
    names = dict.fromkeys(
        str(body[name]) for name in ("decision", "step", "stage", "queue") if body.get(name)
    )
    parts = list(names)
    if record.kind is Kind.OPENED:
        parts.append("by its event")
    if body.get("person"):
        parts.append(f"{body['person']}: {body.get('verdict', '')}")
    if body.get("roles"):
        parts.append(f"asked of {' or '.join(body['roles'])}")
    if body.get("by"):
        parts.append(f"by {body['by']}")
    if body.get("run"):
        parts.append(f"in run {str(body['run'])[:8]}")
    if "attempt" in body:
        parts.append(f"attempt {body['attempt']}")
    parts += [str(body[name]) for name in ("reason", "error", "why") if body.get(name)]
    if body.get("emits"):
        parts.append(f"emits {body['emits']}")
    return " · ".join(parts)[:200]
