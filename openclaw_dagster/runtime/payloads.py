"""Payloads against the JSON Schema that a trigger names."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import jsonschema

from openclaw_dagster.spec.model import System


def mismatch(system: System, file: str | None, payload: dict[str, Any]) -> str | None:
    """Return where a payload breaks the schema of `file`, and which rule; None when it fits, or there is none."""
    if file is None:
        return None
    worst = jsonschema.exceptions.best_match(
        _validator(system.files[file.removeprefix("./")]).iter_errors(payload)
    )
    if worst is None:
        return None
    place = ".".join(str(part) for part in worst.absolute_path) or "the body"
    return f"{place}: does not satisfy {worst.validator!r} of {file}"


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads(schema))
