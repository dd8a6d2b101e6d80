"""Nodes to models: every pydantic error becomes a finding at the place it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from openclaw_dagster.spec.diagnostics import Findings, Mark, nearest
from openclaw_dagster.spec.reader import Node
from openclaw_dagster.spec.units import NAME, check_name

M = TypeVar("M", bound=BaseModel)

#: Words of the language that this version refuses, by the block they stand in.
LATER: dict[str, frozenset[str]] = {
    "system": frozenset(
        "owner skip_policies exceptions remediation reconciliation briefs tests".split()
    ),
    "trigger": frozenset({"schema_of", "queue", "batch", "read", "for", "every"}),
    "decision": frozenset({"score", "bands", "model"}),
    "step": frozenset({"critical", "checkpoint", "skip"}),
    "data": frozenset(),
    "events": frozenset({"redact"}),
    "observability": frozenset({"escalations"}),
}


def named_items(node: Node, layer: str, findings: Findings) -> Iterator[tuple[str, Mark, Node]]:
    """Yield (name, place of the name, body) of a list of single-key maps; findings for what is not one."""
    if not isinstance(node.value, list):
        findings.add(
            node.mark, "CLAW014", f"{layer} is a list: write each entry as '- name:' and indent what it says"
        )
        return
    seen: dict[str, Mark] = {}
    for item in node.value:
        if not isinstance(item.value, dict) or len(item.value) != 1:
            findings.add(
                item.mark, "CLAW014", f"an entry of {layer} is one name with what it says below it, such as '- name: {{…}}'"
            )
            continue
        ((name, body),) = item.value.items()
        mark = item.keys[name]
        if not NAME.match(name):
            findings.add(mark, "CLAW015", _message(check_name, name))
            continue
        if name in seen:
            findings.add(mark, "CLAW016", f"{name} stands already at line {seen[name].line}: names are unique")
            continue
        seen[name] = mark
        if not isinstance(body.value, dict):
            findings.add(mark, "CLAW014", f"{name} says nothing: indent its keys below it")
            continue
        yield name, mark, body


def _message(check: Any, value: str) -> str:
    try:
        check(value)
    except Exception as error:
        return str(error).split("|", 1)[-1]
    return ""


def build(model: type[M], node: Node, findings: Findings, *, block: str, name: str | None = None) -> M | None:
    """Return the model of one block, or None with findings; `block` says which words come later."""
    data = node.plain()
    for word in sorted(LATER.get(block, frozenset()) & data.keys()):
        findings.add(
            node.keys[word], "CLAW019", f"{word!r} is not executed by this version, so it is refused rather than ignored"
        )
        data.pop(word)
    if name is not None:
        data["name"] = name
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for one in error.errors():
            _report(model, node, one, findings)
        return None


def _report(model: type[BaseModel], node: Node, error: Any, findings: Findings) -> None:
    path = tuple(part for part in error["loc"] if _stands(part))
    mark = node.mark_of(path)
    kind, context = error["type"], error.get("ctx", {})
    last = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        allowed = _allowed(model, path[:-1])
        findings.add(mark, "CLAW012", f"{last!r} is not known here", allowed=allowed, said=last)
    elif kind == "missing":
        guess = nearest(last, node.value) if len(path) == 1 and isinstance(node.value, dict) else None
        findings.add(mark, "CLAW013", f"{last!r} is missing", hint=f"is {guess!r} meant to be it?" if guess else "")
    elif kind == "claw":
        findings.add(node.value_mark(path), context["code"], context["text"])
    elif kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", context.get("expected", ""))
        said = str(error["input"])[:60]
        findings.add(node.value_mark(path), "CLAW014", f"{said!r} is not a value of {last}", allowed=words, said=said)
    else:
        findings.add(node.value_mark(path), "CLAW014", f"{last}: {_human(error)}" if last else _human(error))


def _stands(part: Any) -> bool:
    """Tell whether a part of pydantic's location is a place in the file, not the name of a type."""
    return isinstance(part, int) or bool(re.match(r"[A-Za-z_][\w.-]*\Z", part) and not re.match(r"(str|dict|tuple|function)\b", part))


def _allowed(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Return the keys that may stand at `path` below `model`, under the names of the file."""
    for part in path:
        if isinstance(part, int) or part not in names_of(model):
            continue
        inner = next((m for m in _models(names_of(model)[part].annotation)), None)
        if inner is None:
            return []
        model = inner
    return [key for key in names_of(model) if key != "name"]


def names_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a model under the names they have in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _human(error: Any) -> str:
    kinds = {
        "string_type": "text belongs here",
        "int_type": "a whole number belongs here",
        "bool_type": "only true and false are yes and no",
        "tuple_type": "a list belongs here",
        "dict_type": "a mapping belongs here",
        "model_type": "a mapping belongs here",
        "too_short": "at least one entry belongs here",
        "string_pattern_mismatch": f"{str(error['input'])[:60]!r} does not have the form {error.get('ctx', {}).get('pattern')}",
    }
    said = kinds.get(error["type"], error["msg"][0].lower() + error["msg"][1:])
    return f"{said}; it says nothing" if error["input"] is None else said
