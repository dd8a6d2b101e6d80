"""How events come in, whatever the door: webhook, schedule, person, or another case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openclaw_dagster.clock import iso
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.expressions import ExpressionFailed, compile_expression
from openclaw_dagster.spec.model import EventTrigger, System, Trigger
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.events import Arrival, Opening


class ConditionFailed(ClawError):
    """The condition of {trigger} has no value for this payload: {cause}"""

    code = "CLAW320"


def arrival(
    system: System, trigger: Trigger, payload: Mapping[str, Any], key: str, *, traceparent: str | None = None
) -> Arrival:
    """Return the event of a trigger, ready for the log; ConditionFailed when its `when` has no value."""
    return Arrival(
        system=system.name, name=trigger.name, source=trigger.source, key=key, payload=payload,
        retention=system.data.events.retention, openings=(opening(system, trigger, payload, key),), traceparent=traceparent,
    )  # fmt: skip


def opening(system: System, trigger: Trigger, payload: Mapping[str, Any], key: str) -> Opening:
    """Return the case that the event opens, or the note that it opens none because the condition is false."""
    when = getattr(trigger, "when", None)
    opens = True
    if when is not None:
        try:
            opens = compile_expression(when).test({**payload, "payload": dict(payload)})
        except ExpressionFailed as error:
            raise ConditionFailed(trigger=f"{system.name}.{trigger.name}", cause=str(error)) from error
    idempotency = getattr(trigger, "idempotency", None)
    return Opening(
        system=system.name, trigger=trigger.name, key=key, digest=system.digest, rank=0 if trigger.critical else 1,
        window=idempotency.window if idempotency else None, opens=opens,
    )  # fmt: skip


def emitted(shop: Workspace, case: Case, event: str, payload: Mapping[str, Any], output: Any, generation: int = 1) -> Arrival:
    """Return the event that a case emits, with the cases it opens in systems that listen."""
    name = f"{case.system}.{event}"
    told = {**payload, "event": {"name": name, "case": case.id, "key": case.key, "at": iso(shop.clock.now()), "output": output}}
    key = f"{case.id}:{event}:{generation}"
    openings = []
    for system, trigger in shop.listeners(name):
        try:
            openings.append(opening(system, trigger, told, key))
        except ConditionFailed:
            # a listener's broken condition must not stop the case that emits; the listener's own check warned of it
            openings.append(Opening(system.name, trigger.name, key, system.digest, opens=False))
    system = shop.version(case.digest)
    return Arrival(
        system=case.system, name=event, source="emitted", key=key, payload=told, retention=system.data.events.retention,
        openings=tuple(openings), case_id=case.id,
    )  # fmt: skip


def is_listener(trigger: Trigger) -> bool:
    """Tell whether a trigger is started by other systems' events."""
    return isinstance(trigger, EventTrigger)
