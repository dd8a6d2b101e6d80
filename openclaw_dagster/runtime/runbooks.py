"""A step that is a runbook: it begins cases of another system, and goes on when all of them have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.attempts import done, told
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.checkpoints import Waits, gate
from openclaw_dagster.runtime.payloads import mismatch
from openclaw_dagster.runtime.scope import arguments
from openclaw_dagster.runtime.trouble import failed
from openclaw_dagster.spec.expressions import compile_expression
from openclaw_dagster.spec.model import Step, System
from openclaw_dagster.spec.runbooks import OPERATION
from openclaw_dagster.spec.triggers import ManualTrigger
from openclaw_dagster.store import branches
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.case import Branch, Case, Origin, StepFact
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival

#: Cases that one step may begin.
MOST_CASES = 500
#: Bytes that all of them together may be begun with: people are shown them, and the case keeps what was shown.
MOST_BYTES = 1024 * 1024
#: How many runbooks may stand inside each other.
DEEPEST = 8


class NoRunbook(ClawError):
    """{action} cannot be started: {why}. `claw check` says it of the files as they are."""

    code = "CLAW422"


class BadItem(ClawError):
    """{place} cannot be handed to {runbook}: {why}."""

    code = "CLAW423"


class BadList(ClawError):
    """foreach of {step} comes to {found}: it is a list of at most {most} items."""

    code = "CLAW424"


class TooMuch(ClawError):
    """
    {step} would begin {count} cases with {size:,} bytes together, and {most:,} is the most: say in `with:` what each
    of them needs; without it, each has the whole payload.
    """

    code = "CLAW425"


@dataclass(frozen=True)
class Begins:
    """The step begins cases, or is done with them: the entry that says so, with the events that open them."""

    entry: Entry
    arrivals: Sequence[Arrival] = ()


def begin(
    batch: Batch, case: Case, step: Step, known: Mapping[str, Any], read: Mapping[str, Any]
) -> Begins | Waits:
    """Begin a case for the step, or one for each item of its list; NoRunbook, BadItem, BadList, TooMuch."""
    system, trigger = _called(batch, case, step)
    payloads = _payloads(batch, case, step, known)
    for number, payload in enumerate(payloads):
        if (wrong := mismatch(system, trigger.schema_file, payload)) is not None:
            place = f"item {number + 1} of {step.name}" if step.foreach else step.name
            raise BadItem(place=place, runbook=system.name, why=wrong)
    fact = case.facts.steps.get(step.name, StepFact("waiting"))
    keys = [_key(case, step, index) for index in range(len(payloads))]
    written = [dumps(payload) for payload in payloads]
    if (size := sum(len(one.encode()) for one in written)) > MOST_BYTES:
        raise TooMuch(step=step.name, count=len(payloads), size=size, most=MOST_BYTES)
    digests = [sha256(one) for one in written]
    kept = branches.kept(fact.branches, digests)
    body: dict[str, Any] = {
        "step": step.name, "runbook": system.name, "key": f"{case.id}:{step.name}:{case.redrives}",
        "cases": [asdict(kept.get(i) or Branch(keys[i], digests[i])) for i in range(len(payloads))],
    }  # fmt: skip
    if step.checkpoint is not None:
        what: dict[str, Any] = {"cases": payloads} if step.foreach else payloads[0]
        passed = gate(batch, case, step, Call(step.action, OPERATION, what, body["key"], step.timeout), read)
        if isinstance(passed, Waits):
            return passed
        body["clearance"] = passed.digest
    new = [index for index in range(len(payloads)) if index not in kept]
    room = branches.room(len(payloads))
    arrivals = [
        _arrival(batch, case, system, trigger, payloads[i], keys[i], _origin(case, step, i, room))
        for i in new
    ]
    return Begins(Entry(Kind.BRANCHED, body), arrivals)


def _key(case: Case, step: Step, index: int) -> str:
    """Return the key of one case: what people know it by, with a mark that no other case's key has."""
    again = f"/{case.redrives + 1}" if case.redrives else ""
    return f"{case.key[:80]}/{step.name}/{index + 1}{again}#{case.id[-12:]}"


def _called(batch: Batch, case: Case, step: Step) -> tuple[System, ManualTrigger]:
    name = step.runbook or ""
    system = batch.shop.known.get(name)
    if system is None:
        raise NoRunbook(action=step.action, why=f"there is no system {name} here")
    triggers = [one for one in system.triggers if isinstance(one, ManualTrigger)]
    if len(triggers) != 1:
        raise NoRunbook(action=step.action, why=f"{name} has {len(triggers)} manual triggers, not one")
    if case.facts.origin is not None and case.facts.origin.depth >= DEEPEST:
        raise NoRunbook(action=step.action, why=f"{DEEPEST} runbooks stand inside each other already")
    return system, triggers[0]


def _payloads(batch: Batch, case: Case, step: Step, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what each case is begun with."""
    payload = batch.payload(case)
    if step.foreach is None:
        return [arguments(step, case, payload, known)]
    items = compile_expression(step.foreach).value(known)
    if not isinstance(items, list) or len(items) > MOST_CASES:
        found = f"{len(items)} items" if isinstance(items, list) else f"no list, but {items!r:.60}"
        raise BadList(step=step.name, found=found, most=MOST_CASES)
    if step.arguments is None:
        return [{**arguments(step, case, payload, known), step.item: item} for item in items]
    return [arguments(step, case, payload, {**known, step.item: item}) for item in items]


def _origin(case: Case, step: Step, index: int, room: int) -> Origin:
    above = case.facts.origin.depth if case.facts.origin else 0
    return Origin(case.id, step.name, index, above + 1, room)


def _arrival(
    batch: Batch, case: Case, system: System, trigger: ManualTrigger, payload: dict[str, Any], key: str, origin: Origin
) -> Arrival:  # fmt: skip
    """Return the event that opens one case: as urgent as the case it belongs to, and asked for by the same person."""
    return intake.called(
        system, trigger, payload, key, origin=origin, requester=case.facts.requester, rank=case.rank,
        traceparent=batch.parent(case),
    )  # fmt: skip


def look(batch: Batch, case: Case, step: Step, fact: StepFact) -> Entry | Begins:
    """Say how the step stands by what its cases came to; it rests while one of them may still end well."""
    if any(not one.settled for one in fact.branches):
        return Entry(Kind.BRANCHES, {"step": step.name})
    if bad := [(number, one) for number, one in enumerate(fact.branches, 1) if one.state != "completed"]:
        number, first = bad[0]
        which = f"item {number} of {len(fact.branches)}" if step.foreach else step.action
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        why = f"{which} ended {first.state.replace('_', ' ')} (case {first.case}): {first.reason}{more}"
        return failed(step.name, why, attempts=1, step=step.name)
    results = [one.result for one in fact.branches]
    result = results if step.foreach else results[0]
    return Begins(done(step, result), told(batch, case, step, result, fact.generation))
