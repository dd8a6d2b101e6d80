"""A step's checkpoint: what is asked and shown, who is reminded, and whether the step may go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.people import members, places
from openclaw_dagster.runtime.trouble import failed
from openclaw_dagster.spec.gates import Checkpoint
from openclaw_dagster.spec.model import Step
from openclaw_dagster.spec.runbooks import runbook_of
from openclaw_dagster.store.canonical import dumps, sha256
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.gates import GateFact
from openclaw_dagster.store.waiting import UNUSED

#: How often people are reminded of one request: whoever has not come by then is not brought by one more.
MOST_REMINDERS = 12
#: Entries after which a case rests at its checkpoint.
ASKS = frozenset({Kind.ASKED, Kind.REMINDED, Kind.ESCALATED, Kind.WAITS})


@dataclass(frozen=True)
class Cleared:
    """The step may go on, once, exactly as it was shown: under this digest."""

    digest: str


@dataclass(frozen=True)
class Waits:
    """The step may not go on; the entries say why, and what happens meanwhile."""

    entries: tuple[Entry, ...]


def gate(batch: Batch, case: Case, step: Step, call: Call, read: Mapping[str, Any]) -> Cleared | Waits:
    """Decide the one question whether a step with a checkpoint may make its call now.

    `read` are the values that were read from sources for this call: they are part of what was cleared.
    """
    found = _gate(batch, case, step, call, read)
    skip = case.facts.skips.get(step.name)
    if isinstance(found, Cleared) or skip is None:
        return found
    # that skip was looked at before this: the case does not come back for it until there is another one
    seen = {UNUSED: skip.until}
    return Waits(
        tuple(replace(one, body={**one.body, **seen}) if one.kind in ASKS else one for one in found.entries)
    )


def _gate(batch: Batch, case: Case, step: Step, call: Call, read: Mapping[str, Any]) -> Cleared | Waits:
    assert step.checkpoint is not None
    standing = case.facts.gates.get(step.name)
    if (nobody := _requester_missing(batch, case)) is not None:
        return Waits((_stopped(step, nobody),))
    shown = exhibit(batch, case, call, read)
    digest = sha256(dumps(shown))
    if standing is None:
        return Waits((_asked(batch, step, shown, digest, None),))
    if standing.state == "cleared" and standing.key == call.key and _again(case, step, standing, shown):
        return Cleared(standing.digest)  # the effect was begun under it: it is the same call again
    match standing.state:
        case "asked" | "cleared" if (why := _void(batch, standing, digest, call.key)) is not None:
            told = {"step": step.name, "request": standing.request, "why": why}
            return Waits((Entry(Kind.VOIDED, told), _asked(batch, step, shown, digest, standing)))
        case "cleared":
            return Cleared(digest)
        case "asked":
            return Waits(_meanwhile(batch, step, step.checkpoint, standing))
        case "denied":
            last = standing.answers[-1]
            because = f": {last['reason']}" if last["reason"] else ""
            return Waits((_stopped(step, f"{step.name} was denied by {last['person']}{because}"),))
        case "expired":
            return Waits((_stopped(step, f"nobody answered {step.name} in time"),))
        case "voided" | "cancelled":
            return Waits((_asked(batch, step, shown, digest, standing),))
        case _:
            assert_never(standing.state)


def _again(case: Case, step: Step, standing: GateFact, shown: Mapping[str, Any]) -> bool:
    """Tell whether a call that was begun under a clearance goes out again as it was shown, and to the same place.

    Its evidence is not read anew; a call that was begun and never made is looked at as a whole, like a first one.
    """
    fact = case.facts.steps[step.name]
    if fact.state in ("waiting", "held") and not fact.attempt:
        return False
    return all(dumps(shown[name]) == dumps(standing.shown[name]) for name in ("action", "args", "target"))


def _void(batch: Batch, standing: GateFact, digest: str, key: str) -> str | None:
    """Return why the answers given so far count no more for what would run now, None while they do."""
    if standing.digest != digest or standing.key not in ("", key):
        return "what would run now is not what was shown"
    may = {one["person"] for one in standing.answers} & set(members(batch.shop.environment, standing.roles))
    if standing.state == "cleared" and len(may) < standing.quorum:
        return "who cleared it may not do so any more"
    return None


def _requester_missing(batch: Batch, case: Case) -> str | None:
    """Return why nobody can be asked: who asked for it may never answer, and the event does not say who it was."""
    trigger = next((one for one in batch.system(case).triggers if one.name == case.trigger), None)
    path = getattr(trigger, "requester", None)
    if not path or case.facts.requester:
        return None
    return f"its event does not say who asked for it: {path} is missing, so nobody could be kept from clearing it"


def exhibit(batch: Batch, case: Case, call: Call, read: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people are shown before they answer, and what their answer is bound to."""
    target = _target(batch, call.action)
    decisions = {
        name: {"output": dict(made.output), "reason": made.reason}
        for name, made in case.facts.decisions.items()
    }
    evidence = {"decisions": decisions, "payload": sha256(dumps(batch.payload(case))), "read": dict(read)}
    return {
        "action": call.action, "target": target, "args": dict(call.args), "evidence": evidence,
        "spec": case.digest,
    }  # fmt: skip


def _target(batch: Batch, action: str) -> dict[str, Any]:
    """Return where an action goes: the binding of its adapter, or the very version of the runbook it starts."""
    if (name := runbook_of(action)) is not None:
        system = batch.shop.known.get(name)
        return {"use": "runbook", "spec": system.digest if system else ""}
    bound = batch.shop.environment.adapters.get(action.partition(".")[0])
    return bound.model_dump(mode="json", include={"use", "url"}) if bound else {}


def _asked(batch: Batch, step: Step, shown: Mapping[str, Any], digest: str, before: GateFact | None) -> Entry:
    asks = step.checkpoint
    assert asks is not None
    now = batch.shop.clock.now()
    return Entry(Kind.ASKED, {
        "step": step.name, "request": before.request + 1 if before else 1, "kind": asks.kind, "digest": digest,
        "roles": list(asks.roles), "quorum": asks.quorum, "shown": dict(shown), "overdue": asks.overdue,
        "deadline_at": now + asks.deadline if asks.deadline is not None else None,
        "remind_at": now + asks.remind if asks.remind is not None else None,
        "changed": difference(before.shown, shown) if before else {},
        "notify": list(places(batch.shop.environment, asks.roles)),
    })  # fmt: skip


def difference(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return what differs between two mappings: each path with its value before and after."""
    found: dict[str, Any] = {}
    for name in sorted({*before, *after}):
        old, new, place = before.get(name), after.get(name), f"{path}{name}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= difference(old, new, f"{place}.")
        elif old != new:
            found[place] = {"before": old, "after": new}
    return found


def _meanwhile(batch: Batch, step: Step, asks: Checkpoint, standing: GateFact) -> tuple[Entry, ...]:
    """Return what becomes of a request that nobody has answered: overdue, a reminder, or it goes on waiting."""
    now = batch.shop.clock.now()
    about = {"step": step.name, "request": standing.request}
    later = now + asks.remind if asks.remind and standing.reminded + 1 < MOST_REMINDERS else None
    if standing.deadline_at is not None and now >= standing.deadline_at:
        if asks.overdue == "deny":
            expired = Entry(Kind.EXPIRED, about)
            return (expired, _stopped(step, f"nobody answered {step.name} in time"))
        if asks.overdue == "escalate" and asks.escalate_to is not None:
            to = [asks.escalate_to]
            notify = list(places(batch.shop.environment, (*standing.roles, *to)))
            return (Entry(Kind.ESCALATED, {**about, "to": to, "remind_at": later, "notify": notify}),)
        notify = list(places(batch.shop.environment, standing.roles))
        told = {**about, "remind_at": later, "deadline_at": None, "overdue": True, "notify": notify}
        return (Entry(Kind.REMINDED, told),)
    if standing.remind_at is not None and now >= standing.remind_at:
        notify = list(places(batch.shop.environment, standing.roles))
        told = {**about, "remind_at": later, "deadline_at": standing.deadline_at, "notify": notify}
        return (Entry(Kind.REMINDED, told),)
    return (Entry(Kind.WAITS, about),)


def _stopped(step: Step, why: str) -> Entry:
    return failed(step.name, why, attempts=0, step=step.name)
