"""Samples of payloads and arguments: from a JSON Schema, the idempotency path, and what the user sets."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import ConditionTrigger, EventTrigger, ScheduleTrigger, Trigger

#: Letters of a sample's key that nobody mistakes for another.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DEEPEST = 8


class BadValue(ClawError):
    """{what} {problem}"""

    code = "CLAW703"


def schema_of(system: System, trigger: Trigger) -> dict[str, Any] | None:
    """Return the JSON Schema of a trigger's payload."""
    name = getattr(trigger, "schema_file", None)
    if name is None:
        return None
    found = json.loads(system.files[name.removeprefix("./")])
    return found if isinstance(found, dict) else None


def payload_names(system: System, trigger: Trigger) -> set[str] | None:
    """Return the root keys a trigger's payload is said to have; None when nothing is said about it."""
    if isinstance(trigger, ScheduleTrigger):
        return {"tick"}
    if isinstance(trigger, ConditionTrigger):
        return {"condition"}
    schema = schema_of(system, trigger)
    idempotency = getattr(trigger, "idempotency", None)
    if isinstance(trigger, EventTrigger) or (schema is None and idempotency is None):
        return None
    names = {str(name) for name in (schema or {}).get("properties", {})}
    return names | ({idempotency.path[0]} if idempotency else set())


def payload_of(system: System, trigger: Trigger) -> dict[str, Any]:
    """Return a sample payload with a key of its own."""
    schema = schema_of(system, trigger)
    made = example(schema, schema) if schema else {}
    payload = made if isinstance(made, dict) else {}
    idempotency = getattr(trigger, "idempotency", None)
    if idempotency is not None:
        path = idempotency.path
        whole = isinstance(value_at(payload, path), int)
        put(payload, path, secrets.randbelow(10**9) if whole else new_key())
    return payload


def new_key() -> str:
    """Return a key that no sample had before."""
    return "S-" + "".join(secrets.choice(_LETTERS) for _ in range(8))


def renumbered(payload: Mapping[str, Any], path: Sequence[str], number: int) -> dict[str, Any]:
    """Return the payload under another key: the first stays as it is, the second is `A-1-2`."""
    copy: dict[str, Any] = json.loads(json.dumps(payload))
    value = value_at(copy, path)
    if number > 1 and value is not None:
        put(copy, path, value + number - 1 if isinstance(value, int) else f"{value}-{number}")
    return copy


def value_at(payload: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return what stands at a path, or None."""
    value: Any = payload
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def put(payload: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what stands at a path, making the mappings on the way."""
    for part in path[:-1]:
        inner = payload.get(part)
        if not isinstance(inner, dict):
            inner = payload[part] = {}
        payload = inner
    payload[path[-1]] = value


def assign(payload: dict[str, Any], said: str) -> None:
    """Carry out `order.id=A-1`; the value is JSON where it can be read as that, else text."""
    path, sign, text = said.partition("=")
    if not sign or not all(path.split(".")):
        raise BadValue(what=f"--set {said}", problem="is not of the form path=value, such as order.id=A-1.")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    put(payload, path.split("."), value)


def mapping(text: str, what: str) -> dict[str, Any]:
    """Return the JSON object in a text; BadValue when it is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadValue(what=what, problem=f"is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise BadValue(what=what, problem="""is JSON, but not an object: write {"order": {"id": "A-1"}}.""")
    return found


def example(schema: Any, root: Any, depth: int = 0) -> Any:
    """Return a value that fits a JSON Schema as far as one can tell from its plain words."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return {}
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("examples", "enum"):
        if schema.get(word):
            return schema[word][0]
    if "$ref" in schema:
        return example(_resolve(str(schema["$ref"]), root), root, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return example(
                {**schema[word][0], **{k: v for k, v in schema.items() if k != word}}, root, depth + 1
            )
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_kind(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found


def _of_kind(kind: str, schema: dict[str, Any], root: Any, depth: int) -> Any:
    match kind:
        case "object":
            inner = dict(schema.get("properties", {}))
            inner |= {name: inner.get(name, {"type": "string"}) for name in schema.get("required", [])}
            return {name: example(one, root, depth + 1) for name, one in inner.items()}
        case "array":
            return [
                example(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 1))
            ]
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema)


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if low is None:
        high = schema.get("maximum", schema.get("exclusiveMaximum", 2))
        return min(1, high - 1) if high <= 1 else 1
    number = low if "minimum" in schema else low + 1
    return int(number) if whole else number


_FORMATS = {
    "date-time": "2026-01-31T09:30:00Z",
    "date": "2026-01-31",
    "time": "09:30:00Z",
    "email": "someone@example.org",
    "uri": "https://example.org/",
    "uuid": "6f1c2d34-5b6a-4c7d-8e9f-0a1b2c3d4e5f",
}


def _text(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), "sample")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 10_000)]
