"""The five layers read from the nodes of a file: what is missing, what is empty, what is right."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from openclaw_dagster.spec.build import build, named_items, names_of
from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.diagnostics import MOST_GUESSES, Mark, nearest
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.gates import SkipPolicy
from openclaw_dagster.spec.model import Data, Decision, Observability, Source, Step
from openclaw_dagster.spec.reader import Node
from openclaw_dagster.spec.scenarios import Scenario
from openclaw_dagster.spec.tables import read_table
from openclaw_dagster.spec.triggers import (
    ConditionTrigger,
    EventTrigger,
    ManualTrigger,
    QueueTrigger,
    ScheduleTrigger,
    WebhookTrigger,
)
from openclaw_dagster.spec.units import Name, RoleName, Text, check_name, complaint

#: The layers, each with what a person can paste to begin it.
LAYERS = {
    "triggers": "triggers:\n  - order_created:\n      source: webhook\n      idempotency: order.id",
    "decisions": (
        "decisions:\n  - pick:\n      inputs: [order]\n      table:\n"
        "        - {else: true, then: go}\n      emits: picked"
    ),
    "execution": "execution:\n  - act:\n      on: picked\n      action: carrier.book",
    "data": "data:\n  events:\n    store: event-log\n    retention: 365d",
    "observability": "observability:\n  slo:\n    error_rate: <0.5%",
}

TRIGGERS: dict[str, type[BaseModel]] = {
    "webhook": WebhookTrigger,
    "schedule": ScheduleTrigger,
    "event": EventTrigger,
    "manual": ManualTrigger,
    "condition": ConditionTrigger,
    "queue": QueueTrigger,
}
#: What the entries of a list are, by the word for one of them; a trigger's model depends on its source.
MODELS: dict[str, type[BaseModel]] = {
    "decision": Decision,
    "step": Step,
    "skip_policy": SkipPolicy,
    "scenario": Scenario,
}
#: Blocks of named things that may stand beside the layers.
BLOCKS: dict[str, type[BaseModel]] = {"skip_policies": SkipPolicy, "tests": Scenario}


class Head(Frozen):
    """What a file says of the system as a whole."""

    system: Name = Field(description="The name of the system.")
    version: Text = Field(min_length=1, max_length=64, description="The version, as its authors count.")
    owner: RoleName | None = Field(
        default=None,
        description="The role that takes over what people denied; its people are the environment's.",
    )
    batch: int = Field(
        default=50,
        ge=1,
        le=200,
        description="How many cases one run may carry when a backlog builds; 1 gives every case a run of its own.",
    )


def read_layers(draft: Draft) -> None:
    """Fill the draft with everything of the file that is right, and note everything that is not."""
    _read_head(draft)
    entries: dict[str, Node] = draft.root.value
    unknown = [word for word in entries if word not in (*LAYERS, *BLOCKS, *names_of(Head))]
    misspelt = {nearest(word, LAYERS): word for word in unknown[:MOST_GUESSES]}
    for layer, stub in LAYERS.items():
        hint = f"paste this and change it:\n{stub}"
        if layer in entries and entries[layer].value in (None, [], {}, ""):
            draft.findings.add(draft.root.keys[layer], "CLAW011", f"the layer {layer!r} is empty", hint=hint)
        elif layer in entries:
            _read_layer(draft, layer, entries[layer])
        else:
            if layer in misspelt:
                line = draft.root.keys[misspelt[layer]].line
                hint = f"is {misspelt[layer]!r} at line {line} meant to be it?"
            draft.findings.add(draft.root.mark, "CLAW010", f"the layer {layer!r} is missing", hint=hint)
    if "skip_policies" in entries:
        draft.skip_policies = _read_block(draft, "skip_policies", "skip_policy", "name a policy in it")
    if "tests" in entries and not draft.kept:
        draft.scenarios = _read_block(draft, "tests", "scenario", "name a scenario in it")


def _read_head(draft: Draft) -> None:
    entries = {word: node for word, node in draft.root.value.items() if word not in (*LAYERS, *BLOCKS)}
    node = Node(entries, draft.root.mark, draft.root.keys)
    head = build(Head, node, draft.findings, block="system", also=(*LAYERS, *BLOCKS))
    said = entries.get("system")
    if head is not None:
        draft.name, draft.version = head.system, head.version
        draft.owner, draft.batch = head.owner, head.batch
    elif said is not None and isinstance(said.value, str) and complaint(check_name, said.value) is None:
        draft.name = said.value


def _read_layer(draft: Draft, layer: str, node: Node) -> None:
    match layer:
        case "triggers":
            draft.triggers = tuple(_items(draft, layer, node, "trigger"))
        case "decisions":
            draft.decisions = tuple(read_table(draft, one) for one in _items(draft, layer, node, "decision"))
        case "execution":
            draft.steps = tuple(_items(draft, layer, node, "step"))
        case _ if not isinstance(node.value, dict):
            draft.findings.add(node.mark, "CLAW014", f"{layer} is a mapping")
        case "data":
            draft.data = _read_data(draft, node)
        case _:
            owner = draft.root.keys[layer]
            draft.observability = build(Observability, node, draft.findings, block=layer, owner=owner)


def _read_block(draft: Draft, word: str, block: str, repair: str) -> tuple[Any, ...]:
    node = draft.root.value[word]
    if node.value in (None, [], {}, ""):
        draft.findings.add(
            draft.root.keys[word], "CLAW014", f"{word} says nothing: {repair}, or leave it out"
        )
        return ()
    return tuple(_items(draft, word, node, block))


def _items(draft: Draft, layer: str, node: Node, block: str) -> list[Any]:
    found: list[Any] = []
    for index, name, mark, body in named_items(node, layer, draft.findings):
        draft.places[layer, name] = (layer, index, name)
        model = _model(draft, block, name, mark, body)
        built = build(model, body, draft.findings, block=block, name=name, owner=mark) if model else None
        if built is not None:
            found.append(built)
    return found


def _model(draft: Draft, block: str, name: str, mark: Mark, body: Node) -> type[BaseModel] | None:
    if block != "trigger":
        return MODELS[block]
    source = body.value.get("source")
    if source is None:
        draft.findings.add(mark, "CLAW013", f"the trigger {name} has no source", allowed=TRIGGERS)
        return None
    if not isinstance(source.value, str) or source.value not in TRIGGERS:
        said = str(source.plain())[:60]
        problem = f"{said!r} is no source of a trigger"
        draft.findings.add(source.mark, "CLAW014", problem, allowed=TRIGGERS, said=said)
        return None
    return TRIGGERS[source.value]


def _read_data(draft: Draft, node: Node) -> Data | None:
    sources = _read_sources(draft, node.value["sources"]) if "sources" in node.value else ()
    entries = {word: inner for word, inner in node.value.items() if word != "sources"}
    owner = draft.root.keys["data"]
    data = build(Data, Node(entries, node.mark, node.keys), draft.findings, block="data", owner=owner)
    return data.model_copy(update={"sources": sources}) if data else None


def _read_sources(draft: Draft, node: Node) -> tuple[Source, ...]:
    if not isinstance(node.value, dict):
        problem = "sources is a mapping of names, such as {rates: {read: carrier.rates}}"
        draft.findings.add(node.mark, "CLAW014", problem)
        return ()
    found: list[Source] = []
    for name, body in node.value.items():
        mark = node.keys[name]
        if (wrong := complaint(check_name, name)) is not None:
            draft.findings.add(mark, "CLAW015", wrong)
        elif not isinstance(body.value, dict):
            draft.findings.add(body.mark, "CLAW014", f"{name} is a mapping such as {{read: carrier.rates}}")
        else:
            draft.places["sources", name] = ("data", "sources", name)
            built = build(Source, body, draft.findings, name=name, owner=mark)
            found += [built] if built else []
    return tuple(found)
