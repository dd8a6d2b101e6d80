"""One step for every case of a batch that has to take it: look, claim the effect, call, write what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.clock import iso
from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime.attempts import (
    Attempt,
    TooLate,
    begun,
    done,
    parked,
    told,
    tried_again,
    unknown,
)
from openclaw_dagster.runtime.batch import GRACE, Batch, released, side_by_side
from openclaw_dagster.runtime.calls import call, verify_action
from openclaw_dagster.runtime.checkpoints import Waits, gate
from openclaw_dagster.runtime.history import open_before, taken_back_perhaps
from openclaw_dagster.runtime.questions import Question, ask, unclear
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.runtime.runbooks import Begins, begin, look
from openclaw_dagster.runtime.scope import (
    NoTime,
    SourceTrouble,
    arguments,
    looked_up,
    operation,
    scope,
    sources_of,
)
from openclaw_dagster.runtime.skips import left_out
from openclaw_dagster.runtime.trouble import failed, failure, mistake, said, short
from openclaw_dagster.spec.expressions import compile_expression
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival

#: What a look at a step comes to: it is settled or rests, begins cases, calls, or asks about an earlier call.
Found = Entry | Waits | Begins | Attempt | Question


def take(batch: Batch, cases: Sequence[Case], name: str) -> None:
    """Take the step for each case; trouble stays with its own case."""
    at_once: dict[str, list[Entry]] = {}
    attempts: list[Attempt] = []
    questions: list[Question] = []
    opened: dict[str, Sequence[Arrival]] = {}
    for case, found in zip(cases, _prepared(batch, cases, name), strict=True):
        match found:
            case Entry() as entry:
                at_once[case.id] = [entry]
            case Waits(entries):
                at_once[case.id] = list(entries)
            case Begins(entry, arrivals):
                at_once[case.id], opened[case.id] = [entry], arrivals
            case Attempt() as attempt:
                attempts.append(attempt)
            case Question() as question:
                questions.append(question)
    batch.write(at_once, opened)
    if opened:
        point("runbook.written")
    _attempt(batch, _let(batch, [*attempts, *ask(batch, questions)]))


def _let(batch: Batch, attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts that nobody has put on hold; the cases of the others rest."""
    rests = {
        one.case.id: rest for one in attempts if (rest := _on_hold(batch, one.case, one.step)) is not None
    }
    batch.write({case_id: [rest] for case_id, rest in rests.items()})
    return [one for one in attempts if one.case.id not in rests]


def _on_hold(batch: Batch, case: Case, step: Step) -> Entry | None:
    """Return the entry by which a case rests whose system, or whose next action, somebody put on hold."""
    hold = batch.shop.held(case.system, step.action)
    if hold is None:
        return None
    why = f"{hold.scope} is on hold since {iso(hold.at)}: {hold.reason} ({hold.by})"
    if hold.scope == case.system:
        return released(why)
    return Entry(Kind.HELD, {"step": step.name, "action": hold.scope, "why": why})


def _prepared(batch: Batch, cases: Sequence[Case], name: str) -> list[Found]:
    """Look at every case; where sources have to be asked, they are asked side by side."""
    pairs = [(case, batch.system(case).step(name)) for case in cases]
    if any(sources_of(batch.system(case), step) or case.facts.skips for case, step in pairs):
        return side_by_side(lambda pair: _prepare(batch, *pair), pairs)
    return [_prepare(batch, *pair) for pair in pairs]


def _prepare(batch: Batch, case: Case, step: Step) -> Found:
    """Look at how the step stands and say what is to be done; nothing is written here."""
    fact = case.facts.steps.get(step.name, StepFact("waiting"))
    try:
        return _look(batch, case, step, fact)
    except NoTime:
        return released("no time was left to ask the sources")
    except SourceTrouble as trouble:
        return _source_away(batch, step, fact, trouble)
    except DatabaseAway:
        raise
    except ClawError as error:
        problem = str(error)
    except Exception as error:
        problem = mistake(case.id, step.name, error)
    if fact.state in ("begun", "unknown"):
        return parked(step, fact.attempt, problem)
    return failed(step.name, problem, attempts=fact.attempt, step=step.name)


def _source_away(batch: Batch, step: Step, fact: StepFact, trouble: SourceTrouble) -> Entry:
    """Wait for a source that may answer later; as often as the step may be tried, since nothing was done yet."""
    asked = fact.asked + 1
    if asked > step.retries.max + 1:
        return failed(step.name, f"{trouble} ({asked - 1} attempts)", attempts=asked - 1, step=step.name)
    due = batch.shop.clock.now() + wait(step.retries, asked, trouble.retry_after)
    body = {"step": step.name, "attempt": 0, "error": short(str(trouble)), "due_at": due, "asked": asked}
    return Entry(Kind.RETRY, body)


def _look(batch: Batch, case: Case, step: Step, fact: StepFact) -> Found:
    if missing := [need for need in step.needs if not _completed(case, need)]:
        return _skipped(step, f"{', '.join(missing)} was not done on this branch")
    if fact.state == "under_way":
        return look(batch, case, step, fact)
    system = batch.system(case)
    known = scope(batch.shop, case, batch.payload(case))
    fresh = fact.state in ("waiting", "held") and fact.attempt == 0
    read: Mapping[str, Any] = {}
    if fresh:
        time = partial(batch.time, case)
        if (out := left_out(batch.shop, system, case, step, time)) is not None:
            return out
        read = looked_up(batch.shop, sources_of(system, step), step.name, case, known, time)
        known = {**known, **read}
        if step.when is not None and not compile_expression(step.when).test(known):
            return _skipped(step, f"{step.when} is false")
    if step.runbook is not None:
        if (rest := _on_hold(batch, case, step)) is not None:
            return rest
        return begin(batch, case, step, known, read)
    # what was sent under a key is sent again under it, whatever the expressions would say now
    args = arguments(step, case, batch.payload(case), known) if fresh else dict(fact.args)
    contract = operation(batch.shop, system, step.action)
    writes = contract.effect != "read"
    doubtful = writes and fact.state in ("begun", "unknown")
    # done once and perhaps taken back since: under its old key the far side would give its old answer
    again = writes and case.redrives > 0 and bool(fact.key) and _taken_back_perhaps(batch, case, step)
    generation = fact.generation + 1 if again else fact.generation
    key = fact.key if fact.key and not again else f"{case.id}:{step.name}:{generation}"
    attempt = Attempt(
        case, step, Call(step.action, contract, args, key, step.timeout), fact.attempt + 1, generation
    )
    if step.checkpoint is not None:
        passed = gate(batch, case, step, attempt.call, read)
        if isinstance(passed, Waits):
            return passed
        attempt = replace(attempt, clearance=passed.digest)
    return unclear(batch, attempt, fact, again=again) if doubtful else attempt


def _skipped(step: Step, why: str) -> Entry:
    return Entry(Kind.SKIPPED, {"step": step.name, "why": why})


def _completed(case: Case, name: str) -> bool:
    return name in case.facts.steps and case.facts.steps[name].state == "completed"


def _taken_back_perhaps(batch: Batch, case: Case, step: Step) -> bool:
    return taken_back_perhaps(batch.shop.ledger.journal(case.id), step.name)


def _attempt(batch: Batch, attempts: Sequence[Attempt]) -> None:
    """Claim the effects, make the calls side by side, write what came of them."""
    # one call's time, however many wait for their turn: when all die with this process, nobody waits for more
    longest = max((one.step.timeout for one in attempts), default=0)
    until = batch.shop.clock.now() + longest + GRACE
    batch.write({one.case.id: [begun(one, until)] for one in attempts})
    point("effect.claimed")
    mine = [one for one in attempts if one.case.id in batch.cases]
    outcomes = side_by_side(lambda one: _call(batch, one), mine)
    point("effect.answered")
    entries: dict[str, list[Entry]] = {}
    emitted: dict[str, list[Arrival]] = {}
    for one, (outcome, end) in zip(mine, outcomes, strict=True):
        entry = _settled(batch, one, outcome, end)
        entries[one.case.id] = [entry]
        if entry.kind is Kind.COMPLETED:
            emitted[one.case.id] = told(batch, one.case, one.step, entry.body["result"], one.generation)
    batch.write(entries, emitted)
    point("effect.finished")


def _call(batch: Batch, one: Attempt) -> tuple[Outcome | TooLate, int]:
    """Make the call; return what came of it, and when (ms) it is over however long the far side takes."""
    held, now = batch.cases[one.case.id], batch.shop.clock.now()
    end = now + one.step.timeout
    if held.due_at is not None and not batch.lets(one.step.timeout, held.due_at):
        return TooLate(), now
    outcome = call(batch, one.case, one.step, one.call)
    point("effect.sent")
    return outcome, end


def _settled(batch: Batch, one: Attempt, outcome: Outcome | TooLate, end: int) -> Entry:
    step, tried = one.step, one.number
    match outcome:
        case Answered(result):
            return done(step, result)
        case Absent():
            return done(step, None)
        case TooLate():
            # not made, so not counted; but what was sent under its key before a redrive stays as it was sent
            before = one.case.facts.steps.get(step.name)
            count = max(tried - 1, 1 if before and before.key and one.case.redrives else 0)
            why = "too little of the lease was left when it was its turn; the call was not made"
            return tried_again(step, count, why, batch.shop.clock.now())
        case Refused(reason):
            return _given_up(batch, one, f"{step.action} refused: {said(step.action, reason)}")
        case Failed(reason, retry_after):
            if tried > step.retries.max:
                return _given_up(batch, one, failure(step.action, reason, tried))
            due = batch.shop.clock.now() + wait(step.retries, tried, retry_after)
            return tried_again(step, tried, failure(step.action, reason, 1), due)
        case Unknown(reason):
            why = said(step.action, reason)
            if verify_action(step, one.call.operation) is None and not one.call.operation.idempotent:
                return parked(step, tried, f"{why}; its adapter has no way to ask")
            due = batch.shop.clock.now() + wait(step.retries, tried)
            return unknown(step, tried, f"{step.action}: {why}", due, until=end)
        case _:
            assert_never(outcome)


def _given_up(batch: Batch, one: Attempt, error: str) -> Entry:
    """Fail the step, or let a person tell when an earlier attempt had no answer and nothing can be asked."""
    step, contract = one.step, one.call.operation
    if one.number > 1 and contract.effect != "read" and verify_action(step, contract) is None:
        records = batch.shop.ledger.journal(one.case.id)
        if open_before(records, step.name):
            return parked(
                step, one.number, f"an earlier attempt got no answer, and the last one says: {error}"
            )
    return failed(step.name, error, attempts=one.number, step=step.name)
