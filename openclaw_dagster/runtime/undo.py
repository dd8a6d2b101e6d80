"""Compensation: when a case fails for good, what it did before is taken back, last first."""

from __future__ import annotations

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Refused, Unknown
from openclaw_dagster.runtime.batch import GRACE, Batch
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.spec.model import Step, System
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind


def undo(batch: Batch, case: Case) -> Case | None:
    """Take back every step that says how; return the case when all is tried, None when it rests or is lost."""
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
    fact = case.facts.steps[step.name]
    assert step.undo is not None
    operation = batch.shop.adapters.operation(step.undo)
    attempt = fact.undo_attempt + 1
    if fact.state == "undoing" and fact.fence != case.fence and not operation.idempotent and fact.error == "":
        # a worker died between calling and writing, and the far side would not notice a second call
        batch.write({case.id: [_given_up(step, "whether it was taken back is not known: the worker died during the call")]})
        return
    until = batch.shop.clock.now() + step.timeout + GRACE
    batch.write({case.id: [Entry(Kind.UNDO_BEGUN, {"step": step.name, "action": step.undo, "attempt": attempt, "until": until})]})
    if case.id not in batch.cases:
        return
    result = fact.result if isinstance(fact.result, dict) else {}
    known = (operation.input or {}).get("properties")
    args = {**fact.args, **result, "idempotency_key": fact.key}
    fitting = {name: value for name, value in args.items() if known is None or name in known}
    outcome = batch.shop.adapters.call(Call(step.undo, operation, fitting, f"{fact.key}:undo", step.timeout))
    match outcome:
        case Answered() | Absent():
            entry = Entry(Kind.UNDONE, {"step": step.name})
        case Refused(reason):
            entry = _given_up(step, f"{step.undo} refused: {reason}")
        case Unknown(reason) if not operation.idempotent:
            entry = _given_up(step, f"whether {step.undo} took place is not known: {reason}")
        case Failed(reason) | Unknown(reason):
            entry = _given_up(step, f"{step.undo} failed: {reason}") if attempt > step.retries.max else _later(batch, step, attempt, reason)
    batch.write({case.id: [entry]})


def _later(batch: Batch, step: Step, attempt: int, reason: str) -> Entry:
    due = batch.shop.clock.now() + wait(step.retries, attempt)
    return Entry(Kind.UNDO_RETRY, {"step": step.name, "attempt": attempt, "error": reason, "due_at": due})


def _given_up(step: Step, error: str) -> Entry:
    return Entry(Kind.UNDO_FAILED, {"step": step.name, "error": error})
