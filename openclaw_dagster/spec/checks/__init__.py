"""The rules across layers: each check looks at the whole draft and adds what it finds.

`names` · `triggers` · `decisions` · `steps` · `data` · `observability`, one file a layer; `gates`: who is asked
before a step; `scenarios`: its tests; `reach`: what leads to what.
"""

from __future__ import annotations

from openclaw_dagster.spec.checks.data import check_data
from openclaw_dagster.spec.checks.decisions import check_decisions
from openclaw_dagster.spec.checks.gates import check_gates
from openclaw_dagster.spec.checks.names import check_names
from openclaw_dagster.spec.checks.observability import check_observability
from openclaw_dagster.spec.checks.reach import check_events, check_reach, order
from openclaw_dagster.spec.checks.scenarios import check_scenarios
from openclaw_dagster.spec.checks.steps import check_steps
from openclaw_dagster.spec.checks.triggers import check_triggers
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.model import Stage


def check(draft: Draft) -> tuple[Stage, ...]:
    """Add everything that is wrong across layers; return the stages in order, which counts if nothing is."""
    check_names(draft)
    check_triggers(draft)
    check_decisions(draft)
    check_steps(draft)
    check_gates(draft)
    check_data(draft)
    check_observability(draft)
    check_scenarios(draft)
    check_events(draft)
    stages = order(draft)
    if not draft.findings.found:
        check_reach(draft, stages)
    return stages
