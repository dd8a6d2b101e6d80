"""Calls to the outside as the runtime makes them: nothing that goes wrong in one gets past here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openclaw_dagster import telemetry
from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Outcome, Refused, unclear
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.trouble import mistake
from openclaw_dagster.spec.contracts import Operation
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case


def call(batch: Batch, case: Case, step: Step, what: Call) -> Outcome:
    """Make one call for a step of a case; whatever happens is an outcome."""
    names = {
        "claw.system": case.system,
        "claw.case": case.id,
        "claw.node": step.name,
        "claw.action": what.action,
    }
    try:
        with telemetry.span("claw.step", names, parent=batch.parent(case)):
            parent = telemetry.traceparent() or batch.parent(case)
            return batch.shop.adapters.call(replace(what, traceparent=parent))
    except ClawError as error:  # nothing stands behind the action in this environment
        return Refused(str(error))
    except Exception as error:
        return unclear(what.operation.effect, mistake(case.id, what.action, error))


def verify_action(step: Step, operation: Operation) -> str | None:
    """Return the action that tells whether a step's write took place, if there is one."""
    if step.unknown_outcome is not None:
        return step.unknown_outcome.verify
    return f"{step.action.split('.')[0]}.{operation.verify}" if operation.verify else None


def fitting(args: Mapping[str, Any], operation: Operation) -> dict[str, Any]:
    """Return the arguments an operation takes, out of more; all of them when its contract does not say."""
    known = (operation.input or {}).get("properties")
    return {name: value for name, value in args.items() if known is None or name in known}
