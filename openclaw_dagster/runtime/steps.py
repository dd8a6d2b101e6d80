"""One step for every case of a batch that has to take it: look first, claim the effect, call, write what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from openclaw_dagster import telemetry
from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.batch import GRACE, Batch, side_by_side
from openclaw_dagster.runtime.decide import failed
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.runtime.scope import scope
from openclaw_dagster.spec.contracts import Operation
from openclaw_dagster.spec.expressions import compile_expression, compile_template
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival

#: How often somebody is asked whether a call took place before a person has to say it.
MOST_QUESTIONS = 6


@dataclass(frozen=True)
class Attempt:
    """A call that is about to be made, and what it is for."""

    case: Case
    step: Step
    call: Call
    number: int


@dataclass(frozen=True)
class Question:
    """A step whose last call has an unknown outcome, and the read that may tell."""

    case: Case
    step: Step
    ask: Call
    then: Attempt


def take(batch: Batch, cases: Sequence[Case], name: str) -> None:
    """Take the step for each case; trouble stays with its own case."""
    at_once: dict[str, list[Entry]] = {}
    attempts: list[Attempt] = []
    questions: list[Question] = []
    for case in cases:
        match _prepare(batch, case, batch.system(case).step(name)):
            case Entry() as entry:
                at_once[case.id] = [entry]
            case Attempt() as attempt:
                attempts.append(attempt)
            case Question() as question:
                questions.append(question)
    batch.write(at_once)
    attempts += _ask(batch, questions)
    _attempt(batch, attempts)


def _prepare(batch: Batch, case: Case, step: Step) -> Entry | Attempt | Question:
    """Look at how the step stands and say what is to be done; nothing is written or called here."""
    fact = case.facts.steps.get(step.name, StepFact("waiting"))
    known = scope(batch.shop, case, batch.payload(case))
    try:
        if fact.attempt == 0 and step.when is not None and not compile_expression(step.when).test(known):
            return Entry(Kind.SKIPPED, {"step": step.name, "why": f"{step.when} is false"})
        if missing := [need for need in step.needs if not _completed(case, need)]:
            return Entry(Kind.SKIPPED, {"step": step.name, "why": f"{', '.join(missing)} was not done on this branch"})
        # what was sent under a key is sent again under it, whatever the expressions would say now
        args = fact.args if fact.attempt else _arguments(step, case, batch.payload(case), known)
        operation = batch.shop.adapters.operation(step.action)
    except ClawError as error:
        return failed(step.name, str(error), attempts=fact.attempt, step=step.name)
    key = fact.key or f"{case.id}:{step.name}:{fact.generation}"
    call = Call(step.action, operation, args, key, step.timeout, telemetry.traceparent())
    attempt = Attempt(case, step, call, fact.attempt + 1)
    if operation.effect == "read" or fact.state not in ("begun", "unknown"):
        return attempt
    return _unclear(batch, fact, attempt)


def _completed(case: Case, name: str) -> bool:
    return name in case.facts.steps and case.facts.steps[name].state == "completed"


def _arguments(step: Step, case: Case, payload: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    if step.arguments is None:
        return {**payload, **{name: dict(made.output) for name, made in case.facts.decisions.items()}}
    rendered = compile_template(step.arguments).render(known)
    assert isinstance(rendered, dict)
    return rendered


def _unclear(batch: Batch, fact: StepFact, attempt: Attempt) -> Entry | Attempt | Question:
    """The last call of this step was sent, or may have been, and nobody wrote down what came of it."""
    operation, step = attempt.call.operation, attempt.step
    verify = verify_action(step, operation)
    if verify is not None:
        args = {**attempt.call.args, "idempotency_key": attempt.call.key}
        asked = batch.shop.adapters.operation(verify)
        return Question(attempt.case, step, Call(verify, asked, _fitting(args, asked), attempt.call.key, step.timeout), attempt)
    if operation.idempotent:
        return attempt if fact.attempt <= step.retries.max else _park(step, fact.attempt, fact.error or "no answer came")
    return _park(step, fact.attempt, "it was sent, no answer came, and the adapter has no way to ask whether it took place")


def verify_action(step: Step, operation: Operation) -> str | None:
    """Return the action that tells whether a step's write took place, if there is one."""
    if step.unknown_outcome is not None:
        return step.unknown_outcome.verify
    return f"{step.action.split('.')[0]}.{operation.verify}" if operation.verify else None


def _fitting(args: Mapping[str, Any], operation: Operation) -> dict[str, Any]:
    """Return the arguments an operation takes, out of more; all of them when its contract does not say."""
    known = (operation.input or {}).get("properties")
    return {name: value for name, value in args.items() if known is None or name in known}


def _ask(batch: Batch, questions: Sequence[Question]) -> list[Attempt]:
    """Ask whether calls of unknown outcome took place; return those that certainly did not and may be made again."""
    answers = side_by_side(lambda question: batch.shop.adapters.call(question.ask), questions)
    entries: dict[str, list[Entry]] = {}
    emitted: dict[str, list[Arrival]] = {}
    again: list[Attempt] = []
    for question, answer in zip(questions, answers, strict=True):
        attempt, step = question.then, question.step
        tried = attempt.number - 1
        match answer:
            case Answered(result):
                entries[question.case.id] = [_done(step, result, via=question.ask.action)]
                emitted[question.case.id] = _told(batch, question.case, step, result)
            case Absent():
                if tried > step.retries.max:
                    problem = f"no answer came in {tried} attempts, and {question.ask.action} says that none took place"
                    entries[question.case.id] = [failed(step.name, problem, attempts=tried, step=step.name)]
                else:
                    again.append(attempt)
            case Failed(reason) | Refused(reason) | Unknown(reason):
                entries[question.case.id] = [_ask_later(batch, question, reason, getattr(answer, "retry_after", None))]
            case _:
                assert_never(answer)
    batch.write(entries, emitted)
    return again


def _ask_later(batch: Batch, question: Question, reason: str, retry_after: int | None) -> Entry:
    asked = question.case.facts.steps[question.step.name].asked + 1
    tried = question.then.number - 1
    if asked >= MOST_QUESTIONS:
        return _park(question.step, tried, f"{question.ask.action} did not tell in {asked} tries whether it took place: {reason}")
    due = batch.shop.clock.now() + wait(question.step.retries, asked, retry_after)
    return Entry(Kind.UNKNOWN, {"step": question.step.name, "attempt": tried, "asked": asked, "error": reason, "due_at": due})


def _park(step: Step, attempt: int, why: str) -> Entry:
    error = f"whether {step.action} took place is not known: {why}"
    return Entry(Kind.PARKED, {"step": step.name, "attempt": attempt, "error": error})


def _attempt(batch: Batch, attempts: Sequence[Attempt]) -> None:
    """Claim the effects, make the calls side by side, write what came of them."""
    now = batch.shop.clock.now()
    # with more calls than go side by side, the last one begins only after those before it had their time
    rounds = -(-len(attempts) // 8)
    begun = {one.case.id: [_begun(one, now + rounds * one.step.timeout + GRACE)] for one in attempts}
    batch.write(begun)
    point("effect.claimed")
    mine = [one for one in attempts if one.case.id in batch.cases]
    outcomes = side_by_side(lambda one: _call(batch, one), mine)
    point("effect.answered")
    entries: dict[str, list[Entry]] = {}
    emitted: dict[str, list[Arrival]] = {}
    for one, outcome in zip(mine, outcomes, strict=True):
        entries[one.case.id] = [_settled(batch, one, outcome)]
        if isinstance(outcome, Answered | Absent):
            emitted[one.case.id] = _told(batch, one.case, one.step, outcome.result if isinstance(outcome, Answered) else None)
    batch.write(entries, emitted)
    point("effect.finished")


def _begun(one: Attempt, until: int) -> Entry:
    generation = one.case.facts.steps[one.step.name].generation if one.step.name in one.case.facts.steps else 1
    return Entry(Kind.BEGUN, {
        "step": one.step.name, "action": one.step.action, "attempt": one.number, "generation": generation,
        "key": one.call.key, "args": dict(one.call.args), "until": until,
    })  # fmt: skip


def _call(batch: Batch, one: Attempt) -> Outcome:
    held = batch.cases[one.case.id]
    if held.due_at is not None and batch.shop.clock.now() + one.step.timeout > held.due_at:
        # this process slept past its lease between the claim and the call: somebody else may be at it by now
        return Failed("the lease ran out before the call was made", None)
    names = {"claw.system": one.case.system, "claw.case": one.case.id, "claw.node": one.step.name, "claw.attempt": one.number}
    with telemetry.span("claw.step", names, parent=batch.parent(one.case)):
        try:
            return batch.shop.adapters.call(one.call)
        except ClawError as error:  # nothing stands behind the action in this environment
            return Refused(str(error))


def _settled(batch: Batch, one: Attempt, outcome: Outcome) -> Entry:
    step = one.step
    match outcome:
        case Answered(result):
            return _done(step, result)
        case Absent():
            return _done(step, None)
        case Refused(reason):
            return failed(step.name, f"{step.action} refused: {reason}", attempts=one.number, step=step.name)
        case Failed(reason, retry_after):
            if one.number > step.retries.max:
                return failed(step.name, f"{step.action} failed: {reason}", attempts=one.number, step=step.name)
            due = batch.shop.clock.now() + wait(step.retries, one.number, retry_after)
            return Entry(Kind.RETRY, {"step": step.name, "attempt": one.number, "error": reason, "due_at": due})
        case Unknown(reason):
            due = batch.shop.clock.now() + wait(step.retries, one.number)
            return Entry(Kind.UNKNOWN, {"step": step.name, "attempt": one.number, "asked": 0, "error": reason, "due_at": due})
        case _:
            assert_never(outcome)


def _done(step: Step, result: Any, via: str | None = None) -> Entry:
    body: dict[str, Any] = {"step": step.name, "result": result}
    if via:
        body["found_by"] = via
    if step.emits:
        body["emits"] = step.emits
    return Entry(Kind.COMPLETED, body)


def _told(batch: Batch, case: Case, step: Step, result: Any) -> list[Arrival]:
    if not step.emits:
        return []
    generation = case.facts.steps[step.name].generation if step.name in case.facts.steps else 1
    return [intake.emitted(batch.shop, case, step.emits, batch.payload(case), result, generation)]
