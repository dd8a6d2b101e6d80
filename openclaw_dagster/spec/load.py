"""A path in, a System out, or everything that is wrong with it at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openclaw_dagster.spec.checks import check
from openclaw_dagster.spec.contracts import Catalog, Operation
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.digest import digest_of
from openclaw_dagster.spec.draft import Draft, PolicyCheck
from openclaw_dagster.spec.folder import BundleFolder, DiskFolder, Folder, NoFile
from openclaw_dagster.spec.layers import read_layers
from openclaw_dagster.spec.model import Stage, System
from openclaw_dagster.spec.reader import Node, read
from openclaw_dagster.spec.runbooks import OPERATION

__all__ = ["bundle_of", "digest_of", "load", "load_bundle"]


def load(path: Path, catalog: Catalog, check_policy: PolicyCheck) -> System:
    """Read and check the `.claw` file at `path`; SpecRefused with every problem when it is not right."""
    return _load(DiskFolder(path.parent), path.name, str(path), catalog, check_policy)


def load_bundle(bundle: dict[str, Any], check_policy: PolicyCheck) -> System:
    """Bring back a system from what `bundle_of` kept of it."""
    kept = bundle["operations"]
    catalog = {name: Operation.model_validate_json(json.dumps(body)) for name, body in kept.items()}
    folder = BundleFolder(bundle["files"])
    return _load(folder, bundle["path"], bundle["path"], catalog, check_policy, kept=True)


def bundle_of(system: System) -> dict[str, Any]:
    """Return all that is needed to load this very system again, wherever its files have gone."""
    operations = {n: op.model_dump(mode="json", exclude_none=True) for n, op in system.operations.items()}
    return {"path": system.path, "files": dict(system.files), "operations": operations}


def _load(
    folder: Folder,
    name: str,
    shown: str,
    catalog: Catalog,
    check_policy: PolicyCheck,
    *,
    kept: bool = False,
) -> System:
    findings = Findings(shown)
    draft = _draft(folder, name, findings, catalog, check_policy, kept=kept)
    stages = check(draft) if draft is not None else ()
    if draft is None or findings.found:
        raise findings.refusal()
    return _system(draft, stages, name)


def _draft(
    folder: Folder,
    name: str,
    findings: Findings,
    catalog: Catalog,
    check_policy: PolicyCheck,
    *,
    kept: bool,
) -> Draft | None:
    try:
        root = read(folder.read(name), findings)
    except NoFile as error:
        findings.add(Mark(), "CLAW020", str(error))
        return None
    if root is None:
        return None
    if not isinstance(root.value, dict):
        findings.add(root.mark, "CLAW014", _not_a_system(root))
        return None
    draft = Draft(root, findings, folder, catalog, check_policy, kept=kept, files={name: findings.source})
    read_layers(draft)
    runbooks = {step.action: OPERATION for step in draft.steps if step.runbook}
    draft.catalog = {**draft.catalog, **runbooks} if runbooks else draft.catalog
    return draft


def _not_a_system(root: Node) -> str:
    kind = "a list" if isinstance(root.value, list) else "empty" if root.value is None else "one value"
    return f"the file is {kind}; a system is a mapping that begins with 'system: name'"


def _system(draft: Draft, stages: tuple[Stage, ...], path: str) -> System:
    assert draft.data is not None
    assert draft.observability is not None
    system = System(
        name=draft.name,
        version=draft.version,
        owner=draft.owner,
        batch=draft.batch,
        triggers=draft.triggers,
        decisions=tuple(d.model_copy(update={"on": draft.starts(d)}) for d in draft.decisions),
        execution=draft.steps,
        data=draft.data,
        observability=draft.observability,
        skip_policies=draft.skip_policies,
        scenarios=draft.scenarios,
        fixtures=draft.fixtures,
        stages=stages,
        operations={name: draft.catalog[name] for name in _actions(draft)},
        files=draft.files,
        path=path,
        digest="",
    )
    return system.model_copy(update={"digest": digest_of(system)})


def _actions(draft: Draft) -> list[str]:
    """Return every action the system may call: those it names, and the partners that those name."""
    used = {step.action for step in draft.steps}
    used |= {source.read for source in draft.data.sources} if draft.data else set()
    used |= {step.undo for step in draft.steps if step.undo}
    used |= {step.unknown_outcome.verify for step in draft.steps if step.unknown_outcome}
    for name in list(used):
        operation = draft.catalog[name]
        adapter = name.split(".")[0]
        used |= {f"{adapter}.{partner}" for partner in (operation.verify, operation.undo) if partner}
    return sorted(name for name in used if name in draft.catalog)
