"""Nodes to models: every pydantic error becomes a finding at the place it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from openclaw_dagster.spec.diagnostics import MOST_GUESSES, Findings, Mark, nearest
from openclaw_dagster.spec.reader import Node
from openclaw_dagster.spec.units import check_name, complaint, shown

M = TypeVar("M", bound=BaseModel)

#: Words of the language that this version refuses, by the block they stand in.
LATER: dict[str, frozenset[str]] = {
    "system": frozenset({"exceptions", "remediation", "reconciliation", "briefs"}),
    "decision": frozenset({"score", "bands", "model"}),
    "data": frozenset({"events.redact"}),
    "observability": frozenset({"escalations"}),
}


def later(word: str) -> str:
    """Return what is said about a word of the language that this version does not execute."""
    return f"{word!r} is not executed by this version, so it is refused rather than ignored"


def named_items(node: Node, layer: str, findings: Findings) -> Iterator[tuple[int, str, Mark, Node]]:
    """Yield index, name, its place and body of a list of single-key maps; findings for what is not one."""
    if not isinstance(node.value, list):
        problem = f"{layer} is a list: write each entry as '- name:' and indent what it says"
        findings.add(node.mark, "CLAW014", problem)
        return
    seen: dict[str, Mark] = {}
    for index, item in enumerate(node.value):
        if not isinstance(item.value, dict) or len(item.value) != 1:
            _not_an_entry(item, layer, findings)
            continue
        ((name, body),) = item.value.items()
        mark = item.keys[name]
        if (wrong := complaint(check_name, name)) is not None:
            findings.add(mark, "CLAW015", wrong)
        elif name in seen:
            problem = f"{name} stands already at line {seen[name].line}: names are unique"
            findings.add(mark, "CLAW016", problem)
        elif not isinstance(body.value, dict):
            seen[name] = mark
            findings.add(mark, "CLAW014", f"{name} says nothing: indent its keys below it")
        else:
            seen[name] = mark
            yield index, name, mark, body


def _not_an_entry(item: Node, layer: str, findings: Findings) -> None:
    problem = f"an entry of {layer} is one name with what it says below it, such as '- name: {{…}}'"
    hint = ""
    if isinstance(item.value, dict) and len(item.value) > 1:
        first, *rest = item.value
        if item.value[first].value is None:
            hint = f"indent {', '.join(rest[:4])} deeper than {first}"
    findings.add(item.mark, "CLAW014", problem, hint=hint)


def build(
    model: type[M],
    node: Node,
    findings: Findings,
    *,
    block: str = "",
    name: str | None = None,
    owner: Mark | None = None,
    also: Iterable[str] = (),
) -> M | None:
    """Return the model of one block; with findings, what can be made of it without what is wrong, or None.

    `block` says which words come later, `owner` where it stands that a key is missing, `also` which other
    words may stand beside the model's keys.
    """
    data = node.plain()
    for words in sorted(LATER.get(block, frozenset())):
        *way, word = words.split(".")
        parent = node.at(tuple(way))
        if parent is not None and word in parent.keys:
            findings.add(parent.keys[word], "CLAW019", later(word))
            _without(data, way, word)
    _drop_empty(model, node, data, findings)
    if name is not None:
        data["name"] = name
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors()
    _Report(model, node, findings, owner or node.mark, tuple(also)).all(problems)
    wrong = {one["loc"][0] for one in problems if one["loc"]}
    try:
        # what is right is kept, so that the checks across layers see it and all problems come at once
        return model.model_validate({key: value for key, value in data.items() if key not in wrong})
    except ValidationError:
        return None


def _drop_empty(model: type[BaseModel], node: Node, data: dict[str, Any], findings: Findings) -> None:
    """Report the keys that say nothing, rather than take them for keys that are not there."""
    for key, field in names_of(model).items():
        if key in data and data[key] is None and not field.is_required():
            problem = f"{key} says nothing: give it a value, or leave it out"
            findings.add(node.keys[key], "CLAW014", problem)
            del data[key]


def _without(data: Any, way: list[str], word: str) -> None:
    for part in way:
        data = data[part]
    del data[word]


@dataclass(frozen=True)
class _Report:
    """Turns the errors of one block into findings."""

    model: type[BaseModel]
    node: Node
    findings: Findings
    owner: Mark
    also: tuple[str, ...]

    def all(self, problems: list[Any]) -> None:
        """Report every error, each place once."""
        guessed: set[tuple[Any, ...]] = set()
        told: set[tuple[Any, ...]] = set()
        for one in problems:
            if one["type"] == "extra_forbidden":
                guessed.add(self.unknown(one["loc"]))
        for one in problems:
            path = self.path(one["loc"])
            # of a list that holds wrong entries pydantic also says that it is too short
            if one["type"] == "extra_forbidden" or (one["type"] == "too_short" and one["input"]):
                continue
            if one["type"] == "missing":
                if (*path, one["loc"][-1]) not in guessed:
                    self.missing(path, str(one["loc"][-1]))
            elif path not in told:
                told.add(path)
                self.wrong(path, one)

    def path(self, loc: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the part of pydantic's location that is in the file: it also names types and validators."""
        found: tuple[Any, ...] = ()
        node = self.node
        for part in loc:
            inner = node.step(part)
            if inner is not None:
                found, node = (*found, part), inner
        return found

    def unknown(self, loc: tuple[Any, ...]) -> tuple[Any, ...]:
        """Report an unknown key; return the path of the key that was probably meant."""
        path = self.path(loc)
        word = str(path[-1])
        allowed = _allowed(self.model, path[:-1])
        if len(path) == 1:
            allowed += self.also
        strange = next((letter for letter in word if letter.isalpha() and not letter.isascii()), None)
        hint = f"{strange!r} is not a plain Latin letter (U+{ord(strange):04X})" if strange else ""
        problem = f"{word[:60]!r} is not known here"
        mark = self.node.mark_of(path)
        self.findings.add(mark, "CLAW012", problem, allowed=allowed, said=word, hint=hint)
        return (*path[:-1], nearest(word, allowed) if len(self.findings.found) < MOST_GUESSES else None)

    def missing(self, path: tuple[Any, ...], word: str) -> None:
        mark = self.node.mark_of(path) if path else self.owner
        self.findings.add(mark, "CLAW013", f"{word!r} is missing", hint=_example(self.model, path, word))

    def wrong(self, path: tuple[Any, ...], error: Any) -> None:
        mark, context = self.node.value_mark(path), error.get("ctx", {})
        words = [str(part) for part in path if not isinstance(part, int)]
        what = words[-1] if words else "this"
        if error["type"] == "claw":
            self.findings.add(mark, context["code"], context["text"])
        elif error["type"] == "union_tag_not_found":
            self.findings.add(self.node.mark_of(path), "CLAW013", f"{what} does not say {_tag(context)}")
        elif error["type"] == "union_tag_invalid":
            allowed = re.findall(r"'([^']*)'", context["expected_tags"])
            problem = f"{shown(context['tag'])} is not a value of {_tag(context)}"
            place = self.node.value_mark((*path, _tag(context)))
            self.findings.add(place, "CLAW014", problem, allowed=allowed, said=context["tag"])
        elif error["type"] in ("literal_error", "enum"):
            allowed = re.findall(r"'([^']*)'", context.get("expected", "")) or ["true"]
            said = error["input"]
            problem = f"{shown(said)} is not a value of {what}"
            self.findings.add(mark, "CLAW014", problem, allowed=allowed, said=str(said))
        else:
            self.findings.add(mark, "CLAW014", f"{what}: {_human(error)}")


def _tag(context: dict[str, Any]) -> str:
    """Return the key by whose value pydantic tells the variants of a block apart."""
    return str(context["discriminator"]).strip("'")


def _example(model: type[BaseModel], path: tuple[Any, ...], word: str) -> str:
    inner = _model_at(model, path)
    field = names_of(inner).get(word) if inner else None
    return f"{word}: {field.description}" if field is not None and field.description else ""


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for part in path:
        field = names_of(found).get(part) if found else None
        if field is not None:
            found = next(_models(field.annotation), None)
    return found


def _allowed(model: type[BaseModel], path: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the keys that may stand at `path` below `model`, under the names of the file."""
    inner = _model_at(model, path)
    return tuple(key for key, field in names_of(inner).items() if not field.exclude) if inner else ()


def names_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a model under the names they have in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


_KINDS = {
    "string_type": "text belongs here",
    "int_type": "a whole number belongs here",
    "bool_type": "true or false belongs here",
    "tuple_type": "a list belongs here",
    "dict_type": "a mapping belongs here",
    "model_type": "a mapping belongs here",
    "model_attributes_type": "a mapping belongs here",
    "too_short": "at least one entry belongs here",
    "string_too_short": "it is empty",
    "string_too_long": "it is too long: at most 64 characters",
}


def _human(error: Any) -> str:
    said, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "string_pattern_mismatch":
            return f"{shown(said)} does not have the form {context.get('pattern')}"
        case "greater_than_equal":
            return f"at least {context['ge']}, not {shown(said)}"
        case "less_than_equal":
            return f"at most {context['le']}, not {shown(said)}"
    text = _KINDS.get(error["type"]) or error["msg"][0].lower() + error["msg"][1:]
    plain = said is None or isinstance(said, str | int | float)
    return f"{text}, not {shown(said)}" if plain and not error["type"].startswith("string_too") else text
