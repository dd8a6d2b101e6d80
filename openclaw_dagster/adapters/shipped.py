"""The contracts that come with the package: carrier, oms, erp, crm."""

from __future__ import annotations

from pathlib import Path

from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.surroundings import load_contracts

FOLDER = Path(__file__).parent / "contracts"


def shipped_contracts() -> dict[str, Contract]:
    """Return the package's own contracts by adapter name; a project's file of the same name replaces one."""
    return load_contracts((FOLDER,))
