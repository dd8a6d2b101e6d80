"""What the expressions of a case can see: its payload, its decisions, its steps, the constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.trouble import said
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.contracts import Operation
from openclaw_dagster.spec.expressions import compile_expression, compile_template
from openclaw_dagster.spec.model import Decision, Source, Step, System
from openclaw_dagster.store.case import Case

#: The longest (ms) a source may take to answer.
SOURCE_TIMEOUT = 10_000

#: Gives the time (ms) that a call may take, at most what it is given.
Time = Callable[[int], int]


class MissingInput(ClawError):
    """The input {name!r} of {decision} cannot be had: {why}."""

    code = "CLAW421"


class SourceTrouble(Exception):
    """A source did not answer now, but may later, not before `retry_after` ms."""

    def __init__(self, name: str, reason: str, retry_after: int | None) -> None:
        super().__init__(f"the source {name} did not answer: {reason}")
        self.retry_after = retry_after


class NoTime(Exception):
    """So little is left of the lease that no source is asked any more."""


def scope(shop: Workspace, case: Case, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return every name with its value, as expressions of steps see them."""
    names: dict[str, Any] = dict(shop.environment.constants)
    names |= {name: fact.result for name, fact in case.facts.steps.items() if fact.state == "completed"}
    names |= {name: dict(fact.output) for name, fact in case.facts.decisions.items()}
    names |= payload
    names["payload"] = dict(payload)
    names["case"] = {"id": case.id, "system": case.system, "trigger": case.trigger, "key": case.key}
    return names


def arguments(step: Step, case: Case, payload: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step's action is called with: its `with`, or the payload and what was decided."""
    if step.arguments is None:
        return {**payload, **{name: dict(made.output) for name, made in case.facts.decisions.items()}}
    rendered = compile_template(step.arguments).render(known)
    assert isinstance(rendered, dict)
    return rendered


def operation(shop: Workspace, system: System, action: str) -> Operation:
    """Return an action's contract as the case's own version of the system has it; NoSuchAction."""
    return system.operations.get(action) or shop.adapters.operation(action)


def reads(system: System, decision: Decision) -> bool:
    """Tell whether a decision may have to ask a source."""
    return any(source.name in decision.inputs for source in system.data.sources)


def sources_of(system: System, step: Step) -> tuple[Source, ...]:
    """Return the sources that a step's condition and arguments look at."""
    names = {name for text in (step.when, step.foreach) if text for name in compile_expression(text).names}
    if step.arguments is not None:
        names |= compile_template(step.arguments).names
    return tuple(source for source in system.data.sources if source.name in names)


def looked_up(
    shop: Workspace, sources: Iterable[Source], stage: str, case: Case, known: Mapping[str, Any], time: Time
) -> dict[str, Any]:
    """Return what the sources say now that nothing else of the case gives.

    Raises MissingInput for one that refuses, SourceTrouble for one that may answer later, NoTime.
    """
    asked = [source for source in sources if not _given(case, source.name, known)]
    system = shop.version(case.digest)
    return {source.name: _read(shop, system, stage, source, case, known, time) for source in asked}


def _given(case: Case, name: str, known: Mapping[str, Any]) -> bool:
    """Tell whether a case has a value of the name by itself: constants of the environment come after sources."""
    return name in case.facts.decisions or _done(case, name) or name in known.get("payload", {})


def inputs(
    shop: Workspace, system: System, decision: Decision, case: Case, payload: Mapping[str, Any], time: Time
) -> dict[str, Any]:
    """Return a decision's inputs: payload, decisions, steps, sources, constants, in this order.

    Raises MissingInput for one that cannot be had, SourceTrouble for one that may be had later, NoTime.
    """
    known = scope(shop, case, payload)
    sources = {source.name: source for source in system.data.sources}
    found: dict[str, Any] = {}
    for name in decision.inputs:
        before = name in payload or name in case.facts.decisions or _done(case, name)
        if name in sources and not before:
            found[name] = _read(shop, system, decision.name, sources[name], case, known, time)
        elif name in known:
            found[name] = known[name]
        else:
            why = (
                f"the payload has {_list(payload)}, the constants of the environment "
                f"{_list(shop.environment.constants)}, and no decision, finished step or source has the name"
            )
            raise MissingInput(name=name, decision=decision.name, why=why)
    return found


def _done(case: Case, name: str) -> bool:
    return name in case.facts.steps and case.facts.steps[name].state == "completed"


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)[:12]) or "none"


def _read(
    shop: Workspace,
    system: System,
    stage: str,
    source: Source,
    case: Case,
    known: Mapping[str, Any],
    time: Time,
) -> Any:
    timeout = time(SOURCE_TIMEOUT)
    if timeout == 0:
        raise NoTime
    args = compile_template(dict(source.arguments)).render(known)
    asked = operation(shop, system, source.read)
    given = args if isinstance(args, dict) else {}
    outcome: Outcome = shop.adapters.call(
        Call(source.read, asked, given, key=f"{case.id}:{source.name}", timeout=timeout)
    )
    match outcome:
        case Answered(result):
            return result
        case Absent():
            return None
        case Failed(reason, retry_after):
            raise SourceTrouble(source.name, said(source.read, reason), retry_after)
        case Unknown(reason):
            raise SourceTrouble(source.name, said(source.read, reason), None)
        case Refused(reason):
            why = f"its source {source.read} refused: {said(source.read, reason)}"
            raise MissingInput(name=source.name, decision=stage, why=why)
        case _:
            assert_never(outcome)
