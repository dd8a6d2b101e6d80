"""What people do to cases: redrive a dead letter, tell what became of a call, cancel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.batch import pending
from openclaw_dagster.runtime.intake import announce, still_asked_by
from openclaw_dagster.runtime.trouble import short
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival
from openclaw_dagster.store.ledger import Change
from openclaw_dagster.store.retention import forgotten

#: How often one case may be redriven: what fails that often is not mended by trying.
MOST_REDRIVES = 10
#: The states in which a case waits for something and no worker holds it.
WAITING = frozenset({"open", "waiting_retry", "awaiting_human"})
#: The states in which a case may be cancelled: a dead letter that nobody takes up is put away.
CANCELLED_IN = WAITING | {"dead_lettered"}
#: The states of steps that have done something outside, or may have.
STANDING = frozenset({"completed", "begun", "unknown", "undoing", "stuck", "under_way"})


class NoCase(ClawError):
    """There is no case {case_id!r}: `claw case list` shows the newest."""

    code = "CLAW440"


class NotSaid(ClawError):
    """Say {what}: it is kept in the case's journal for whoever reads it later."""

    code = "CLAW441"


class NotDead(ClawError):
    """Case {case_id} is {state}, and only dead letters are redriven: `claw dlq list` shows them."""

    code = "CLAW442"


class RedrivenTooOften(ClawError):
    """Case {case_id} was redriven {times} times, the most there is: mend the cause, send its event anew."""

    code = "CLAW443"


class NoVersion(ClawError):
    """Case {case_id} cannot be redriven under {system} as it is now, {why}: redrive it as it was."""

    code = "CLAW444"


class NoSystem(ClawError):
    """
    Case {case_id} cannot be redriven: the file of its system {system} is gone or refused, so nobody would move it. Put
    it back or mend it first; `claw check` says what is wrong.
    """

    code = "CLAW449"


class PastRetention(ClawError):
    """
    Case {case_id} cannot be redriven: its payload or what it had done was shredded when its retention was over, so nobody
    knows what to send. Send its event anew.
    """

    code = "CLAW452"


class NoQuestion(ClawError):
    """
    Case {case_id} is {state}, and no call of it is in doubt: `claw case answer` is for a call whose outcome nobody knows. A
    checkpoint is answered with `claw approve` or `claw deny`.
    """

    code = "CLAW445"


class BadResult(ClawError):
    """The result is not JSON ({problem}): give what the far side would answer, such as {{"id": "BK-1"}}."""

    code = "CLAW446"


class NotCancelled(ClawError):
    """Case {case_id} is {state} and cannot be cancelled: {repair}."""

    code = "CLAW447"


class Overtaken(ClawError):
    """Case {case_id} has changed since it was looked at and is {state} now; nothing was done: look again."""

    code = "CLAW448"


def redrive(shop: Workspace, case_id: str, *, by: str, reason: str, same_version: bool = False) -> Case:
    """Make a dead letter due again, under its system as it is now, or under its own version.

    What failed or was taken back is done anew; what holds stays done; what nobody knows is asked first.
    """
    case = _case(shop, case_id, by, reason)
    if case.state != "dead_lettered":
        raise NotDead(case_id=case_id, state=case.state)
    if case.redrives >= MOST_REDRIVES:
        raise RedrivenTooOften(case_id=case_id, times=case.redrives)
    if case.system not in shop.systems:
        raise NoSystem(case_id=case_id, system=case.system)
    event = shop.ledger.events([case.event_id]).get(case.event_id)
    if forgotten(event, shop.ledger.journal(case_id)):
        raise PastRetention(case_id=case_id)
    now = shop.clock.now()
    body = {"by": by, "reason": short(reason), "digest": case.digest, "was": case.digest}
    if not same_version:
        system = _version(shop, case)
        who = still_asked_by(case, system.trigger(case.trigger), event)
        body |= {"digest": system.digest, "requester": who}
    entries = [Entry(Kind.REDRIVEN, body)]
    for name, fact in case.facts.steps.items():
        if (error := _doubt(fact)) is not None:
            # asked about as if for the first time: the attempts of before the redrive are over
            about = {"step": name, "attempt": 0, "asked": 0, "error": error, "due_at": now}
            entries.append(Entry(Kind.UNKNOWN, about))
    return _write(shop, case, entries, frozenset({"dead_lettered"}))


def _version(shop: Workspace, case: Case) -> System:
    """Return the system as it is now; NoVersion when the case cannot go on in it."""
    system = shop.systems[case.system]
    if all(trigger.name != case.trigger for trigger in system.triggers):
        raise NoVersion(case_id=case.id, system=case.system, why=f"which has no trigger {case.trigger}")
    known = {step.name for step in system.execution}
    for name, fact in case.facts.steps.items():
        if name not in known and fact.state in STANDING:
            why = f"which has no step {name}, whose effect stands or may stand: it would be done again under another name"
            raise NoVersion(case_id=case.id, system=case.system, why=why)
    return system


def _doubt(fact: StepFact) -> str | None:
    """Return what is not known about a step whose effect may stand, or None when it is known."""
    if fact.state in ("stuck", "undoing"):
        return f"it was done, and may have been taken back: {fact.error or 'no answer came'}"
    if fact.state in ("begun", "unknown"):
        return fact.error or "its worker died before it wrote down what the answer was"
    return None


def answer(
    shop: Workspace, case_id: str, *, by: str, took_place: bool, result: Any = None, reason: str
) -> Case:
    """Tell whether the call took place whose outcome nobody knows; the case goes on with that knowledge."""
    case = _case(shop, case_id, by, reason)
    name = _asked_about(shop, case)
    if case.state != "awaiting_human" or name is None:
        raise NoQuestion(case_id=case_id, state=case.state)
    try:
        dumps(result)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadResult(problem=str(error)) from error
    body = {"step": name, "took_place": took_place, "result": result, "by": by, "reason": short(reason)}
    step = shop.version(case.digest).step(name)
    emitted: tuple[Arrival, ...] = ()
    if took_place and step.emits:
        body["emits"] = step.emits
        generation = case.facts.steps[name].generation
        event = shop.ledger.events([case.event_id]).get(case.event_id)
        payload = (event.payload if event else None) or {}
        parent = event.traceparent if event else None
        emitted = (announce(shop, case, step.emits, payload, result, name, generation, traceparent=parent),)
    return _write(shop, case, [Entry(Kind.ANSWERED, body)], frozenset({"awaiting_human"}), emitted)


def _asked_about(shop: Workspace, case: Case) -> str | None:
    """Return the step whose last call has an unknown outcome, when that is what the case waits for."""
    if case.state != "awaiting_human":
        return None
    stage = pending(shop.version(case.digest), case)
    fact = case.facts.steps.get(stage.name) if stage else None
    return stage.name if stage and fact and fact.state == "unknown" else None


def cancel(shop: Workspace, case_id: str, *, by: str, reason: str) -> Case:
    """End a case that waits, or put a dead letter away. What it did outside stays; the journal says what that is."""
    case = _case(shop, case_id, by, reason)
    if case.state == "running":
        raise NotCancelled(case_id=case_id, state="running", repair="wait until its run has ended")
    if case.state not in CANCELLED_IN:
        raise NotCancelled(case_id=case_id, state=case.state, repair="it has ended already")
    stays = {name: fact.state for name, fact in case.facts.steps.items() if fact.state in STANDING}
    body = {"by": by, "reason": short(reason), "stays": stays}
    return _write(shop, case, [Entry(Kind.CANCELLED, body)], CANCELLED_IN)


def _case(shop: Workspace, case_id: str, by: str, reason: str) -> Case:
    for said, what in ((by, "who you are"), (reason, "why you do it")):
        if not said.strip():
            raise NotSaid(what=what)
    case = shop.ledger.case(case_id)
    if case is None:
        raise NoCase(case_id=case_id)
    return case


def _write(
    shop: Workspace,
    case: Case,
    entries: Iterable[Entry],
    only_in: frozenset[str],
    emitted: tuple[Arrival, ...] = (),
) -> Case:
    """Write what one person said, unless anything has happened to the case since it was looked at."""
    change = Change(case.id, tuple(entries), only_in=only_in, seen=case.seq, emitted=emitted)
    written = shop.ledger.write([change])
    if case.id in written.lost:
        now = shop.ledger.case(case.id)
        raise Overtaken(case_id=case.id, state=now.state if now else "gone")
    return written.cases[case.id]
