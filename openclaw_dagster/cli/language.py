"""`claw explain` and `claw schema`: what a code means, and the language for editors."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import openclaw_dagster.cli
from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import shown_path
from openclaw_dagster.errors import ClawError


class NoSuchCode(ClawError):
    """There is no code {code}.{hint} `claw explain` alone lists them all."""

    code = "CLAW704"


@dataclass(frozen=True)
class Explained:
    """One code with its text."""

    code: str
    name: str
    text: str


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel="Write")(explain)
    app.command(rich_help_panel="Write")(schema)


def explain(
    code: Annotated[
        str | None, typer.Argument(help="A code such as CLAW012; without one all are listed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what an error code means and how to mend it.

    \b
    Examples:
      claw explain CLAW012
      claw explain              every code there is
    """
    every = sorted(_every(), key=lambda one: (one.code, one.name))
    wanted = [one for one in every if code is None or one.code == _spelled(code)]
    if not wanted:
        from difflib import get_close_matches

        close = get_close_matches(_spelled(code or ""), [one.code for one in every], n=1)
        raise NoSuchCode(code=code, hint=f" Did you mean {close[0]}?" if close else "")
    if as_json:
        output.say_json([vars(one) for one in wanted])
    elif code is None:
        output.table(("code", "meaning"), [(one.code, one.text) for one in wanted])
    else:
        for one in wanted:
            output.say(f"{one.code}  {one.name}".rstrip(), "bold")
            output.say(one.text)


def _spelled(code: str) -> str:
    digits = re.sub(r"\D", "", code)
    return f"CLAW{int(digits):03d}" if digits else code.upper()


def _every() -> Iterator[Explained]:
    """Yield every code; the errors are read from the source, for importing them all would start Dagster."""
    from openclaw_dagster.spec.diagnostics import CODES

    yield from (Explained(code, "", text) for code, text in CODES.items())
    for path in sorted(Path(openclaw_dagster.cli.__file__).parent.parent.rglob("*.py")):
        text = path.read_text()
        if 'code = "CLAW' in text:
            yield from _errors(ast.parse(text))


def _errors(tree: ast.Module) -> Iterator[Explained]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or not any("Error" in ast.unparse(base) for base in node.bases):
            continue
        for line in node.body:
            value = (
                line.value
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "code"
                else None
            )
            if isinstance(value, ast.Constant):
                text = " ".join(inspect.cleandoc(ast.get_docstring(node) or "").split())
                yield Explained(str(value.value), node.name, _readable(text))


def _readable(template: str) -> str:
    """Return a message's template with its places as words: {name!r} becomes NAME."""
    named = re.sub(r"(?<!\{)\{(\w+)(?:!\w)?\}(?!\})", lambda found: found[1].upper(), template)
    return named.replace("{{", "{").replace("}}", "}")


def schema(
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it here instead of printing it.")
    ] = None,
) -> None:
    """Print the JSON Schema of the language, with which editors complete and check.

    \b
    Example:
      claw schema --output claw_specs/claw.schema.json
    """
    import json

    from openclaw_dagster.spec.schema import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        output.out().file.write(text)
    else:
        try:
            file.write_text(text)
        except OSError as error:
            raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error
        output.remark(f"written to {shown_path(file)}")
    name = f"./{file.name}" if file else "./claw.schema.json"
    output.remark(
        "Put this line first in a .claw file beside it, and an editor with a YAML language server uses it:"
    )
    output.remark(f"# yaml-language-server: $schema={name}")
