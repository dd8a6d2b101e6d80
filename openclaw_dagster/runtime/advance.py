"""The state machine: a run holds cases, passes them through the stages in order, and closes them."""

from __future__ import annotations

from dataclasses import dataclass

from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.batch import MOST_DEATHS, Batch, obstacle, pending, waits
from openclaw_dagster.runtime.completion import completion, residual
from openclaw_dagster.runtime.decide import decide
from openclaw_dagster.runtime.people import places
from openclaw_dagster.runtime.steps import take
from openclaw_dagster.runtime.trouble import failed, mistake, short
from openclaw_dagster.runtime.undo import undo
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import Stage, System
from openclaw_dagster.store.case import Branch, Case
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival

#: Why a case goes no further whose payload was shredded: nothing is decided or sent without it.
GONE = "the event it began with is not in the log any more, or past its retention"
#: Where a case goes that failed where its system names no place.
DEAD_LETTERS = "queue://dead-letters"


class OutOfOrder(ClawError):
    """{stage} may not run yet: case {case} has to pass {first} before it. Nothing was done; let the system's job run as a whole."""  # noqa: E501

    code = "CLAW430"


@dataclass(frozen=True)
class Passed:
    """What one stage came to for the cases of a run."""

    took_part: tuple[Case, ...]
    going: tuple[Case, ...]


def hold(shop: Workspace, claim: str, *, run_id: str, host: str) -> Batch:
    """Take hold of the cases of a claim for one run: none when the claim is over, or held by another run."""
    cases = shop.ledger.start(claim, run_id=run_id, lease=shop.environment.lease, host=host)
    batch = Batch(shop, cases)
    point("claim.started")
    _bury_poison(batch)
    adopt(batch)
    _check_beginnings(batch)
    return batch


def _bury_poison(batch: Batch) -> None:
    """Give up the cases whose workers died again and again: what kills a process must not do it for ever."""
    entries: dict[str, list[Entry]] = {}
    for case in batch.going():
        if case.facts.deaths >= MOST_DEATHS and not case.facts.failing:
            system = _system(batch, case)
            if system is not None:
                problem = f"the worker died {case.facts.deaths} times in a row while it had this case"
                entries[case.id] = [_given_up(system, case, problem, case.facts.deaths)]
    batch.write(entries)


def _given_up(system: System, case: Case, problem: str, attempts: int) -> Entry:
    """Return the entry by which a case can go no further; a person tells about a call that is in doubt."""
    stage = pending(system, case)
    fact = case.facts.steps.get(stage.name) if stage else None
    if stage and stage.kind == "step" and fact and fact.state in ("begun", "unknown"):
        action = system.step(stage.name).action
        contract = system.operations.get(action)
        if contract is None or contract.effect != "read":
            why = f"whether {action} took place is not known: {problem}"
            return Entry(Kind.PARKED, {"step": stage.name, "attempt": fact.attempt, "error": why})
    return failed(stage.name if stage else "close", problem, attempts=attempts)


def adopt(batch: Batch) -> None:
    """Let cases that have not begun go on under the system as it is now; all others keep their version.

    So do cases that a step began: the version they have was part of what people cleared.
    """
    entries: dict[str, list[Entry]] = {}
    for case in batch.going():
        current = batch.shop.systems.get(case.system)
        facts = case.facts
        begun = facts.decisions or facts.steps or facts.failing or facts.gates or facts.skips
        if current is None or current.digest == case.digest or begun or case.redrives or case.facts.origin:
            continue  # whoever redrove it chose its version
        for trigger in current.triggers:
            if trigger.name == case.trigger:
                who = intake.still_asked_by(case, trigger, batch.event(case))
                body = {"digest": current.digest, "was": case.digest, "requester": who}
                entries[case.id] = [Entry(Kind.ADOPTED, body)]
    batch.write(entries)


def _check_beginnings(batch: Batch) -> None:
    """Stop the cases whose event is gone, or whose trigger's condition does not let it in after all."""
    entries: dict[str, list[Entry]] = {}
    for case in batch.going():
        event, system = batch.event(case), _system(batch, case)
        if case.facts.failing or system is None:
            continue
        if event is None or event.payload is None:
            entries[case.id] = [_given_up(system, case, GONE, 0)]
        elif case.facts.decisions or case.facts.steps:
            continue
        elif (why := intake.poisonous(event)) is not None:
            entries[case.id] = [failed(case.trigger, why, attempts=0)]
        elif (entry := _refused_entry(system, case, event.payload)) is not None:
            entries[case.id] = [entry]
    batch.write(entries)


def _refused_entry(system: System, case: Case, payload: intake.Payload) -> Entry | None:
    try:
        trigger = system.trigger(case.trigger)
        if intake.holds(system, trigger, payload):
            return None
    except ClawError as error:
        return failed(case.trigger, str(error), attempts=0)
    except Exception as error:
        return failed(case.trigger, mistake(case.id, case.trigger, error), attempts=0)
    reason = f"the condition of {case.trigger} is false for its event"
    return Entry(Kind.CANCELLED, {"by": f"{system.name} {system.version}", "reason": reason})


def pass_stage(batch: Batch, name: str) -> Passed:
    """Move each case whose turn it is through the stage; OutOfOrder when one has to pass another first."""
    ready: dict[str, list[Case]] = {"decision": [], "step": []}
    for case in batch.going():
        stage = _turn(batch, case, name)
        if stage is not None:
            ready[stage.kind].append(case)
    if ready["decision"]:
        decide(batch, ready["decision"], name)
    if ready["step"]:
        take(batch, ready["step"], name)
    return Passed((*ready["decision"], *ready["step"]), tuple(batch.going()))


def _turn(batch: Batch, case: Case, name: str) -> Stage | None:
    """Return the stage of that name when it is the case's turn to pass it."""
    system = None if case.facts.failing else _system(batch, case)
    stage = next((one for one in system.stages if one.name == name), None) if system else None
    if system is None or stage is None or not waits(stage, case):
        return None
    first = obstacle(system, case, stage)
    if first is None:
        return stage
    current = batch.shop.systems.get(case.system)
    if current is not None and current.digest == case.digest:
        raise OutOfOrder(stage=name, case=case.id, first=first.name)
    return (
        None  # its own version has stages that the job's graph has not: it passes them all when it is closed
    )


def _system(batch: Batch, case: Case) -> System | None:
    """Return the version a case runs under; a case whose version cannot be had any more fails."""
    try:
        return batch.system(case)
    except DatabaseAway:
        raise
    except ClawError as error:
        problem = str(error)
    except Exception as error:
        problem = mistake(case.id, "version", error)
    if not case.facts.failing:
        batch.write({case.id: [failed("version", problem, attempts=0)]})
    return None


def close(batch: Batch) -> tuple[Case, ...]:
    """End every case that has passed its stages or failed at one; return those that could not be ended."""
    done: dict[str, list[Entry]] = {}
    told: dict[str, list[Arrival]] = {}
    for case in batch.going():
        try:
            _finish(batch, case)
            if case.id not in batch.cases:
                continue
            case = batch.cases[case.id]
            if case.facts.failing:
                _give_up(batch, case)
            else:
                done[case.id], told[case.id] = _closing(batch, case)
        except DatabaseAway:
            raise
        except Exception as error:  # its lease ends, and it is tried again, or buried when that does not help
            mistake(case.id, "close", error)
    point("case.completing")
    batch.write(done, told)
    point("case.completed")
    return tuple(batch.going())


def _closing(batch: Batch, case: Case) -> tuple[list[Entry], list[Arrival]]:
    """Return how a case ends, and the event that says so where somebody owns the system."""
    system = batch.system(case)
    record = completion(system, case)
    if system.owner is None:
        return [Entry(Kind.CLOSED, record)], []
    record["residual"] = residual(system, case, batch.shop.clock.now())
    return [Entry(Kind.CLOSED, record)], [intake.closed(batch, case, "completed", record)]


def _finish(batch: Batch, case: Case) -> None:
    """Pass the stages that are left: those that the case's own version has and the job's graph has not."""
    while case.id in batch.cases:
        case = batch.cases[case.id]
        system = None if case.facts.failing else _system(batch, case)
        stage = pending(system, case) if system else None
        if stage is None:
            return
        (decide if stage.kind == "decision" else take)(batch, [case], stage.name)


def _give_up(batch: Batch, case: Case) -> None:
    """Take back what was done, then keep the case with its reason until somebody redrives it.

    A case that people said no to, or did not answer in time, is handed to the owner of its system instead.
    """
    system = _system(batch, case)
    after = undo(batch, case) if system is not None else case
    if after is None:
        return
    facts = after.facts
    step = next((one for one in system.execution if one.name == facts.failing), None) if system else None
    queue = (step.dead_letter if step else None) or DEAD_LETTERS
    kept = [f"{name}: {fact.error}" for name, fact in facts.steps.items() if fact.state == "stuck"]
    reason = facts.why + ("; not taken back: " + ", ".join(kept) if kept else "")
    gate = facts.gates.get(facts.failing)
    handed_on = any(one.state == "handed_off" for one in _branches(after))
    denied = gate is not None and gate.state in ("denied", "expired")
    if system is not None and (denied or (handed_on and system.owner is not None)):
        record = {
            **completion(system, after), "to": system.owner, "stage": facts.failing, "reason": short(reason),
            "spec": after.digest, "residual": residual(system, after, batch.shop.clock.now()),
        }  # fmt: skip
        told = [intake.closed(batch, after, "handed_off", record)]
        notify = places(batch.shop.environment, [system.owner] if system.owner else [])
        entry = Entry(Kind.HANDED_OFF, {**record, "notify": list(notify)})
        batch.write({after.id: [entry]}, {after.id: told})
        return
    body = {
        "queue": queue, "stage": facts.failing, "reason": short(reason), "attempts": facts.attempts,
        "spec": after.digest,
    }  # fmt: skip
    point("case.dead_lettering")
    heard = intake.buried(batch, after, queue, body) if system is not None else []
    batch.write({after.id: [Entry(Kind.DEAD_LETTERED, body)]}, {after.id: heard})
    point("case.dead_lettered")


def _branches(case: Case) -> tuple[Branch, ...]:
    fact = case.facts.steps.get(case.facts.failing)
    return fact.branches if fact is not None else ()


def advance(batch: Batch) -> None:
    """Move every case of a batch as far as it goes, without Dagster: the same stages in the same order."""
    versions = [system for case in batch.going() if (system := _system(batch, case)) is not None]
    for name in dict.fromkeys(stage.name for system in versions for stage in system.stages):
        pass_stage(batch, name)
    close(batch)
