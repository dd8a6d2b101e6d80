"""The YAML files beside the systems: environments and adapter contracts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from openclaw_dagster.spec.build import build
from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.diagnostics import Findings, Mark, SpecRefused
from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.reader import read

M = TypeVar("M", bound=BaseModel)


def load_environment(path: Path) -> Environment:
    """Read `environments/NAME.yaml`; SpecRefused with every problem when it is not right."""
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        findings = Findings(str(path))
        findings.add(Mark(), "CLAW020", f"there is no environment {path.stem!r}", allowed=known, said=path.stem)
        raise SpecRefused.of(str(path), findings.sorted(), {})
    return _load(path, Environment)


def load_contracts(folders: tuple[Path, ...]) -> dict[str, Contract]:
    """Read every `NAME.yaml` of the folders, the later folder winning; SpecRefused when one is not right."""
    found: dict[str, Contract] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            found[path.stem] = _load(path, Contract)
    return found


def _load(path: Path, model: type[M]) -> M:
    findings = Findings(str(path))
    node, text = read(path.read_bytes(), findings)
    made: M | None = None
    if node is not None and not isinstance(node.value, dict):
        findings.add(node.mark, "CLAW014", "the file is a mapping")
    elif node is not None:
        made = build(model, node, findings, block="file")
    if made is None or findings.found:
        raise SpecRefused.of(str(path), findings.sorted(), {str(path): text})
    return made
