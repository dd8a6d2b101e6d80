"""An attempt at a step's call, and the entries that say what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.trouble import short
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival


@dataclass(frozen=True)
class Attempt:
    """A call that is about to be made, and what it is for."""

    case: Case
    step: Step
    call: Call
    number: int
    generation: int
    clearance: str | None = None  # the digest under which its checkpoint was cleared


@dataclass(frozen=True)
class TooLate:
    """The call was not made: its lease might end before what came of it is written, and another process take over."""


def begun(one: Attempt, until: int) -> Entry:
    """Return the entry that claims the effect; the call is over by `until` (ms) at the latest."""
    body = {
        "step": one.step.name, "action": one.step.action, "attempt": one.number, "generation": one.generation,
        "key": one.call.key, "args": dict(one.call.args), "until": until,
    }  # fmt: skip
    if one.clearance is not None:
        body["clearance"] = one.clearance
    return Entry(Kind.BEGUN, body)


def done(step: Step, result: Any, via: str | None = None) -> Entry:
    """Return the entry of a step that is done; `via` is the read that told so."""
    body: dict[str, Any] = {"step": step.name, "result": result}
    if via:
        body["found_by"] = via
    if step.emits:
        body["emits"] = step.emits
    return Entry(Kind.COMPLETED, body)


def told(batch: Batch, case: Case, step: Step, result: Any, generation: int) -> list[Arrival]:
    """Return the event that a step emits when it is done, for the systems that listen to it."""
    if not step.emits:
        return []
    return [intake.emitted(batch, case, step.emits, result, step.name, generation)]


def tried_again(step: Step, attempt: int, error: str, due: int) -> Entry:
    """Return the entry of a call that did not take place and is made again when it is `due` (ms)."""
    return Entry(Kind.RETRY, {"step": step.name, "attempt": attempt, "error": short(error), "due_at": due})


def unknown(step: Step, attempt: int, error: str, due: int, **more: int) -> Entry:
    """Return the entry of a call that may have taken place; `more` is how often was asked, or when it is over."""
    body = {"step": step.name, "attempt": attempt, "error": short(error), "due_at": due, "asked": 0}
    return Entry(Kind.UNKNOWN, body | more)


def parked(step: Step, attempt: int, why: str) -> Entry:
    """Return the entry that leaves it to a person to say whether a call took place."""
    error = short(f"whether {step.action} took place is not known: {why}")
    return Entry(Kind.PARKED, {"step": step.name, "attempt": attempt, "error": error})
