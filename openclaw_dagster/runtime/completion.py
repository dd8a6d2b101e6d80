"""The completion record: what was decided, what was done, who cleared what, and what is left for whom."""

from __future__ import annotations

from typing import Any

from openclaw_dagster.spec.model import System
from openclaw_dagster.store.case import Case

#: How long (ms) the owner has for what a case leaves behind, where nothing says otherwise.
LEFT_FOR = 24 * 3_600_000


def completion(system: System, case: Case) -> dict[str, Any]:
    """Return the record of a case as it ends."""
    names = [step.name for step in system.execution if step.name in case.facts.steps]
    facts = {name: case.facts.steps[name] for name in names}
    record: dict[str, Any] = {
        "decisions": {
            name: made.output.get("branch", made.reason) for name, made in case.facts.decisions.items()
        },
        "steps": {name: fact.state for name, fact in facts.items()},
        "effects": [fact.key for fact in facts.values() if fact.key and fact.state == "completed"],
    }
    if begun := {name: [one.case for one in fact.branches] for name, fact in facts.items() if fact.branches}:
        record["cases"] = begun
    if case.facts.gates:
        record["clearances"] = {
            name: {
                "state": gate.state,
                "by": [one["person"] for one in gate.answers],
                "request": gate.request,
            }
            for name, gate in case.facts.gates.items()
        }
    if case.facts.touches:
        record["touches"] = case.facts.touches
    return record


def residual(system: System, case: Case, now: int) -> list[dict[str, Any]]:
    """Return what a case leaves for people to do, each with the role that owns it and when (ms) it is due."""
    left: list[dict[str, Any]] = []

    def leave(what: str, step: str, owner: str | None, due_at: int) -> None:
        left.append({"action": what, "step": step, "owner": owner, "due_at": due_at})

    for name, gate in case.facts.gates.items():
        due = gate.deadline_at or now + LEFT_FOR
        if gate.state == "expired" and gate.kind == "acknowledge":
            leave(f"acknowledge {name}: nobody did in time", name, gate.roles[0], due)
        elif gate.state == "expired":
            leave(f"decide {name}: nobody answered in time", name, system.owner, due)
        elif gate.state == "denied":
            leave(
                f"decide what takes the place of {name}, which was denied", name, system.owner, now + LEFT_FOR
            )
    for name, fact in case.facts.steps.items():
        skip = case.facts.skips.get(name)
        if fact.state == "stuck":
            leave(f"take back {name} by hand: {fact.error}", name, system.owner, now + LEFT_FOR)
        elif fact.state == "skipped" and skip is not None:
            leave(f"make up for {name}, left out under {skip.policy}", name, system.owner, skip.until)
    return left
