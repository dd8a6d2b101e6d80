"""The YAML files beside the systems: environments and adapter contracts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from openclaw_dagster.spec.build import build
from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.folder import DiskFolder, NoFile
from openclaw_dagster.spec.reader import Node, read
from openclaw_dagster.spec.roles import check_people
from openclaw_dagster.spec.runbooks import ADAPTER

M = TypeVar("M", bound=BaseModel)


def load_environment(path: Path) -> Environment:
    """Read `environments/NAME.yaml`; SpecRefused with every problem when it is not right."""
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        findings = Findings(str(path))
        problem = f"there is no environment {path.stem!r}"
        findings.add(Mark(), "CLAW020", problem, allowed=known, said=path.stem)
        raise findings.refusal()
    return _load(path, Environment, check_people)


def load_contracts(folders: tuple[Path, ...]) -> dict[str, Contract]:
    """Read every `NAME.yaml` of the folders, the later folder winning; SpecRefused when one is not right."""
    paths = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    for path in paths:
        if path.stem == ADAPTER:
            findings = Findings(str(path))
            findings.add(
                Mark(), "CLAW016", f"{ADAPTER} is what systems are begun by: call the adapter otherwise"
            )
            raise findings.refusal()
    return {path.stem: _load(path, Contract) for path in paths}


def _load(path: Path, model: type[M], check: Callable[[Findings, Node, M], None] | None = None) -> M:
    findings = Findings(str(path))
    made: M | None = None
    try:
        node = read(DiskFolder(path.parent).read(path.name), findings)
    except NoFile as error:
        findings.add(Mark(), "CLAW020", str(error))
        node = None
    if node is not None and not isinstance(node.value, dict):
        findings.add(node.mark, "CLAW014", "the file is a mapping")
    elif node is not None:
        made = build(model, node, findings)
        if made is not None and check is not None:
            check(findings, node, made)
    if made is None or findings.found:
        raise findings.refusal()
    return made
