"""Looks at what is true outside, and starts a case when it becomes so."""

from __future__ import annotations

from dataclasses import dataclass

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.clock import iso, span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.scope import SOURCE_TIMEOUT, operation
from openclaw_dagster.runtime.trouble import said
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.expressions import compile_expression
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import ConditionTrigger
from openclaw_dagster.store.conditions import Seen
from openclaw_dagster.store.events import Arrival, Receipt

#: Looks that may fail in a row before it is not known any more whether the condition was true all along.
MISSED = 3


@dataclass(frozen=True)
class Started:
    """It has become true, and this is the receipt of the event that starts the case."""

    receipt: Receipt


@dataclass(frozen=True)
class Quiet:
    """Nothing starts; `why` says what was seen."""

    why: str


def look(shop: Workspace, system: System, trigger: ConditionTrigger) -> Started | Quiet:
    """Ask once, and start a case when the condition has become true for as long as it must be."""
    outcome = _read(shop, system, trigger)
    match outcome:
        case Answered(result):
            value = result
        case Absent():
            value = None
        case Failed(reason) | Refused(reason) | Unknown(reason):
            return Quiet(f"{trigger.read} does not say: {said(trigger.read, reason)}")
    try:
        true = compile_expression(trigger.when).test({"value": value})
    except ClawError as error:
        return Quiet(f"{trigger.when} has no value: {error}")

    def told(since: int) -> Arrival:
        about = {"trigger": trigger.name, "value": value, "since": iso(since), "at": iso(shop.clock.now())}
        return arrival(system, trigger, {"condition": about}, iso(since))

    seen = Seen(system.name, trigger.name, true)
    receipt = shop.ledger.condition(seen, hold=trigger.hold, gap=MISSED * trigger.every, told=told)
    if receipt is not None:
        return Started(receipt)
    if not true:
        return Quiet(f"{trigger.when} is false")
    return Quiet(
        f"{trigger.when} is true, and either not for {span(trigger.hold)} yet or a case has started since"
    )


def _read(shop: Workspace, system: System, trigger: ConditionTrigger) -> Outcome:
    asked = operation(shop, system, trigger.read)
    key = f"{system.name}:{trigger.name}:{shop.clock.now()}"
    try:
        return shop.adapters.call(Call(trigger.read, asked, dict(trigger.arguments), key, SOURCE_TIMEOUT))
    except ClawError as error:
        return Refused(str(error))
