"""The state machine: a run holds cases, passes them through the stages in order, and closes them."""

from __future__ import annotations

from dataclasses import dataclass

from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime.batch import Batch, pending
from openclaw_dagster.runtime.decide import decide, failed
from openclaw_dagster.runtime.steps import take
from openclaw_dagster.runtime.undo import undo
from openclaw_dagster.runtime.workspace import SpecGone, Workspace
from openclaw_dagster.spec.model import Stage
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind


#: How often a worker may die with a case before the case is taken for the cause.
MOST_DEATHS = 5


class OutOfOrder(ClawError):
    """{stage} may not run yet: case {case} has to pass {first} before it. Nothing was done; let the system's job run as a whole."""

    code = "CLAW330"


@dataclass(frozen=True)
class Passed:
    """What one stage came to for the cases of a run."""

    took_part: tuple[Case, ...]
    going: tuple[Case, ...]


def hold(shop: Workspace, claim: str, *, run_id: str, host: str) -> Batch:
    """Take hold of the cases of a claim for one run. A claim that is over, or held by another run, gives no cases."""
    cases = shop.ledger.start(claim, run_id=run_id, lease=shop.environment.lease, host=host)
    batch = Batch(shop, cases)
    point("claim.started")
    _bury_poison(batch)
    adopt(batch)
    return batch


def _bury_poison(batch: Batch) -> None:
    """Fail the cases whose workers died again and again: what kills a process must not kill it for ever."""
    entries: dict[str, list[Entry]] = {}
    for case in batch.going():
        if case.facts.deaths >= MOST_DEATHS and not case.facts.failing:
            stage = _pending(batch, case)
            problem = f"the worker died {case.facts.deaths} times in a row while it had this case"
            name = stage.name if stage else "close"
            entries[case.id] = [failed(name, problem, attempts=case.facts.deaths)]
    batch.write(entries)


def adopt(batch: Batch) -> None:
    """Let cases that have not begun go on under the system as it is now; those that have begun keep their version."""
    entries: dict[str, list[Entry]] = {}
    for case in batch.going():
        current = batch.shop.systems.get(case.system)
        if current is None or current.digest == case.digest or case.facts.decisions or case.facts.steps:
            continue
        entries[case.id] = [Entry(Kind.ADOPTED, {"digest": current.digest, "was": case.digest})]
    batch.write(entries)


def pass_stage(batch: Batch, name: str) -> Passed:
    """Move every case whose turn it is through the stage `name`; OutOfOrder when one has to pass another first."""
    ready: list[Case] = []
    kind: Stage | None = None
    for case in batch.going():
        first = _pending(batch, case)
        if first is None:
            continue
        if first.name == name:
            ready.append(case)
            kind = first
        elif _comes_before(batch, case, first.name, name):
            raise OutOfOrder(stage=name, case=case.id, first=first.name)
    if kind is not None:
        (decide if kind.kind == "decision" else take)(batch, ready, name)
    return Passed(tuple(ready), tuple(batch.going()))


def _pending(batch: Batch, case: Case) -> Stage | None:
    try:
        return pending(batch.system(case), case)
    except SpecGone as error:
        batch.write({case.id: [failed("version", str(error), attempts=0)]})
        return None


def _comes_before(batch: Batch, case: Case, first: str, name: str) -> bool:
    order = [stage.name for stage in batch.system(case).stages]
    return name in order and order.index(first) < order.index(name)


def close(batch: Batch) -> tuple[Case, ...]:
    """End every case that has passed its stages or failed at one; return those that are still in the batch: none."""
    for case in batch.going():
        _finish_older_version(batch, case)
    done: dict[str, list[Entry]] = {}
    for case in batch.going():
        if case.facts.failing:
            _dead_letter(batch, case)
        else:
            done[case.id] = [Entry(Kind.CLOSED, completion(case))]
    point("case.completing")
    batch.write(done)
    point("case.completed")
    return tuple(batch.going())


def _finish_older_version(batch: Batch, case: Case) -> None:
    """Pass the stages that the case's own version has and the job's graph has not."""
    while case.id in batch.cases:
        case = batch.cases[case.id]
        stage = _pending(batch, case)
        if stage is None:
            return
        (decide if stage.kind == "decision" else take)(batch, [case], stage.name)


def _dead_letter(batch: Batch, case: Case) -> None:
    after = case if case.facts.failing == "version" else undo(batch, case)
    if after is None:
        return
    stage = after.facts.failing
    queue = "queue://dead-letters"
    if stage != "version":
        step = next((step for step in batch.system(after).execution if step.name == stage), None)
        queue = (step.dead_letter if step else None) or queue
    kept = [f"{name}: {fact.error}" for name, fact in after.facts.steps.items() if fact.state == "stuck"]
    reason = after.facts.why
    if kept:
        reason += "; not taken back: " + ", ".join(kept)
    body = {"queue": queue, "stage": stage, "reason": reason, "attempts": after.facts.attempts, "spec": after.digest}
    batch.write({after.id: [Entry(Kind.DEAD_LETTERED, body)]})


def completion(case: Case) -> dict[str, object]:
    """Return the completion record: what was decided and what was done."""
    return {
        "decisions": {name: made.output.get("branch", made.reason) for name, made in case.facts.decisions.items()},
        "steps": {name: fact.state for name, fact in case.facts.steps.items()},
        "effects": [fact.key for fact in case.facts.steps.values() if fact.key and fact.state == "completed"],
    }


def advance(batch: Batch) -> None:
    """Move every case of a batch as far as it goes, without Dagster: the same stages in the same order."""
    names = list(dict.fromkeys(stage.name for case in batch.going() for stage in batch.system(case).stages))
    for name in names:
        pass_stage(batch, name)
    close(batch)
