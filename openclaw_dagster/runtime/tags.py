"""The tags by which runs and cases find each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from openclaw_dagster.store.ledger import Claim

CLAIM = "claw/claim"
SYSTEM = "claw/system"
CASE = "claw/case"
CASES = "claw/cases"
TRIGGER = "claw/trigger"
SPEC = "claw/spec"
WAITING = "claw/waiting"
LAUNCHED_BY = "claw/launched_by"
CRITICAL = "claw/critical"
PRIORITY = "dagster/priority"
#: What the tags of a run say of its cases, so that a run's cases decide about them.
OF_CASES = frozenset({CASE, CASES, TRIGGER, SPEC})


class Carried(Protocol):
    """What the tags of a run tell of a case."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def trigger(self) -> str:
        """What began it."""

    @property
    def digest(self) -> str:
        """The version of its system."""

    @property
    def rank(self) -> int:
        """0 for a critical one."""


class Load(Protocol):
    """Cases of one system that a run carries, or would."""

    @property
    def id(self) -> str:
        """Their claim."""

    @property
    def system(self) -> str:
        """Their system."""

    @property
    def cases(self) -> Sequence[Carried]:
        """One at least."""


def run_tags(load: Load) -> dict[str, str]:
    """Return the tags of the run that is to move a claim's cases."""
    tags = {CLAIM: load.id, SYSTEM: load.system}
    first = load.cases[0]
    if len(load.cases) == 1:
        tags[CASE] = first.id
    else:
        tags[CASES] = str(len(load.cases))
    tags[TRIGGER] = _common({case.trigger for case in load.cases})
    tags[SPEC] = _common({case.digest[:12] for case in load.cases})
    critical = any(case.rank == 0 for case in load.cases)
    tags[CRITICAL] = "true" if critical else "false"
    if critical:
        tags[PRIORITY] = "10"
    return tags


def lineage(claim: Claim) -> dict[str, str]:
    """Return the tags by which the UI groups the runs of one case that went on after a wait."""
    first = claim.cases[0].facts.first_run
    if len(claim.cases) > 1 or not first:
        return {}
    return {"dagster/root_run_id": first, "dagster/parent_run_id": first}


def _common(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else "several"
