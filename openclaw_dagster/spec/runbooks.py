"""Runbooks inside runbooks: the actions `runbook.NAME`, each of which starts a case of the system of that name."""

from __future__ import annotations

from openclaw_dagster.spec.contracts import Operation

#: The adapter that no file describes: its operations are the systems of the folder.
ADAPTER = "runbook"
#: The contract of each of its actions; what its cases may break is said by their own steps.
OPERATION = Operation(effect="write", summary="Starts a case of another system and waits until it has ended.")


def runbook_of(action: str) -> str | None:
    """Return the system that an action starts a case of, or None for an action of an adapter."""
    adapter, _, name = action.partition(".")
    return name if adapter == ADAPTER else None
