"""JSON Schema of the language, for editors: made from the models, so that it says what they say."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from openclaw_dagster.spec.layers import BLOCKS, LAYERS, TRIGGERS, Head
from openclaw_dagster.spec.model import Data, Decision, Observability, Source, Step
from openclaw_dagster.spec.scenarios import CASE, CASE_STATES, DEEDS, EFFECTS, RESIDUAL, TOO_MUCH

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": 64}

MODELS: tuple[type[BaseModel], ...] = (
    *TRIGGERS.values(),
    Decision,
    Step,
    Source,
    Data,
    Observability,
    *BLOCKS.values(),
    Head,
)
#: Models of things whose name stands before them.
NAMED = tuple(model.__name__ for model in MODELS if "name" in model.model_fields)

#: What each layer is for, shown when its word is hovered.
CAPTIONS = {
    "triggers": "What starts a case: webhooks, schedules, events of other systems, people.",
    "decisions": "Pure functions from declared inputs to an output, recorded with their reason.",
    "execution": "The runbook: the steps of a case, in order.",
    "data": "What is kept, for how long, and what decisions may read.",
    "observability": "What is promised, and who hears when it is broken.",
    "tests": "Beside the layers: scenarios that `claw test` plays on a clock of their own; they change no digest.",
    "skip_policies": "Beside the layers: when, on whose word and for how long a step may be left out.",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a `.claw` file."""
    _, top = models_json_schema([(model, "validation") for model in MODELS], by_alias=True)
    defs: dict[str, Any] = {name: _tidy(schema) for name, schema in top["$defs"].items()}
    for name in NAMED:
        _without_name(defs[name])
    defs["Decision"]["oneOf"] = [{"required": ["policy"]}, {"required": ["table"]}]
    defs["TableRow"]["oneOf"] = [{"required": ["when"]}, {"required": ["else"]}]
    defs["Checkpoint"]["oneOf"] = [{"required": ["acknowledge"]}, {"required": ["approval"]}]
    defs["Checkpoint"]["dependentRequired"] = {"overdue": ["deadline"], "escalate_to": ["overdue"]}
    defs["FormField"]["oneOf"] = [{"required": ["choose"]}, {"required": ["text"]}]
    form = defs["Checkpoint"]["properties"]["form"]
    del form["patternProperties"]
    form |= _mapping(_ref("FormField"))
    _scenarios(defs)
    sources = defs["Data"]["properties"]["sources"]
    defs["Data"]["properties"]["sources"] = _mapping(_ref("Source")) | {"description": sources["description"]}
    head = defs.pop("Head")
    items = {
        "triggers": _entries({"oneOf": [_ref(model.__name__) for model in TRIGGERS.values()]}),
        "decisions": _entries(_ref("Decision")),
        "execution": _entries(_ref("Step")),
        "data": _ref("Data"),
        "observability": _ref("Observability"),
        "skip_policies": _entries(_ref("SkipPolicy")),
        "tests": _entries(_ref("Scenario")),
    }
    layers = {layer: items[layer] | {"description": CAPTIONS[layer]} for layer in (*LAYERS, *BLOCKS)}
    return {
        "$schema": DIALECT,
        "title": "OpenClaw system",
        "description": "One operational system in five layers.",
        "type": "object",
        "properties": head["properties"] | layers,
        "required": [*head["required"], *LAYERS],
        "additionalProperties": False,
        "$defs": defs,
    }


def _scenarios(defs: dict[str, Any]) -> None:
    """Say of scenarios what the models check beside their fields."""
    deed, scenario = defs["Deed"], defs["Scenario"]
    deed["oneOf"] = [{"required": [word] if word == "send" else [word, "as"]} for word in DEEDS]
    deed["dependentSchemas"] = {
        word: {"properties": dict.fromkeys(useless, False)} for word, useless in TOO_MUCH.items() if useless
    }
    deed["properties"]["at"]["default"] = "0ms"
    text, faults = {"type": "string"}, {"type": "array", "minItems": 1, "items": _ref("Fault")}
    for model, word, body in (
        (deed, "send", text), (deed, "form", text), (scenario, "given", text), (scenario, "faults", faults),
    ):  # fmt: skip
        said = model["properties"][word]
        del said["patternProperties"]
        said |= _mapping(body)
    scenario["properties"]["expect"]["properties"] = {
        CASE: {"enum": list(CASE_STATES)},
        EFFECTS: {"type": "array", "items": text},
        RESIDUAL: {"type": "object"},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _entries(body: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of single-key maps: names in order, each with its body."""
    entry = _mapping(body) | {"minProperties": 1, "maxProperties": 1}
    return {"type": "array", "minItems": 1, "items": entry}


def _mapping(body: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": NAME, "additionalProperties": body}


def _without_name(schema: dict[str, Any]) -> None:
    """Take out the name, which stands before the body and not in it."""
    del schema["properties"]["name"]
    schema["required"].remove("name")


def _tidy(schema: Any) -> Any:
    """Return a schema without pydantic's titles, and without null: a key that says nothing is refused."""
    if isinstance(schema, list):
        return [_tidy(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: _tidy(inner) for name, inner in value.items()} if key == "properties" else _tidy(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value in (None, []))
    }
    choices = [inner for inner in found.get("anyOf", ()) if inner != {"type": "null"}]
    if len(choices) == 1:
        found = choices[0] | {key: value for key, value in found.items() if key != "anyOf"}
    elif choices:
        found["anyOf"] = choices
    return found
