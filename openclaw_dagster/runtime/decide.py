"""One decision for every case of a batch that has to make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openclaw_dagster import telemetry
from openclaw_dagster.errors import ClawError
from openclaw_dagster.faults import point
from openclaw_dagster.runtime import intake
from openclaw_dagster.runtime.batch import Batch, released, side_by_side
from openclaw_dagster.runtime.retry import wait
from openclaw_dagster.runtime.scope import NoTime, SourceTrouble, inputs, reads
from openclaw_dagster.runtime.trouble import failed, mistake, short
from openclaw_dagster.spec.model import Decision, Retries
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.events import Arrival

#: A decision whose source does not answer waits like a step that says nothing about retries.
RETRIES = Retries()
#: How long (ms) a policy may keep a run on a busy machine.
POLICY_TIME = 1_000


def decide(batch: Batch, cases: Sequence[Case], name: str) -> None:
    """Make the decision for each case and write all of it as one commit; trouble stays with its own case."""
    entries: dict[str, list[Entry]] = {}
    emitted: dict[str, list[Arrival]] = {}
    for case, given in zip(cases, _gather(batch, cases, name), strict=True):
        entry = given if isinstance(given, Entry) else _decided(batch, case, name, given, first=not entries)
        entries[case.id] = [entry]
        if entry.kind is Kind.DECIDED and "emits" in entry.body:
            emitted[case.id] = [intake.emitted(batch, case, entry.body["emits"], entry.body["output"], name)]
    point("decision.made")
    batch.write(entries, emitted)
    point("decision.recorded")


def _gather(batch: Batch, cases: Sequence[Case], name: str) -> list[dict[str, Any] | Entry]:
    """Return the inputs of each case, or what is written about it instead; sources are asked side by side."""
    if any(reads(batch.system(case), batch.system(case).decision(name)) for case in cases):
        return side_by_side(lambda case: _given(batch, case, name), cases)
    return [_given(batch, case, name) for case in cases]


def _given(batch: Batch, case: Case, name: str) -> dict[str, Any] | Entry:
    system = batch.system(case)
    decision = system.decision(name)
    try:
        return inputs(
            batch.shop, system, decision, case, batch.payload(case), lambda most: batch.time(case, most)
        )
    except NoTime:
        return released("no time was left to ask the sources")
    except SourceTrouble as trouble:
        return _later(batch, case, decision, str(trouble), trouble.retry_after)
    except DatabaseAway:
        raise
    except ClawError as error:
        return failed(name, str(error), attempts=1)
    except Exception as error:
        return _later(batch, case, decision, mistake(case.id, name, error))


def _decided(batch: Batch, case: Case, name: str, given: dict[str, Any], *, first: bool) -> Entry:
    if not first and batch.time(case, POLICY_TIME) == 0:
        return released("its turn to decide came too late in its run")
    system = batch.system(case)
    decision = system.decision(name)
    try:
        with telemetry.span("claw.decision", _named(case, name), parent=batch.parent(case)):
            policy = batch.shop.policy(system, decision)
            verdict = policy.decide(given)
    except ClawError as error:
        return failed(name, str(error), attempts=1)
    except Exception as error:  # a policy has no effects, so that nothing speaks against another try
        return _later(batch, case, decision, mistake(case.id, name, error))
    body: dict[str, Any] = {
        "decision": decision.name, "inputs": given, "policy": policy.digest, "spec": case.digest,
        "output": dict(verdict.output), "reason": short(verdict.reason),
    }  # fmt: skip
    if decision.emits:
        body["emits"] = decision.emits
    return Entry(Kind.DECIDED, body)


def _later(batch: Batch, case: Case, decision: Decision, error: str, retry_after: int | None = None) -> Entry:
    fact = case.facts.steps.get(decision.name)
    tried = (fact.attempt if fact else 0) + 1
    if tried > RETRIES.max:
        return failed(decision.name, f"{error} ({tried} attempts)", attempts=tried)
    due = batch.shop.clock.now() + wait(RETRIES, tried, retry_after)
    return Entry(Kind.RETRY, {"step": decision.name, "attempt": tried, "error": short(error), "due_at": due})


def _named(case: Case, name: str) -> Mapping[str, str]:
    return {
        "claw.system": case.system,
        "claw.case": case.id,
        "claw.node": name,
        "claw.spec": case.digest[:12],
    }
