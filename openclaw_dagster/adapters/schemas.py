"""JSON Schema over arguments and results: what does not fit is named, never quoted."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

#: Rules whose own value may be shown: it comes from the contract, not from the arguments.
_SAYS = {
    "type": "must be of type {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "pattern": "must match {}",
}


def schema_problem(schema: dict[str, Any]) -> str:
    """Return what is wrong with the schema itself, or nothing."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"it is not a JSON Schema: {error.message[:200]}"
    return ""


def first_mismatch(schema: dict[str, Any], value: object) -> str:
    """Return where `value` breaks the schema, and which rule, or nothing when it fits.

    The value itself is not repeated: it may be personal, and the message goes to logs and pages.
    """
    try:
        error = best_match(_validator(json.dumps(schema)).iter_errors(value))
    except Unresolvable:
        return "its schema refers to another document, and none is ever fetched"
    except Exception as error:  # a schema that is none, or a pattern that is no regular expression
        return f"its schema cannot be used ({type(error).__name__})"
    return _said(error) if error is not None else ""


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Draft202012Validator:
    # Without a registry of its own the library would fetch remote references over the network.
    return Draft202012Validator(json.loads(schema), registry=Registry())


def _said(error: ValidationError) -> str:
    where = ".".join(str(step) for step in error.absolute_path)
    rule, value = str(error.validator), error.validator_value
    if rule == "required" and isinstance(error.instance, dict) and isinstance(value, list):
        missing = next((name for name in value if name not in error.instance), "")
        return f"{where}.{missing} is missing" if where else f"{missing} is missing"
    text = _SAYS.get(rule, "breaks the rule " + rule).format(json.dumps(value)[:200])
    return f"{where or 'the whole'} {text}"
