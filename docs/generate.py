"""Writes the pages that are made from the code: `python docs/generate.py`; a test keeps them current.

`errors.md` every code and what to do about it · `reference.md` every key of the language.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import openclaw_dagster
from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.build import LATER
from openclaw_dagster.spec.codes import CODES
from openclaw_dagster.spec.layers import BLOCKS, LAYERS
from openclaw_dagster.spec.schema import json_schema
from openclaw_dagster.spec.units import format_duration

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py: change the code it is made from, and run it again. -->"
#: Modules that do something when they are imported: what Dagster loads, and what `python -m` runs.
NOT_IMPORTED = ("openclaw_dagster.definitions", "openclaw_dagster.store.migrations")

FLOORS = {
    "CLAW1": "Expressions, tables and policies",
    "CLAW2": "The ledger",
    "CLAW3": "Adapters",
    "CLAW4": "Settings, running, workers",
    "CLAW5": "The HTTP edge",
    "CLAW7": "The command line",
}


def error_classes() -> list[type[ClawError]]:
    """Return every kind of error of the package that has a code of its own."""
    for module in pkgutil.walk_packages(openclaw_dagster.__path__, "openclaw_dagster."):
        if not module.name.startswith(NOT_IMPORTED) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    own = (kind for kind in _below(ClawError) if "code" in vars(kind))
    ours = (kind for kind in own if kind.__module__.startswith("openclaw_dagster."))
    return sorted(set(ours), key=lambda kind: (kind.code, kind.__qualname__))


def _below(kind: type[ClawError]) -> Iterator[type[ClawError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _below(inner)


def errors_page() -> str:
    """Return `errors.md`."""
    parts = [
        "# Errors",
        NOTE,
        "Everything that can go wrong has a code. `claw explain CODE` prints what stands here.",
        "## Files",
        "What `claw check` finds in `.claw` files, and in the files that lie beside them.",
    ]
    parts += [f"### {code}\n\n{text}" for code, text in sorted(CODES.items())]
    heading = ""
    for kind in error_classes():
        floor = FLOORS.get(kind.code[:5], "Everything else")
        if floor != heading:
            heading = floor
            parts.append(f"## {floor}")
        parts.append(f"### {kind.code} {kind.__name__}\n\n{message_of(kind)}")
    return "\n\n".join(parts) + "\n"


def message_of(kind: type[ClawError]) -> str:
    """Return an error's message with its places as words: {name!r} becomes NAME."""
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    named = re.sub(r"(?<!\{)\{(\w+)(?:![rsa])?\}(?!\})", lambda found: found[1].upper(), text)
    return named.replace("{{", "{").replace("}}", "}")


def reference_page() -> str:
    """Return `reference.md`."""
    schema = json_schema()
    defs: dict[str, Any] = schema["$defs"]
    parts = [
        "# Every key of the language",
        NOTE,
        "A `.claw` file is one mapping. `language.md` explains the keys by task; this page lists them all. "
        "A key in bold has to be there.",
        _table(schema, defs),
    ]
    for layer in (*LAYERS, *BLOCKS):
        parts.append(f"## {layer}\n\n{schema['properties'][layer]['description']}")
        for name in _models_of(schema["properties"][layer], defs):
            parts.append(f"### {name}\n\n{defs[name]['description']}\n\n{_table(defs[name], defs)}")
    later = sorted({word for words in LATER.values() for word in words})
    parts.append(
        "## Words that come later\n\nThese belong to the language, but this version does not execute them, "
        f"so it refuses them (CLAW019): {', '.join(f'`{word}`' for word in later)}."
    )
    return "\n\n".join(parts) + "\n"


def _models_of(schema: Any, defs: dict[str, Any], seen: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the definitions a schema leads to, each once, outermost first."""
    found: list[str] = []
    for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)):
        if name not in (*seen, *found):
            found += [name, *_models_of(defs[name], defs, (*seen, *found, name))]
    return list(dict.fromkeys(found))


def _table(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    rows = ["| key | what stands there | without it | |", "| --- | --- | --- | --- |"]
    for key, said in schema["properties"].items():
        shown = f"**{key}**" if key in schema.get("required", ()) else key
        default = _default(said) if "default" in said else ""
        rows.append(f"| {shown} | {_kind(said, defs)} | {default} | {_cell(said.get('description', ''))} |")
    return "\n".join(rows)


def _default(said: dict[str, Any]) -> str:
    """Return a default as it would be written: a duration with its unit, though a program has it in ms."""
    value = said["default"]
    if isinstance(value, int) and "500ms" in said.get("examples", ()):
        return f"`{format_duration(value)}`"
    return _yaml(value)


def _kind(said: dict[str, Any], defs: dict[str, Any]) -> str:
    if "$ref" in said:
        return said["$ref"].rpartition("/")[2]
    if "anyOf" in said or "oneOf" in said:
        return " or ".join(dict.fromkeys(_kind(one, defs) for one in said.get("anyOf", said.get("oneOf"))))
    if "const" in said:
        return f"`{_plain(said['const'])}`"
    if "enum" in said:
        return ", ".join(f"`{word}`" for word in said["enum"])
    if said.get("examples"):
        return f"such as {', '.join(f'`{one}`' for one in said['examples'])}"
    match said.get("type"):
        case "array":
            return f"list of {_kind(said.get('items', {}), defs)}"
        case "object":
            inner = said.get("additionalProperties")
            inside = _kind(inner, defs) if isinstance(inner, dict) and inner else ""
            return f"names, each with {inside}" if inside else "mapping"
        case "string":
            return "word" if "pattern" in said else "text"
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return "whole number"
        case list() as kinds:
            return " or ".join({"string": "text"}.get(kind, kind) for kind in kinds)
        case _:
            return "anything"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            f"`{{{', '.join(f'{key}: {_plain(inner)}' for key, inner in value.items())}}}`" if value else ""
        )
    return f"`{_plain(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def pages() -> Iterable[tuple[Path, str]]:
    """Yield every page this script writes, with its text."""
    yield HERE / "errors.md", errors_page()
    yield HERE / "reference.md", reference_page()


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
