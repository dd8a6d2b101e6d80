"""One decision for every case of a batch that has to make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openclaw_dagster import telemetry
from openclaw_dagster.adapters.outcome import Failed
from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.runtime.scope import MissingInput, SourceTrouble, inputs
from openclaw_dagster.spec.model import Decision, Retries
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival

#: A decision whose source does not answer waits like a step that says nothing about retries.
RETRIES = Retries()


def decide(batch: Batch, cases: Sequence[Case], name: str) -> None:
    """Make the decision for each case and write all of it as one commit; trouble stays with its own case."""
    entries: dict[str, list[Entry]] = {}
    emitted: dict[str, list[Arrival]] = {}
    for case in cases:
        decision = batch.system(case).decision(name)
        with telemetry.span("claw.decision", _named(case, name), parent=batch.parent(case)):
            entry = _entry(batch, case, decision)
        entries[case.id] = [entry]
        if entry.kind is Kind.DECIDED and decision.emits:
            payload = batch.payload(case)
            emitted[case.id] = [intake.emitted(batch.shop, case, decision.emits, payload, entry.body["output"])]
    point("decision.made")
    batch.write(entries, emitted)
    point("decision.recorded")


def _entry(batch: Batch, case: Case, decision: Decision) -> Entry:
    system = batch.system(case)
    try:
        given = inputs(batch.shop, system, decision, case, batch.payload(case))
        policy = batch.shop.policy(system, decision)
        verdict = policy.decide(given)
    except SourceTrouble as trouble:
        return _later(batch, case, decision, trouble.outcome, str(trouble))
    except (MissingInput, ClawError) as error:
        return failed(decision.name, str(error), attempts=1)
    body: dict[str, Any] = {
        "decision": decision.name, "inputs": given, "policy": policy.digest, "spec": case.digest,
        "output": dict(verdict.output), "reason": verdict.reason,
    }  # fmt: skip
    if decision.emits:
        body["emits"] = decision.emits
    return Entry(Kind.DECIDED, body)


def _later(batch: Batch, case: Case, decision: Decision, outcome: Failed, error: str) -> Entry:
    tried = case.facts.steps[decision.name].attempt if decision.name in case.facts.steps else 0
    if tried >= RETRIES.max:
        return failed(decision.name, error, attempts=tried + 1)
    due = batch.shop.clock.now() + wait(RETRIES, tried + 1, outcome.retry_after)
    return Entry(Kind.RETRY, {"step": decision.name, "attempt": tried + 1, "error": error, "due_at": due})


def failed(stage: str, error: str, *, attempts: int, step: str = "") -> Entry:
    """Return the entry that says that a stage failed for good."""
    return Entry(Kind.FAILED, {"stage": stage, "step": step, "error": error, "attempts": attempts})


def _named(case: Case, name: str) -> Mapping[str, str]:
    return {"claw.system": case.system, "claw.case": case.id, "claw.node": name, "claw.spec": case.digest[:12]}
