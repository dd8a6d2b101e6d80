"""The contracts that come with the package: carrier, oms, erp, crm."""

from __future__ import annotations

import json
from importlib.resources import files

from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.diagnostics import Findings, SpecRefused
from openclaw_dagster.spec.reader import read


def shipped_contracts() -> dict[str, Contract]:
    """Return the package's own contracts by adapter name; a project's file of the same name replaces one."""
    folder = files("openclaw_dagster.adapters") / "contracts"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): parse_contract(name, (folder / name).read_bytes()) for name in names}


def parse_contract(file: str, data: bytes) -> Contract:
    """Return the contract in a YAML file; SpecRefused when it cannot be read, else ValidationError."""
    findings = Findings(file)
    root, text = read(data, findings)
    if root is None or findings.found:
        raise SpecRefused.of(file, findings.sorted(), {file: text})
    # Through JSON, because strict models take lists for tuples only from there.
    return Contract.model_validate_json(json.dumps(root.plain()))
