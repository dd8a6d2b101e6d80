"""What can be written into a journal, and what each entry makes of a case: the projection, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, assert_never

from openclaw_dagster.store import branches, gates, waiting
from openclaw_dagster.store.again import redriven
from openclaw_dagster.store.canonical import plain
from openclaw_dagster.store.case import KEEP, Case, DecisionFact, Facts, Origin, StepFact, StepState
from openclaw_dagster.store.gates import SkipFact


class Kind(StrEnum):
    """Every kind of journal entry."""

    OPENED = "case.opened"
    CLAIMED = "case.claimed"
    STARTED = "case.started"
    ADOPTED = "case.adopted"
    RELEASED = "case.released"
    ORPHANED = "case.orphaned"
    DECIDED = "decision.made"
    BEGUN = "step.begun"
    COMPLETED = "step.completed"
    SKIPPED = "step.skipped"
    RETRY = "step.retry"
    UNKNOWN = "step.unknown"
    PARKED = "step.parked"
    HELD = "step.held"
    BRANCHED = "runbook.begun"
    HEARD = "runbook.heard"
    BRANCHES = "runbook.waiting"
    ASKED = "checkpoint.asked"
    WAITS = "checkpoint.waiting"
    REMINDED = "checkpoint.reminded"
    ESCALATED = "checkpoint.escalated"
    CLEARANCE = "checkpoint.answered"
    REFUSED = "checkpoint.refused"
    VOIDED = "checkpoint.voided"
    EXPIRED = "checkpoint.expired"
    SKIP_GRANTED = "skip.granted"
    FAILED = "stage.failed"
    UNDO_BEGUN = "undo.begun"
    UNDONE = "undo.completed"
    UNDO_RETRY = "undo.retry"
    UNDO_FAILED = "undo.failed"
    CLOSED = "case.completed"
    DEAD_LETTERED = "case.dead_lettered"
    HANDED_OFF = "case.handed_off"
    REDRIVEN = "case.redriven"
    ANSWERED = "case.answered"
    CANCELLED = "case.cancelled"


#: In the body of an entry: what the writer's clock said, where its row had to be dated later, after the sealed days.
CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a case's journal before it is written: what happened, and the facts of it."""

    kind: Kind
    body: Mapping[str, Any]


#: Entries that say nothing about whether a worker got anywhere with a case.
_NO_PROGRESS = frozenset(
    {Kind.CLAIMED, Kind.STARTED, Kind.ORPHANED, Kind.BEGUN, Kind.UNDO_BEGUN, Kind.REFUSED, Kind.HEARD}
)


#: Entries that a person made.
_TOUCHES = frozenset({Kind.CLEARANCE, Kind.SKIP_GRANTED, Kind.ANSWERED, Kind.REDRIVEN})


def apply(case: Case, kind: Kind, body: Mapping[str, Any], at: int) -> Case:
    """Return the case after one more entry; the same entries always add up to the same case.

    `at` is the date of its row. What is waited for goes by `moment`, what the writer's clock said.
    """
    case, moment = replace(case, updated_at=at), body.get(CLOCK, at)
    if case.facts.deaths and _got_on(case, kind, body):
        case = replace(case, facts=replace(case.facts, deaths=0))
    if kind in _TOUCHES:
        case = replace(case, facts=replace(case.facts, touches=case.facts.touches + 1))
    match kind:
        case Kind.OPENED:
            return replace(
                case, state="open", rank=body["rank"], due_at=moment, created_at=at,
                facts=_beginning(case.trigger, body),
            )  # fmt: skip
        case Kind.CLAIMED:
            died = case.state == "running" and case.run_id is not None
            facts = replace(case.facts, deaths=case.facts.deaths + died)
            return replace(
                case, state="running", fence=body["fence"], claim=body["claim"], run_id=None, due_at=body["until"],
                reason=None, facts=facts,
            )  # fmt: skip
        case Kind.STARTED:
            return replace(
                case,
                fence=body["fence"],
                run_id=body["run"],
                due_at=body["until"],
                started_at=case.started_at or at,
                facts=replace(case.facts, first_run=case.facts.first_run or body["run"]),
            )
        case Kind.ADOPTED:
            return replace(_asked_by(case, body), digest=body["digest"])
        case Kind.RELEASED:
            return replace(case, state="open", due_at=moment, claim=None, reason=None)
        case Kind.ORPHANED:
            steps = {name: _lost(fact, moment) for name, fact in case.facts.steps.items()}
            facts = replace(case.facts, steps=steps, deaths=case.facts.deaths + 1)
            # nobody can be asked whether something was taken back: the call's own time has to be over
            taking_back = any(fact.state == "undoing" for fact in steps.values())
            due = max(moment, case.due_at or moment) if taking_back else moment
            return replace(case, state="open", due_at=due, claim=None, facts=facts)
        case Kind.DECIDED:
            made = DecisionFact(body["output"], body["reason"], body["inputs"], body["policy"], at)
            facts = replace(case.facts, decisions={**case.facts.decisions, body["decision"]: made})
            return replace(case, facts=_happened(facts, body.get("emits")))
        case Kind.BEGUN:
            begun = replace(
                _step(case, body), state="begun", attempt=body["attempt"], generation=body["generation"],
                key=body["key"], fence=case.fence, args=body["args"], error="", until=body["until"], lost=0, asked=0,
            )  # fmt: skip
            return replace(waiting.used(_with(case, body, begun), body), due_at=body["until"])
        case Kind.COMPLETED:
            done = replace(_step(case, body), state="completed", result=body["result"], error="")
            after = _with(case, body, done)
            return replace(after, facts=_happened(after.facts, body.get("emits")))
        case Kind.SKIPPED:
            case = waiting.over(case, body["step"])
            return _with(case, body, replace(_step(case, body), state="skipped", error=body["why"]))
        case Kind.RETRY | Kind.UNKNOWN:
            state: StepState = "waiting" if kind is Kind.RETRY else "unknown"
            known = _step(case, body)
            said = replace(
                known,
                state=state,
                attempt=body["attempt"],
                until=body.get("until", known.until),
                asked=body.get("asked", 0),
                error=body["error"],
            )
            after = _with(case, body, said)
            return _rest(after, "waiting_retry", body["due_at"], body["error"])
        case Kind.PARKED:
            after = _with(case, body, replace(_step(case, body), state="unknown", error=body["error"]))
            return _rest(after, "awaiting_human", None, body["error"])
        case Kind.HELD:
            after = _with(case, body, _held(_step(case, body), body))
            return _rest(after, "waiting_retry", None, body["why"])
        case Kind.BRANCHED:
            after = _with(case, body, branches.begun(_step(case, body), body))
            return branches.rests(waiting.used(after, body), body["step"], moment)
        case Kind.HEARD:
            rested = branches.waits(case, body["step"])
            after = replace(case, facts=branches.heard(case, body))
            return branches.rests(after, body["step"], moment) if rested else after
        case Kind.BRANCHES:
            return branches.rests(case, body["step"], moment)
        case Kind.ASKED:
            return waiting.asks(waiting.gate(case, body, gates.asked(body, moment)), body, moment)
        case Kind.REMINDED:
            gate = gates.reminded(waiting.standing(case, body), body)
            return waiting.asks(waiting.gate(case, body, gate), body, moment)
        case Kind.WAITS:
            return waiting.asks(case, body, moment)
        case Kind.ESCALATED:
            gate = gates.escalated(waiting.standing(case, body), body)
            return waiting.asks(waiting.gate(case, body, gate), body, moment)
        case Kind.CLEARANCE:
            return waiting.wakes(
                waiting.gate(case, body, gates.answered(waiting.standing(case, body), body, moment)),
                body["step"],
                moment,
            )
        case Kind.VOIDED:
            return waiting.gate(case, body, replace(waiting.standing(case, body), state="voided"))
        case Kind.EXPIRED:
            return waiting.gate(case, body, replace(waiting.standing(case, body), state="expired"))
        case Kind.REFUSED:
            return case
        case Kind.SKIP_GRANTED:
            skip = SkipFact(body["policy"], body["by"], body["until"], body["reason"])
            facts = replace(case.facts, skips={**case.facts.skips, body["step"]: skip})
            return waiting.wakes(replace(case, facts=facts), body["step"], moment)
        case Kind.FAILED:
            facts = replace(case.facts, failing=body["stage"], why=body["error"], attempts=body["attempts"])
            failed = replace(case, facts=facts, reason=plain(body["error"]))
            if not body["step"]:
                return failed
            return _with(failed, body, replace(_step(failed, body), state="failed", error=body["error"]))
        case Kind.UNDO_BEGUN:
            undoing = replace(
                _step(case, body), state="undoing", undo_attempt=body["attempt"], fence=case.fence, error=""
            )
            return replace(_with(case, body, undoing), due_at=body["until"])
        case Kind.UNDONE:
            return _with(case, body, replace(_step(case, body), state="undone", undo_attempt=0, error=""))
        case Kind.UNDO_RETRY:
            after = _with(case, body, replace(_step(case, body), error=body["error"]))
            return _rest(after, "waiting_retry", body["due_at"], case.reason or body["error"])
        case Kind.UNDO_FAILED:
            return _with(case, body, replace(_step(case, body), state="stuck", error=body["error"]))
        case Kind.CLOSED:
            return _end(case, "completed", at, None)
        case Kind.DEAD_LETTERED:
            return _end(case, "dead_lettered", at, body["reason"])
        case Kind.HANDED_OFF:
            return _end(case, "handed_off", at, body["reason"])
        case Kind.REDRIVEN:
            return redriven(_asked_by(case, body), body, moment)
        case Kind.ANSWERED:
            return _answered(case, body, moment)
        case Kind.CANCELLED:
            return _end(case, "cancelled", at, body["reason"])
        case _:
            assert_never(kind)


def _asked_by(case: Case, body: Mapping[str, Any]) -> Case:
    return replace(case, facts=replace(case.facts, requester=body.get("requester", case.facts.requester)))


def _beginning(trigger: str, body: Mapping[str, Any]) -> Facts:
    return Facts(
        (trigger,),
        requester=body.get("requester", ""),
        origin=Origin(**body["origin"]) if "origin" in body else None,
        keep=body.get("keep", KEEP),
    )


def _got_on(case: Case, kind: Kind, body: Mapping[str, Any]) -> bool:
    """Tell whether an entry shows that a worker got anywhere; to ask about a dead one's call is no progress."""
    return kind not in _NO_PROGRESS and not (kind is Kind.UNKNOWN and _step(case, body).lost)


def _lost(fact: StepFact, at: int) -> StepFact:
    return replace(fact, lost=at) if fact.state == "begun" and not fact.lost else fact


def _held(fact: StepFact, body: Mapping[str, Any]) -> StepFact:
    """Let a step rest; whether its last call took place is no clearer by that."""
    if fact.state in ("begun", "unknown"):
        return replace(fact, state="unknown", held=body["action"])
    return replace(fact, state="held", error=body["action"])


def _step(case: Case, body: Mapping[str, Any]) -> StepFact:
    return case.facts.steps.get(body["step"], StepFact("waiting"))


def _with(case: Case, body: Mapping[str, Any], step: StepFact) -> Case:
    return replace(case, facts=replace(case.facts, steps={**case.facts.steps, body["step"]: step}))


def _happened(facts: Facts, event: str | None) -> Facts:
    return (
        replace(facts, happened=(*facts.happened, event)) if event and event not in facts.happened else facts
    )


def _rest(case: Case, state: Any, due_at: int | None, reason: str) -> Case:
    return replace(case, state=state, due_at=due_at, claim=None, reason=plain(reason))


def _end(case: Case, state: Any, at: int, reason: str | None) -> Case:
    return replace(
        waiting.over(case),
        state=state,
        due_at=None,
        claim=None,
        closed_at=at,
        reason=plain(reason) if reason else reason,
    )


def _answered(case: Case, body: Mapping[str, Any], at: int) -> Case:
    """A person said whether a call of unknown outcome took place: the case goes on with that knowledge."""
    step = _step(case, body)
    if body["took_place"]:
        done = replace(step, state="completed", result=body["result"], error="")
    else:
        done = replace(step, state="waiting", error="")
    after = _with(case, body, done)
    if body["took_place"]:
        after = replace(after, facts=_happened(after.facts, body.get("emits")))
    return replace(after, state="open", due_at=at, reason=None)
