"""Compensation: when a case fails for good, what it did before is taken back, last first."""

from __future__ import annotations

from typing import assert_never

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime.batch import GRACE, MOST_DEATHS, Batch
from openclaw_dagster.runtime.calls import call, fitting
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.runtime.scope import operation
from openclaw_dagster.runtime.trouble import failure, said, short
from openclaw_dagster.spec.contracts import Operation
from openclaw_dagster.spec.model import Step, System
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Entry, Kind


def undo(batch: Batch, case: Case) -> Case | None:
    """Take back every step that says how; return the case when all is tried, None when it left the batch."""
    while (step := next_undo(batch.system(case), case)) is not None:
        _undo(batch, case, step)
        if case.id not in batch.cases:
            return None
        case = batch.cases[case.id]
    return case


def next_undo(system: System, case: Case) -> Step | None:
    """Return the last step that was done and has to be taken back, if there is one."""
    names = [stage.name for stage in system.stages if stage.kind == "step"]
    for name in reversed(names):
        step = system.step(name)
        fact = case.facts.steps.get(name)
        if step.undo and fact and fact.state in ("completed", "undoing"):
            return step
    return None


def _undo(batch: Batch, case: Case, step: Step) -> None:
    """Take one step back; afterwards it is undone, given up, or the case rests or is lost."""
    assert step.undo is not None
    fact = case.facts.steps[step.name]
    try:
        contract = operation(batch.shop, batch.system(case), step.undo)
    except DatabaseAway:
        raise
    except ClawError as error:
        batch.write({case.id: [_given_up(step, str(error))]})
        return
    if (why := _hopeless(case, step, fact, contract)) is not None:
        batch.write({case.id: [_given_up(step, why)]})
        return
    attempt = fact.undo_attempt + 1
    body = {"step": step.name, "action": step.undo, "attempt": attempt}
    until = batch.shop.clock.now() + step.timeout + GRACE
    batch.write({case.id: [Entry(Kind.UNDO_BEGUN, {**body, "until": until})]})
    point("undo.begun")
    if case.id not in batch.cases:
        return
    if not batch.lets(step.timeout, until):
        entry = _later(
            batch, step, attempt, f"{step.undo}: too little of the lease was left; the call was not made"
        )
    else:
        outcome = call(batch, case, step, _taking_back(step, fact, contract))
        point("undo.sent")
        entry = _settled(batch, step, attempt, contract, outcome)
    batch.write({case.id: [entry]})
    point("undo.finished")


def _hopeless(case: Case, step: Step, fact: StepFact, contract: Operation) -> str | None:
    """Return why nothing more is tried, or None when it is."""
    unanswered = fact.state == "undoing" and fact.error == ""
    if unanswered and not contract.idempotent:
        # a second call would be a second effect, because the far side would not notice that it is the same
        return f"whether {step.undo} took place is not known: the worker died during the call"
    if fact.state == "undoing" and (fact.undo_attempt > step.retries.max or case.facts.deaths >= MOST_DEATHS):
        return f"{step.undo} had no answer in {fact.undo_attempt} attempts"
    return None


def _taking_back(step: Step, fact: StepFact, contract: Operation) -> Call:
    assert step.undo is not None
    result = fact.result if isinstance(fact.result, dict) else {}
    args = {**fact.args, **result, "idempotency_key": fact.key}
    return Call(step.undo, contract, fitting(args, contract), f"{fact.key}:undo", step.timeout)


def _settled(batch: Batch, step: Step, attempt: int, contract: Operation, outcome: Outcome) -> Entry:
    action = step.undo or ""
    match outcome:
        case Answered() | Absent():
            return Entry(Kind.UNDONE, {"step": step.name})
        case Refused(reason):
            return _given_up(step, f"{action} refused: {said(action, reason)}")
        case Unknown(reason) if not contract.idempotent:
            return _given_up(step, f"whether {action} took place is not known: {said(action, reason)}")
        case Failed(reason) | Unknown(reason):
            if attempt > step.retries.max:
                return _given_up(step, failure(action, reason, attempt))
            after = outcome.retry_after if isinstance(outcome, Failed) else None
            return _later(batch, step, attempt, failure(action, reason, 1), after)
        case _:
            assert_never(outcome)


def _later(batch: Batch, step: Step, attempt: int, reason: str, retry_after: int | None = None) -> Entry:
    due = batch.shop.clock.now() + wait(step.retries, attempt, retry_after)
    return Entry(
        Kind.UNDO_RETRY, {"step": step.name, "attempt": attempt, "error": short(reason), "due_at": due}
    )


def _given_up(step: Step, error: str) -> Entry:
    return Entry(Kind.UNDO_FAILED, {"step": step.name, "error": short(error)})
