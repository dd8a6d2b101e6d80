"""The tags by which runs and cases find each other."""

from __future__ import annotations

from openclaw_dagster.store.ledger import Claim

CLAIM = "claw/claim"
SYSTEM = "claw/system"
CASE = "claw/case"
CASES = "claw/cases"
TRIGGER = "claw/trigger"
SPEC = "claw/spec"
LAUNCHED_BY = "claw/launched_by"


def run_tags(claim: Claim) -> dict[str, str]:
    """Return the tags of the run that is to move a claim's cases."""
    tags = {CLAIM: claim.id, SYSTEM: claim.system}
    first = claim.cases[0]
    if len(claim.cases) == 1:
        tags[CASE] = first.id
    else:
        tags[CASES] = str(len(claim.cases))
    tags[TRIGGER] = _common({case.trigger for case in claim.cases})
    tags[SPEC] = _common({case.digest[:12] for case in claim.cases})
    if any(case.rank == 0 for case in claim.cases):
        tags["dagster/priority"] = "10"
    if first.facts.first_run and len(claim.cases) == 1:
        # a case that goes on after a wait: the UI shows its runs as one group
        tags["dagster/root_run_id"] = first.facts.first_run
        tags["dagster/parent_run_id"] = first.run_id or first.facts.first_run
    return tags


def _common(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else "several"
