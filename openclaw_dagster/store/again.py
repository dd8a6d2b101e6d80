"""What is left of a dead letter that people set going again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openclaw_dagster.store import waiting
from openclaw_dagster.store.case import Case, StepFact


def redriven(case: Case, body: Mapping[str, Any], at: int) -> Case:
    """Make a dead letter due again: what failed or was taken back starts anew, what holds stays done."""
    steps = {}
    for name, step in case.facts.steps.items():
        if step.state == "undone":
            steps[name] = StepFact("waiting", generation=step.generation + 1)
        elif step.state == "stuck":  # done once, perhaps taken back: it is asked before it is done again
            steps[name] = replace(step, state="unknown", undo_attempt=0, error="")
        elif step.state in ("failed", "waiting"):
            steps[name] = replace(step, state="waiting", attempt=0, error="")
        elif step.state != "skipped":
            steps[name] = step
    facts = replace(
        case.facts,
        steps=steps,
        failing="",
        why="",
        attempts=0,
        deaths=0,
        gates=waiting.anew(case.facts.gates, steps),
        skips={},
    )
    return replace(
        case,
        state="open",
        due_at=at,
        closed_at=None,
        reason=None,
        facts=facts,
        digest=body["digest"],
        redrives=case.redrives + 1,
    )
