"""What an entry about a checkpoint makes of the case that waits at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openclaw_dagster.store.canonical import plain
from openclaw_dagster.store.case import Case, StepFact
from openclaw_dagster.store.gates import GateFact

#: In the body of an entry: until when a skip holds that was looked at, and whose policy does not apply any more.
UNUSED = "unused_skip"


def standing(case: Case, body: Mapping[str, Any]) -> GateFact:
    """Return the request that an entry is about."""
    return case.facts.gates[body["step"]]


def gate(case: Case, body: Mapping[str, Any], now: GateFact) -> Case:
    """Return the case with the request of an entry's step as it is now."""
    return replace(case, facts=replace(case.facts, gates={**case.facts.gates, body["step"]: now}))


def used(case: Case, body: Mapping[str, Any]) -> Case:
    """Bind the clearance of a step to the effect that was begun under it: it is good for no other."""
    found = case.facts.gates.get(body["step"])
    return gate(case, body, replace(found, key=body["key"])) if found else case


def asks(case: Case, body: Mapping[str, Any], at: int) -> Case:
    """Let a case wait at a checkpoint; one that was answered meanwhile, or may be left out since then, is due at once."""
    step = body["step"]
    found = case.facts.gates[step]
    if not found.open or (_left_out(case, step, at) and case.facts.skips[step].until != body.get(UNUSED)):
        return replace(case, state="open", due_at=at, claim=None, reason=None)
    reason = plain(f"{step} waits for {' or '.join(found.roles)}")
    return replace(case, state="awaiting_human", due_at=found.due_at, claim=None, reason=reason)


def wakes(case: Case, step: str, at: int) -> Case:
    """Make a case due that waits at a checkpoint which has been settled, or left out."""
    found = case.facts.gates.get(step)
    if case.state != "awaiting_human" or found is None:
        return case
    if found.open and not _left_out(case, step, at):
        return case
    return replace(case, state="open", due_at=at, reason=None)


def _left_out(case: Case, step: str, at: int) -> bool:
    return step in case.facts.skips and at < case.facts.skips[step].until


def over(case: Case, *steps: str) -> Case:
    """End the open requests of some steps, or of all: nobody has to answer them any more."""
    gates = case.facts.gates
    ended = {name for name, one in gates.items() if one.open and (not steps or name in steps)}
    if not ended:
        return case
    now = {name: replace(one, state="cancelled") if name in ended else one for name, one in gates.items()}
    return replace(case, facts=replace(case.facts, gates=now))


def anew(gates: Mapping[str, GateFact], steps: Mapping[str, StepFact]) -> dict[str, GateFact]:
    """Return the requests of a case that is redriven: a clearance was for what was about to run then."""
    settled = {
        name for name, one in steps.items() if one.state in ("completed", "skipped", "unknown", "begun")
    }
    return {name: one if name in settled else replace(one, state="voided") for name, one in gates.items()}
