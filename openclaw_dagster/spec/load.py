"""A path in, a System out, or everything that is wrong with it at once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from openclaw_dagster.spec.build import build, named_items
from openclaw_dagster.spec.checks import CHECKS
from openclaw_dagster.spec.contracts import Catalog, Frozen, Operation
from openclaw_dagster.spec.diagnostics import Findings, Mark, SpecRefused
from openclaw_dagster.spec.draft import Draft, PolicyCheck
from openclaw_dagster.spec.folder import BundleFolder, DiskFolder, Folder, NoFile
from openclaw_dagster.spec.model import (
    Data,
    Decision,
    EventTrigger,
    ManualTrigger,
    Observability,
    ScheduleTrigger,
    Source,
    Stage,
    Step,
    System,
    TableRow,
    Trigger,
    WebhookTrigger,
)
from openclaw_dagster.spec.reach import check_events, check_reach, order
from openclaw_dagster.spec.reader import Node, read
from openclaw_dagster.spec.units import Name, Text

LAYERS = ("triggers", "decisions", "execution", "data", "observability")
#: Raised when the meaning of the compiled form changes, so that old and new digests differ.
LANGUAGE = "1"

STUBS = {
    "triggers": "triggers:\n  - order_created: {source: webhook, idempotency: order.id}",
    "decisions": "decisions:\n  - pick: {inputs: [order], table: [{else: true, then: go}], emits: picked}",
    "execution": "execution:\n  - act: {on: picked, action: carrier.book}",
    "data": "data:\n  events: {store: event-log, retention: 365d}",
    "observability": "observability:\n  slo: {error_rate: <0.5%}",
}

TRIGGERS: dict[str, type[BaseModel]] = {
    "webhook": WebhookTrigger,
    "schedule": ScheduleTrigger,
    "event": EventTrigger,
    "manual": ManualTrigger,
}
LATER_SOURCES = ("queue", "condition")

M = TypeVar("M", bound=BaseModel)


class Head(Frozen):
    """The first two lines of a file."""

    system: Name = Field(description="The name of the system.")
    version: Text = Field(min_length=1, max_length=64, description="The version, as its authors count.")


def load(path: Path, catalog: Catalog, check_policy: PolicyCheck) -> System:
    """Read and check the `.claw` file at `path`; SpecRefused with every problem when it is not right."""
    return _load(DiskFolder(path.parent), path.name, str(path), catalog, check_policy)


def load_bundle(bundle: dict[str, Any], check_policy: PolicyCheck) -> System:
    """Bring back a system from what `bundle_of` kept of it."""
    catalog = {name: Operation.model_validate_json(json.dumps(body)) for name, body in bundle["operations"].items()}
    return _load(BundleFolder(bundle["files"]), bundle["path"], bundle["path"], catalog, check_policy)


def bundle_of(system: System) -> dict[str, Any]:
    """Return all that is needed to load this very system again, wherever its files have gone."""
    operations = {name: op.model_dump(mode="json", exclude_none=True) for name, op in system.operations.items()}
    return {"path": system.path, "files": dict(system.files), "operations": operations}


def _load(folder: Folder, name: str, shown: str, catalog: Catalog, check_policy: PolicyCheck) -> System:
    findings = Findings(shown)
    try:
        root, text = read(folder.read(name), findings)
    except NoFile as error:
        findings.add(Mark(), "CLAW020", str(error))
        root, text = None, ""
    system = None
    if root is not None:
        system = _assemble(Draft(root, findings, folder, catalog, check_policy, files={name: text}), name)
    if findings.found or system is None:
        raise SpecRefused.of(shown, findings.sorted(), {shown: text})
    return system


def _assemble(draft: Draft, path: str) -> System | None:
    if not isinstance(draft.root.value, dict):
        draft.findings.add(draft.root.mark, "CLAW014", "a system is a mapping that begins with 'system: name'")
        return None
    _read_head(draft)
    _read_layers(draft)
    for check in CHECKS:
        check(draft)
    check_events(draft)
    stages = order(draft)
    if not draft.findings.found:
        check_reach(draft, stages)
    if draft.findings.found or draft.data is None or draft.observability is None:
        return None
    return _system(draft, stages, path)


def _read_head(draft: Draft) -> None:
    words = {"system", "version", *LAYERS}
    value = draft.root.value
    extra = Node({k: v for k, v in value.items() if k not in LAYERS}, draft.root.mark, draft.root.keys)
    before = len(draft.findings.found)
    head = build(Head, extra, draft.findings, block="system")
    if head is not None:
        draft.name, draft.version = head.system, head.version
    # an unknown word may be a misspelt layer, so the layers are among what is allowed
    for index, one in enumerate(draft.findings.found[before:], before):
        if one.code == "CLAW012":
            word = next(key for key, mark in draft.root.keys.items() if mark == one.mark)
            draft.findings.found.pop(index)
            draft.findings.add(one.mark, one.code, one.message, allowed=words, said=word)
            draft.findings.found.insert(index, draft.findings.found.pop())


def _read_layers(draft: Draft) -> None:
    value = draft.root.value
    last = max((node.mark.line for node in value.values()), default=1)
    for layer in LAYERS:
        stub = "paste this and change it:\n" + STUBS[layer]
        if layer not in value:
            draft.findings.add(Mark(last, 1), "CLAW010", f"the layer {layer!r} is missing", hint=stub)
        elif value[layer].value in (None, [], {}, ""):
            draft.findings.add(draft.root.keys[layer], "CLAW011", f"the layer {layer!r} is empty", hint=stub)
        else:
            _read_layer(draft, layer, value[layer])


def _read_layer(draft: Draft, layer: str, node: Node) -> None:
    if layer == "triggers":
        draft.triggers = tuple(_items(draft, layer, node, "trigger"))
    elif layer == "decisions":
        draft.decisions = tuple(_with_table(draft, decision) for decision in _items(draft, layer, node, "decision"))
    elif layer == "execution":
        draft.steps = tuple(_items(draft, layer, node, "step"))
    elif not isinstance(node.value, dict):
        draft.findings.add(node.mark, "CLAW014", f"{layer} is a mapping")
    elif layer == "data":
        draft.data = _read_data(draft, node)
    else:
        draft.observability = build(Observability, node, draft.findings, block="observability")


def _items(draft: Draft, layer: str, node: Node, block: str) -> list[Any]:
    found: list[Any] = []
    names = list(named_items(node, layer, draft.findings))
    index_of = {id(item): index for index, item in enumerate(node.value)} if isinstance(node.value, list) else {}
    for name, mark, body in names:
        index = next(i for i, item in enumerate(node.value) if name in (item.value or ()) and item.value[name] is body)
        draft.places[layer, name] = (layer, index, name)
        model = _model(draft, block, name, mark, body)
        built = build(model, body, draft.findings, block=block, name=name) if model else None
        if built is not None:
            found.append(built)
    del index_of
    return found


def _model(draft: Draft, block: str, name: str, mark: Mark, body: Node) -> type[BaseModel] | None:
    if block == "decision":
        return Decision
    if block == "step":
        return Step
    source = body.value.get("source")
    if source is None:
        draft.findings.add(mark, "CLAW013", f"the trigger {name} has no source", allowed=TRIGGERS)
        return None
    if source.value in LATER_SOURCES:
        draft.findings.add(source.mark, "CLAW019", f"the source {source.value!r} is not executed by this version, so it is refused rather than ignored")
        return None
    if not isinstance(source.value, str) or source.value not in TRIGGERS:
        said = str(source.value)[:60]
        draft.findings.add(source.mark, "CLAW014", f"{said!r} is no source of a trigger", allowed=TRIGGERS, said=said)
        return None
    return TRIGGERS[source.value]


def _read_data(draft: Draft, node: Node) -> Data | None:
    sources: list[Source] = []
    rest = Node({k: v for k, v in node.value.items() if k != "sources"}, node.mark, node.keys)
    block = node.value.get("sources")
    if block is not None and isinstance(block.value, dict):
        for name, body in block.value.items():
            draft.places["sources", name] = ("data", "sources", name)
            if isinstance(body.value, dict):
                built = build(Source, body, draft.findings, block="source", name=name)
                sources += [built] if built else []
            else:
                draft.findings.add(body.mark, "CLAW014", f"{name} is a mapping such as {{read: carrier.rates}}")
    elif block is not None:
        draft.findings.add(block.mark, "CLAW014", "sources is a mapping of names")
    data = build(Data, rest, draft.findings, block="data")
    return data.model_copy(update={"sources": tuple(sources)}) if data else None


class _Rows(Frozen):
    """A `.table.yaml` file."""

    rows: tuple[TableRow, ...] = Field(strict=False, min_length=1)


def _with_table(draft: Draft, decision: Decision) -> Decision:
    """Read a `.table.yaml` policy, so that the rest of the compiler knows one kind of table."""
    if decision.policy is None or decision.table is not None or not decision.policy.endswith(".table.yaml"):
        return decision
    mark = draft.value("decisions", decision.name, "policy")
    text = draft.file(decision.policy, mark)
    if text is None:
        return decision
    inner = Findings(decision.policy)
    node, _ = read(text.encode(), inner)
    if node is not None and isinstance(node.value, list):
        node = Node({"rows": node}, node.mark, {"rows": node.mark})
    rows = build(_Rows, node, inner, block="table") if node and isinstance(node.value, dict) else None
    if rows is None and not inner.found:
        inner.add(Mark(), "CLAW014", "a table is a list of rows")
    for one in inner.sorted():
        draft.findings.add(mark, one.code, f"{one.file}:{one.mark.line}:{one.mark.column}: {one.message}")
    return decision.model_copy(update={"table": rows.rows, "policy": None}) if rows else decision


def _system(draft: Draft, stages: tuple[Stage, ...], path: str) -> System:
    assert draft.data is not None
    assert draft.observability is not None
    used = {step.action for step in draft.steps} | {source.read for source in draft.data.sources}
    used |= {step.undo for step in draft.steps if step.undo}
    used |= {step.unknown_outcome.verify for step in draft.steps if step.unknown_outcome}
    for name in list(used):
        operation = draft.catalog[name]
        adapter = name.split(".")[0]
        used |= {f"{adapter}.{partner}" for partner in (operation.verify, operation.undo) if partner}
    decisions = tuple(d.model_copy(update={"on": draft.starts(d)}) for d in draft.decisions)
    system = System(
        name=draft.name, version=draft.version, triggers=draft.triggers, decisions=decisions, execution=draft.steps,
        data=draft.data, observability=draft.observability, stages=stages,
        operations={name: draft.catalog[name] for name in sorted(used) if name in draft.catalog},
        files=draft.files, path=path, digest="",
    )  # fmt: skip
    return system.model_copy(update={"digest": digest_of(system)})


def digest_of(system: System) -> str:
    """Return sha256 over the compiled form: what the system means, not how its file is laid out."""
    form = system.model_dump(mode="json", by_alias=True)
    for layer in ("triggers", "decisions"):
        names = [item.name for item in getattr(system, layer)]
        form[layer] = dict(zip(names, form[layer], strict=True))
    form["execution"] = [[step.name, body] for step, body in zip(system.execution, form["execution"], strict=True)]
    form["data"]["sources"] = {s.name: b for s, b in zip(system.data.sources, form["data"]["sources"], strict=True)}
    form["language"] = LANGUAGE
    form["files"] = {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in system.files.items()
        if name != system.path and not name.endswith(".table.yaml")
    }
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
