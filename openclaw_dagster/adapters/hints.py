"""The JSON Schema of an action's arguments, from a TypedDict on its first parameter."""

from __future__ import annotations

import types
from collections.abc import Callable
from inspect import signature
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

_SCALARS: dict[object, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}


def schema_of(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the schema, open to further arguments; None when the hints are not simple enough to say one."""
    first = next(iter(signature(function).parameters), None)
    try:
        hint = get_type_hints(function).get(first or "")
        return _typed_dict(hint) if is_typeddict(hint) else None
    except (NameError, TypeError):
        return None


def _typed_dict(kind: Any) -> dict[str, Any]:
    # The text form of annotations hides Required and NotRequired from the class, so they are looked at here.
    hints = get_type_hints(kind, include_extras=True)
    required = [name for name in hints if _is_required(kind, name, hints[name])]
    properties = {name: _schema(hint) for name, hint in hints.items()}
    return {"type": "object", "properties": properties, "required": sorted(required)}


def _is_required(kind: Any, name: str, hint: object) -> bool:
    marked = get_origin(hint)
    if marked is NotRequired or marked is Required:
        return marked is Required
    return name in kind.__required_keys__


def _schema(hint: Any) -> dict[str, Any]:
    """Return what the hint says; an unknown hint says nothing, so everything is let through."""
    if is_typeddict(hint):
        return _typed_dict(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (NotRequired, Required):
        return _schema(inside[0])
    if origin is Literal:
        return {"enum": list(inside)}
    if origin is list:
        return {"type": "array", "items": _schema(inside[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inside[1])}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(one) for one in inside]}
    return {}
