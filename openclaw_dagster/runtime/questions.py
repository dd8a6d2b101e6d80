"""What becomes of a call whose answer nobody wrote down: somebody is asked, and time is left to the far side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.runtime.attempts import Attempt, TooLate, done, parked, told, unknown
from openclaw_dagster.runtime.batch import Batch, released, side_by_side
from openclaw_dagster.runtime.calls import call, fitting, verify_action
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.runtime.scope import operation
from openclaw_dagster.runtime.trouble import failed, said
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.entries import Entry
from openclaw_dagster.store.events import Arrival

#: How often somebody is asked whether a call took place before a person has to say it.
MOST_QUESTIONS = 6
#: Shortest time (ms) between two questions about a call that may still be on its way.
PAUSE = 1_000


@dataclass(frozen=True)
class Question:
    """A step whose last call has an unknown outcome, and the read that may tell."""

    case: Case
    step: Step
    ask: Call
    then: Attempt


def over(step: Step, fact: StepFact) -> int:
    """Return by when (ms) the last call is over, however long the far side takes.

    A worker that is dead sends nothing more: what it had sent gets the step's timeout from its end on.
    """
    return min(fact.until, fact.lost + step.timeout) if fact.lost else fact.until


def unclear(batch: Batch, attempt: Attempt, fact: StepFact, *, again: bool) -> Entry | Attempt | Question:
    """Say what is done about a last call that was sent, or may have been; `again` when it has a new key now."""
    step, contract = attempt.step, attempt.call.operation
    why = said(step.action, fact.error) or "its worker died before it wrote down what the answer was"
    verify = verify_action(step, contract)
    if verify is not None:
        args = {**attempt.call.args, "idempotency_key": fact.key}
        asked = operation(batch.shop, batch.system(attempt.case), verify)
        return Question(
            attempt.case, step, Call(verify, asked, fitting(args, asked), fact.key, step.timeout), attempt
        )
    if fact.lost and batch.shop.clock.now() < (end := over(step, fact)):
        return unknown(step, fact.attempt, f"{step.action}: {why}; it may still be on its way", end)
    if contract.idempotent and not again and fact.attempt <= step.retries.max:
        return attempt
    return parked(step, fact.attempt, why)


def ask(batch: Batch, questions: Sequence[Question]) -> list[Attempt]:
    """Ask whether calls of unknown outcome took place; return those that did not and may be made again."""
    answers = side_by_side(lambda question: _answer(batch, question), questions)
    entries: dict[str, list[Entry]] = {}
    emitted: dict[str, list[Arrival]] = {}
    again: list[Attempt] = []
    for question, answer in zip(questions, answers, strict=True):
        attempt, step, fact = question.then, question.step, _fact(question)
        match answer:
            case TooLate():
                entries[question.case.id] = [released("no time was left to ask what became of a call")]
            case Answered(result):
                entries[question.case.id] = [done(step, result, via=question.ask.action)]
                emitted[question.case.id] = told(batch, question.case, step, result, fact.generation)
            case Absent() if (due := _too_early(batch, question)) is not None:
                error = f"{step.action} may still be on its way: {question.ask.action} does not find it yet"
                entries[question.case.id] = [unknown(step, fact.attempt, error, due, asked=fact.asked)]
            case Absent() if attempt.number > step.retries.max + 1:
                tried = attempt.number - 1
                none = f"{question.ask.action} says that none took place"
                problem = f"{step.action}: no answer came in {tried} attempts, and {none}"
                entries[question.case.id] = [failed(step.name, problem, attempts=tried, step=step.name)]
            case Absent():
                again.append(attempt)
            case Failed(reason) | Refused(reason) | Unknown(reason):
                entries[question.case.id] = [
                    _ask_later(batch, question, reason, getattr(answer, "retry_after", None))
                ]
            case _:
                assert_never(answer)
    batch.write(entries, emitted)
    return again


def _fact(question: Question) -> StepFact:
    return question.case.facts.steps[question.step.name]


def _answer(batch: Batch, question: Question) -> Outcome | TooLate:
    time = batch.time(question.case, question.ask.timeout)
    if time == 0:
        return TooLate()
    what = question.ask
    return call(
        batch, question.case, question.step, Call(what.action, what.operation, what.args, what.key, time)
    )


def _too_early(batch: Batch, question: Question) -> int | None:
    """Return when (ms) to ask again because the far side may not have got to the call yet; None when it has.

    The wait doubles: from the worker's death on, or from when the call was made.
    """
    step, fact, now = question.step, _fact(question), batch.shop.clock.now()
    end = over(step, fact)
    # what may be sent again under its key does no harm, unless a dead worker's may just be arriving
    if now >= end or (question.then.call.operation.idempotent and not fact.lost):
        return None
    return min(end, now + max(PAUSE, now - (fact.lost or fact.until - step.timeout)))


def _ask_later(batch: Batch, question: Question, reason: str, retry_after: int | None) -> Entry:
    asked = _fact(question).asked + 1
    tried = question.then.number - 1
    answer = f"{question.ask.action} does not tell whether it took place: {said(question.ask.action, reason)}"
    if asked >= MOST_QUESTIONS:
        return parked(question.step, tried, f"{answer} (asked {asked} times)")
    due = batch.shop.clock.now() + wait(question.step.retries, asked, retry_after)
    return unknown(question.step, tried, answer, due, asked=asked)
