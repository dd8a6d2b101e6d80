"""How a case stands when its scenario is judged, in the words of scenarios; and what happened to it, in lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openclaw_dagster.clock import DAY, HOUR, MINUTE, SECOND
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.scenarios import CASE, EFFECTS, RESIDUAL
from openclaw_dagster.store.case import Case, StepState
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.journal import Record

#: How a step stands, by its state in the ledger.
WORDS: Mapping[StepState, str] = {
    "begun": "retrying", "waiting": "retrying", "held": "on_hold", "unknown": "unknown",
    "completed": "completed", "skipped": "skipped", "failed": "failed", "undoing": "undoing",
    "undone": "undone", "stuck": "stuck", "under_way": "under_way",
}  # fmt: skip
#: What says nothing about what happened: only that a run took the case.
_SILENT = frozenset({Kind.CLAIMED, Kind.STARTED, Kind.WAITS, Kind.BRANCHES})


@dataclass(frozen=True)
class Difference:
    """One thing that did not come out as the scenario says."""

    what: str
    expected: Any
    found: Any


def differences(
    shop: Workspace, system: System, cases: Sequence[str], expect: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """Return what is not as it is expected; steps and decisions are those of the first case."""
    case = shop.ledger.case(cases[0]) if cases else None
    found = []
    for what, expected in expect.items():
        got = _found(shop, system, cases, case, what)
        if isinstance(expected, Mapping) and isinstance(got, Mapping) and what != RESIDUAL:
            got = {name: value for name, value in got.items() if name in expected}
        elif isinstance(expected, str) and isinstance(got, Mapping):
            got = got.get("branch")
        if got != expected:
            found.append(Difference(what, expected, got))
    return tuple(found)


def _found(shop: Workspace, system: System, cases: Sequence[str], case: Case | None, what: str) -> Any:
    if what == EFFECTS:
        return _effects(shop, cases)
    if what == RESIDUAL:
        return _residual(shop, case)
    if what == CASE:
        return case.state if case is not None else "not_opened"
    if case is None:
        return "not_reached"
    if any(decision.name == what for decision in system.decisions):
        made = case.facts.decisions.get(what)
        return dict(made.output) if made is not None else "not_reached"
    return standing(case, what)


def standing(case: Case, step: str) -> str:
    """Return how a step of a case stands."""
    gate, fact = case.facts.gates.get(step), case.facts.steps.get(step)
    if gate is not None and gate.state in ("denied", "expired"):
        return gate.state
    if gate is not None and gate.open and (fact is None or fact.state in ("waiting", "held")):
        return "waiting"
    return WORDS[fact.state] if fact is not None else "not_reached"


def _effects(shop: Workspace, cases: Sequence[str]) -> list[str]:
    """Return the writes of all cases that took place and stand, in the order in which they were begun."""
    begun = [record for record in history(shop, cases) if record.kind is Kind.BEGUN]
    begun.sort(key=lambda record: record.at)  # those of one moment stay as their journals have them
    rows = {
        row["key"]: row["action"]
        for one in {record.case_id for record in begun}
        for row in shop.ledger.effects(one)
        if row["state"] == "done"
    }
    keys = dict.fromkeys((record.body or {}).get("key", "") for record in begun)
    return [rows[key] for key in keys if key in rows and shop.adapters.operation(rows[key]).effect != "read"]


def history(shop: Workspace, cases: Iterable[str]) -> Iterator[Record]:
    """Yield the journals of cases, one after another; what a step began stands where it began it, in order of time."""
    for one in cases:
        case = shop.ledger.case(one)
        begun = shop.ledger.begun_by(case) if case is not None else {}
        for record in shop.ledger.journal(one):
            yield record
            if record.kind is Kind.BRANCHED and record.body is not None:
                inner = [each.id for each in begun.pop(record.body["step"], ())]
                yield from sorted(history(shop, inner), key=lambda record: record.at)


def _residual(shop: Workspace, case: Case | None) -> dict[str, str | None]:
    """Return the steps that the end of a case leaves for people, each with the role that has it now."""
    records = shop.ledger.journal(case.id) if case is not None and case.ended else ()
    ends = [record for record in records if record.kind in (Kind.CLOSED, Kind.HANDED_OFF)]
    left = (ends[-1].body or {}).get(RESIDUAL, ()) if ends else ()
    return {one["step"]: one["owner"] for one in left}


def story(shop: Workspace, cases: Sequence[str], begin: int) -> tuple[str, ...]:
    """Return what happened to the cases, a line for each entry of their journals, timed from the begin."""
    every = list(history(shop, cases))
    names = {one: f"case {number}" for number, one in enumerate(dict.fromkeys(r.case_id for r in every), 1)}
    records = [record for record in every if record.kind not in _SILENT]
    lines = (_line(record.at - begin, record.kind, record.body or {}) for record in records)
    return tuple(_named(line, names) for line in lines)


def _named(line: str, names: Mapping[str, str]) -> str:
    """Return a line with its cases by number: their ids are others each time."""
    for one, name in names.items():
        line = line.replace(one, name)
    return line


def _line(at: int, kind: str, body: Mapping[str, Any]) -> str:
    about = body.get("step") or body.get("decision") or body.get("stage") or body.get("trigger") or ""
    who = body.get("person") or body.get("by") or ""
    why = body.get("why") or body.get("error") or body.get("reason") or ""
    text = "  ".join(str(part) for part in (kind, about, who, why) if part)
    return f"{_span(at):>14}  {text}"


def _span(milliseconds: int) -> str:
    """Return a time from the begin in full, such as `1d 2h 3m 4.5s`."""
    days, rest = divmod(milliseconds, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds = f"{rest / SECOND:.3f}".rstrip("0").rstrip(".")
    parts = ((days, "d"), (hours, "h"), (minutes, "m"))
    said = [f"{number}{unit}" for number, unit in parts if number]
    return " ".join([*said, f"{seconds}s"] if rest or not said else said)
