"""What every policy engine agrees on: inputs in, one verdict out, or `PolicyFailed`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.expressions import JSON

#: Longest output a policy may return, in bytes of JSON text.
OUTPUT_LIMIT = 64 * 1024
#: Longest policy source, in bytes of UTF-8.
SOURCE_LIMIT = 256 * 1024
#: Deepest output a policy may return, in nested lists and mappings.
DEPTH_LIMIT = 32

_ADDRESS = re.compile(r"\bat 0x[0-9A-Fa-f]{6,}")


class PolicyFailed(ClawError):
    """{file}:{line}:{column}: {problem}"""

    code: ClassVar[str] = "CLAW153"

    file: str
    line: int
    column: int
    problem: str


@dataclass(frozen=True)
class Verdict:
    """What a policy decided: the mapping it returned, and why in one line."""

    output: Mapping[str, JSON]
    reason: str


class Policy(Protocol):
    """A pure function from declared inputs to a verdict, safe to share between threads."""

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the source and of the engine that runs it."""

    def decide(self, inputs: Mapping[str, JSON]) -> Verdict:
        """Return the verdict on `inputs`; raise `PolicyFailed` when there is none."""


def verdict_of(file: str, output: object) -> Verdict:
    """Return the verdict that `output` stands for; raise `PolicyFailed` when it is not a decision."""
    if isinstance(output, str):
        output = {"branch": output}
    problem = _misshapen(output)
    if problem:
        raise PolicyFailed(file=file, line=1, column=1, problem=problem)
    assert isinstance(output, dict)
    reason = output.get("reason")
    if not isinstance(reason, str):
        reason = f"{file} returned {_named(output)}"
    return Verdict(output=output, reason=reason)


def frozen_inputs(file: str, inputs: Mapping[str, JSON]) -> str:
    """Return `inputs` as JSON text for an engine; raise `PolicyFailed` when they are not JSON."""
    try:
        return json.dumps(dict(inputs), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        problem = (
            f"the inputs are not JSON ({error}): pass only null, booleans, numbers, text, lists and mappings"
        )
        raise PolicyFailed(file=file, line=1, column=1, problem=problem) from None


def _named(output: Mapping[str, JSON]) -> str:
    branch = output.get("branch")
    if isinstance(branch, str):
        return f"branch {branch}"
    return f"{', '.join(sorted(output)) or 'an empty mapping'}"


def _misshapen(output: object) -> str | None:
    if not isinstance(output, dict):
        return (
            f"the policy returned {_kind(output)}: return one mapping such as {{branch: 'manual'}},"
            " or a word such as 'manual'"
        )
    problem = _unlike_json(output, "output", 1)
    if problem:
        return problem
    size = len(json.dumps(output, ensure_ascii=False).encode())
    if size > OUTPUT_LIMIT:
        return (
            f"the output is {size} bytes long, the limit is {OUTPUT_LIMIT}: return the choice, not the data"
        )
    return None


def _unlike_json(value: object, path: str, depth: int) -> str | None:
    if depth > DEPTH_LIMIT:
        return f"{path[:80]} is nested deeper than {DEPTH_LIMIT}: return a flatter output"
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                return f"{path} has the key {key!r}, which is not text: write str(key)"
            problem = _bad_text(key, f"a key of {path}") or _unlike_json(inner, f"{path}.{key}", depth + 1)
            if problem:
                return problem
        return None
    if isinstance(value, list):
        found = (_unlike_json(inner, f"{path}[{i}]", depth + 1) for i, inner in enumerate(value))
        return next((problem for problem in found if problem), None)
    if isinstance(value, str):
        return _bad_text(value, path)
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} is {value}, which is not a JSON number: return a finite number or None"
    if isinstance(value, int) and value.bit_length() > 63:
        return f"{path} is an integer of more than 64 bits: return it as text"
    if value is None or isinstance(value, bool | int | float):
        return None
    return (
        f"{path} is {_kind(value)}, which is not JSON: return text, a number, a boolean, a list or a mapping"
    )


def _bad_text(text: str, path: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{path} holds half of a character (a lone surrogate): cut text between characters"
    if _ADDRESS.search(text):
        return f"{path} holds a memory address, which differs from run to run: return a name instead"
    return None


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float):
        return f"the {type(value).__name__} {value}"
    return {"list": "a list", "str": "text", "dict": "a mapping"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
