"""How events come in, whatever the door: webhook, schedule, person, or another case."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from openclaw_dagster.clock import iso
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.trouble import mistake, short
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.expressions import ExpressionFailed, compile_expression
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import (
    ConditionTrigger,
    EventTrigger,
    QueueTrigger,
    ScheduleTrigger,
    Trigger,
)
from openclaw_dagster.store.case import Case, Origin
from openclaw_dagster.store.events import Arrival, Event, Opening

if TYPE_CHECKING:
    from openclaw_dagster.runtime.batch import Batch

#: The one key of the payload of a message that could not be read.
POISON = "$poison"

log = logging.getLogger(__name__)

Payload = Mapping[str, Any]


class ConditionFailed(ClawError):
    """The condition of {trigger} has no value for this payload: {cause}"""

    code = "CLAW420"


def arrival(
    system: System,
    trigger: Trigger,
    payload: Mapping[str, Any],
    key: str,
    *,
    traceparent: str | None = None,
    requester: str = "",
) -> Arrival:
    """Return the event of a trigger, ready for the log; ConditionFailed when its `when` has no value.

    `requester` is who asked for it where the payload does not say so: whoever began it by hand.
    """
    opened = opening(system, trigger, payload, key)
    opened = replace(opened, requester=requester) if requester else opened
    return Arrival(
        system=system.name, name=trigger.name, source=trigger.source, key=key, payload=payload,
        retention=system.data.events.retention, openings=(opened,), traceparent=traceparent,
    )  # fmt: skip


def called(
    system: System, trigger: Trigger, payload: Payload, key: str, *, origin: Origin, requester: str, rank: int,
    traceparent: str | None = None,
) -> Arrival:  # fmt: skip
    """Return the event by which a step of another case starts a runbook; it has no other door than its trigger's."""
    opened = _opening(system, trigger, key, opens=True, requester=requester)
    opened = replace(opened, origin=origin, rank=min(rank, opened.rank), window=None)
    return Arrival(
        system=system.name, name=trigger.name, source="runbook", key=key, payload=payload,
        retention=system.data.events.retention, openings=(opened,), traceparent=traceparent,
    )  # fmt: skip


def tick(trigger: ScheduleTrigger, moment: int) -> tuple[dict[str, Any], str]:
    """Return the payload of a trigger's moment (ms since 1970) of the clock, and the key of its event."""
    at = datetime.fromtimestamp(moment / 1000, tz=UTC)
    said = at.isoformat(timespec="seconds").replace("+00:00", "Z")
    local = at.astimezone(ZoneInfo(trigger.timezone)).isoformat()
    return {"tick": {"trigger": trigger.name, "at": said, "local": local}}, said


def poison(system: System, trigger: Trigger, key: str, why: str, text: str) -> Arrival:
    """Return the event of a message that cannot be read: its case fails at its trigger, and is kept with the reason."""
    return Arrival(
        system=system.name, name=trigger.name, source=trigger.source, key=f"poison:{key}",
        payload={POISON: {"why": short(why), "text": text}}, retention=system.data.events.retention,
        openings=(_opening(system, trigger, f"poison:{key}", opens=True),),
    )  # fmt: skip


def poisonous(event: Event) -> str | None:
    """Return why an event cannot be handled at all, or None for one that can."""
    said = (event.payload or {}).get(POISON) if event.source == "queue" else None
    return f"the message cannot be read: {said['why']}" if isinstance(said, dict) and "why" in said else None


def opening(system: System, trigger: Trigger, payload: Mapping[str, Any], key: str) -> Opening:
    """Return the case that the event opens, or the note that it opens none because the condition is false."""
    who = requester_of(trigger, payload)
    return _opening(system, trigger, key, opens=holds(system, trigger, payload), requester=who)


def requester_of(trigger: Trigger, payload: Mapping[str, Any]) -> str:
    """Return who asked for what an event wants, where its trigger says where that stands; else nobody."""
    path = getattr(trigger, "requester", None)
    value: Any = payload
    for part in path.split(".") if path else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return str(value) if path and isinstance(value, str | int) else ""


def still_asked_by(case: Case, trigger: Trigger, event: Event | None) -> str:
    """Return who asked for what a case does, as its trigger says it now; whoever began it by hand stays who they are."""
    said = requester_of(trigger, (event.payload if event else None) or {})
    by_hand = event is not None and event.source in ("manual", "runbook")
    return said or (case.facts.requester if by_hand or not getattr(trigger, "requester", None) else "")


def _opening(system: System, trigger: Trigger, key: str, *, opens: bool, requester: str = "") -> Opening:
    idempotency = getattr(trigger, "idempotency", None)
    return Opening(
        system=system.name, trigger=trigger.name, key=key, digest=system.digest, opens=opens,
        rank=0 if trigger.critical else 1, window=idempotency.window if idempotency else None,
        requester=requester, keep=system.data.events.retention,
    )  # fmt: skip


def holds(system: System, trigger: Trigger, payload: Mapping[str, Any]) -> bool:
    """Tell whether a trigger's `when` lets the payload in; ConditionFailed when it has no value."""
    when = getattr(trigger, "when", None)
    if when is None or isinstance(trigger, ConditionTrigger):  # that one was asked before there was an event
        return True
    try:
        return compile_expression(when).test({**payload, "payload": dict(payload)})
    except ExpressionFailed as error:
        raise ConditionFailed(trigger=f"{system.name}.{trigger.name}", cause=str(error)) from error


def emitted(batch: Batch, case: Case, event: str, output: Any, stage: str, generation: int = 1) -> Arrival:
    """Return the event that a stage of a case emits, with the cases it opens in systems that listen."""
    return announce(
        batch.shop,
        case,
        event,
        batch.payload(case),
        output,
        stage,
        generation,
        traceparent=batch.parent(case),
    )


def announce(
    shop: Workspace,
    case: Case,
    event: str,
    payload: Mapping[str, Any],
    output: Any,
    stage: str,
    generation: int = 1,
    *,
    traceparent: str | None = None,
) -> Arrival:
    """Return the event that a stage of a case emits; it opens one case per listener and generation."""
    name = f"{case.system}.{event}"
    about = {"name": name, "case": case.id, "key": case.key, "at": iso(shop.clock.now()), "output": output}
    told = {**payload, "event": about}
    key = f"{case.id}:{stage}:{event}:{generation}"
    system = shop.version(case.digest)
    return Arrival(
        system=case.system, name=event, source="emitted", key=key, payload=told,
        retention=system.data.events.retention, case_id=case.id, traceparent=traceparent,
        openings=tuple(_heard(one, trigger, told, key, case) for one, trigger in shop.listeners(name)),
    )  # fmt: skip


def closed(batch: Batch, case: Case, outcome: str, record: Payload) -> Arrival:
    """Return the event that a case has ended, with its completion record, and the cases it opens elsewhere."""
    output = {
        "outcome": outcome,
        **record,
        "journal": f"{batch.shop.settings.public_url}/claw/cases/{case.id}",
    }
    return emitted(batch, case, f"case_{outcome}", output, "close", case.redrives + 1)


def announce_answer(shop: Workspace, case: Case, said: Payload) -> Arrival:
    """Return the event that a person has answered a checkpoint."""
    return Arrival(
        system=case.system, name=f"{said['step']}.answered", source="approval",
        key=f"{case.id}:{said['step']}:{said['request']}:{said['person']}", payload=dict(said),
        retention=shop.version(case.digest).data.events.retention, case_id=case.id,
    )  # fmt: skip


def buried(batch: Batch, case: Case, queue: str, about: Payload) -> list[Arrival]:
    """Return the event that a case went to the dead letters of a queue, when a system listens to that queue."""
    listening = [
        (system, trigger)
        for system in batch.shop.known.values()
        for trigger in system.triggers
        if isinstance(trigger, QueueTrigger) and trigger.queue == queue and system.name != case.system
    ]
    if not listening:
        return []
    letter = {
        **about,
        "case": case.id,
        "key": case.key,
        "system": case.system,
        "at": iso(batch.shop.clock.now()),
    }
    told = {"dead_letter": letter, "payload": dict(batch.payload(case))}
    key = f"{case.id}:dead:{case.redrives + 1}"
    return [
        Arrival(
            system=case.system, name="case.dead_lettered", source="emitted", key=key, payload=told,
            retention=batch.system(case).data.events.retention, case_id=case.id, traceparent=batch.parent(case),
            openings=tuple(_heard(system, trigger, told, key, case) for system, trigger in listening),
        )
    ]  # fmt: skip


def _heard(
    system: System, trigger: EventTrigger | QueueTrigger, told: Mapping[str, Any], key: str, case: Case
) -> Opening:
    """Return what a listener makes of an event.

    A condition without a value must not stop the case that emits, and must not be taken for false either: the
    listener's case is opened, fails at its trigger before anything is done, and waits among the dead letters.
    """
    try:
        return opening(system, trigger, told, key)
    except ConditionFailed as error:
        log.error("case %s emitted what %s.%s cannot judge: %s", case.id, system.name, trigger.name, error)
    except Exception as error:
        mistake(case.id, f"the condition of {system.name}.{trigger.name}", error)
    return _opening(system, trigger, key, opens=True)
