"""What the expressions of a case can see: its payload, its decisions, its steps, the constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.expressions import compile_template
from openclaw_dagster.spec.model import Decision, Source, System
from openclaw_dagster.store.case import Case


class MissingInput(Exception):
    """A decision's input cannot be had; the text names it and says where it was looked for."""


class SourceTrouble(Exception):
    """A source did not answer now, but may later; `outcome` is what it said."""

    def __init__(self, name: str, outcome: Failed) -> None:
        super().__init__(f"the source {name} did not answer: {outcome.reason}")
        self.outcome = outcome


def scope(shop: Workspace, case: Case, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return every name with its value, as expressions of steps see them."""
    names: dict[str, Any] = dict(shop.environment.constants)
    names |= {name: fact.result for name, fact in case.facts.steps.items() if fact.state == "completed"}
    names |= {name: dict(fact.output) for name, fact in case.facts.decisions.items()}
    names |= payload
    names["payload"] = dict(payload)
    names["case"] = {"id": case.id, "system": case.system, "trigger": case.trigger, "key": case.key}
    return names


def inputs(shop: Workspace, system: System, decision: Decision, case: Case, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision's inputs: payload, decisions, steps, sources, constants, in this order."""
    known = scope(shop, case, payload)
    sources = {source.name: source for source in system.data.sources}
    found: dict[str, Any] = {}
    for name in decision.inputs:
        before = name in payload or name in case.facts.decisions or _done(case, name)
        if name in sources and not before:
            found[name] = _read(shop, sources[name], case, known)
        elif name in known:
            found[name] = known[name]
        else:
            raise MissingInput(
                f"the input {name!r} of {decision.name} cannot be had: the payload has {_list(payload)}, "
                f"the constants of the environment {_list(shop.environment.constants)}, and no decision, step or source has the name"
            )
    return found


def _done(case: Case, name: str) -> bool:
    return name in case.facts.steps and case.facts.steps[name].state == "completed"


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)[:12]) or "none"


def _read(shop: Workspace, source: Source, case: Case, known: Mapping[str, Any]) -> Any:
    args = compile_template(dict(source.arguments)).render(known)
    operation = shop.adapters.operation(source.read)
    outcome: Outcome = shop.adapters.call(
        Call(source.read, operation, args if isinstance(args, dict) else {}, key=f"{case.id}:{source.name}", timeout=10_000, traceparent=None)
    )
    match outcome:
        case Answered(result):
            return result
        case Absent():
            return None
        case Failed():
            raise SourceTrouble(source.name, outcome)
        case Refused(reason) | Unknown(reason):
            raise MissingInput(f"the source {source.name} refused: {reason}")
