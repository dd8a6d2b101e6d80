"""`claw check`: is what is written right, and does an environment have what it needs?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import shown_path
from openclaw_dagster.errors import ClawError

if TYPE_CHECKING:
    from openclaw_dagster.runtime.workspace import Project
    from openclaw_dagster.spec.diagnostics import Diagnostic, SpecRefused
    from openclaw_dagster.spec.model import System

Paths = Annotated[
    list[Path] | None, typer.Argument(help="Files or folders; without any the folder CLAW_SPECS.")
]
Name = Annotated[
    str | None,
    typer.Option("--environment", "-e", help="Check environments/NAME.yaml against the systems too."),
]


class NothingToCheck(ClawError):
    """{path} {problem}"""

    code = "CLAW702"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel="Write")(check)


def check(paths: Paths = None, environment: Name = None, as_json: AsJson = False) -> None:
    """Check `.claw` files, and say everything that is wrong at once.

    \b
    Examples:
      claw check                             every file of the folder
      claw check claw_specs/dispatch.claw    one file
      claw check --environment production    and is production complete?

    Exit code 0 when all is right, 2 when something is wrong. `claw explain` explains a code.
    """
    from openclaw_dagster.spec.diagnostics import SpecRefused

    systems: list[System] = []
    refused: list[SpecRefused] = []
    warnings: list[SpecRefused] = []
    for path in targets(paths):
        try:
            project = project_at(path)
            refused += project.refused
            systems += project.systems.values()
            if environment:
                wrong, doubtful = _environment(project, environment)
                refused += wrong
                warnings += doubtful
        except SpecRefused as problem:
            refused.append(problem)
        except ClawError as problem:
            refused.append(as_refusal(path, problem))
    if as_json:
        output.say_json(_for_machines(systems, refused, warnings))
    else:
        _for_people(systems, refused, warnings)
    raise typer.Exit(2 if refused else 0)


def targets(paths: Sequence[Path] | None) -> list[Path]:
    """Return the files and folders that are named, or the folder of the settings."""
    from openclaw_dagster.settings import read_settings

    return list(paths) if paths else [shown_path(read_settings().specs)]


def project_at(path: Path) -> Project:
    """Return the project of a folder, or of one file with what lies beside it; NothingToCheck."""
    from openclaw_dagster.runtime.workspace import Project

    if path.is_dir():
        if not any(path.glob("*.claw")):
            raise NothingToCheck(path=path, problem="holds no .claw file: name one, or another folder.")
        return Project(path)
    if not path.exists():
        raise NothingToCheck(
            path=path, problem="does not exist: name a .claw file, or the folder that holds them."
        )
    return Project(path.parent, only=path)


def as_refusal(path: Path, problem: ClawError) -> SpecRefused:
    """Return what is wrong with a path as it is said of a file."""
    from openclaw_dagster.spec.diagnostics import Diagnostic, Mark, SpecRefused

    details = problem.details
    line = details.get("line", 1)
    mark = Mark(line if isinstance(line, int) else 1)
    text = str(problem) if not isinstance(problem, NothingToCheck) else str(details["problem"])
    return SpecRefused.of(
        str(path), [Diagnostic(str(details.get("file", path)), mark, problem.code, text)], {}
    )


def _environment(project: Project, name: str) -> tuple[list[SpecRefused], list[SpecRefused]]:
    from openclaw_dagster.cli.surroundings import check_environment

    return check_environment(project, name)


def _for_people(
    systems: Sequence[System], refused: Sequence[SpecRefused], warnings: Sequence[SpecRefused]
) -> None:
    console = output.out()
    for problem in refused:
        console.print(output.diagnostics(problem))
        console.print()
    for problem in warnings:
        console.print(output.diagnostics(problem, word="warning"))
        console.print()
    for system in systems:
        line = f"{system.name} {system.version}  {system.digest[:12]}  {_size(system)}"
        console.print("[green]ok[/]  ", markup=True, end="")
        output.say(line)
    if refused:
        problems = output.count(sum(len(one.diagnostics) for one in refused), "problem")
        output.say(f"{problems} in {output.count(len({one.file for one in refused}), 'file')}", "bold red")


def _size(system: System) -> str:
    parts: tuple[tuple[Sequence[Any], str], ...] = (
        (system.triggers, "trigger"), (system.decisions, "decision"), (system.execution, "step"),
        *(((system.scenarios, "scenario"),) if system.scenarios else ()),
    )  # fmt: skip
    return ", ".join(output.count(len(things), word) for things, word in parts)


def _for_machines(
    systems: Sequence[System], refused: Sequence[SpecRefused], warnings: Sequence[SpecRefused]
) -> dict[str, Any]:
    def found(problems: Sequence[SpecRefused]) -> list[dict[str, Any]]:
        every: list[Diagnostic] = [one for problem in problems for one in problem.diagnostics]
        return [one.as_json() for one in every]

    return {
        "ok": not refused,
        "systems": [
            {
                "name": system.name,
                "version": system.version,
                "digest": system.digest,
                "path": system.path,
                "triggers": len(system.triggers),
                "decisions": len(system.decisions),
                "steps": len(system.execution),
                "scenarios": len(system.scenarios),
            }
            for system in systems
        ],
        "diagnostics": found(refused),
        "warnings": found(warnings),
    }
