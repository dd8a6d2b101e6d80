"""`claw test`: the scenarios of systems, played on a clock that is moved by hand."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openclaw_dagster.cli import output
from openclaw_dagster.cli.check import as_refusal, project_at, targets
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import shown_path
from openclaw_dagster.clock import span
from openclaw_dagster.errors import ClawError

if TYPE_CHECKING:
    from openclaw_dagster.runtime.scenario import Played
    from openclaw_dagster.runtime.workspace import Project
    from openclaw_dagster.settings import Settings
    from openclaw_dagster.spec.diagnostics import SpecRefused
    from openclaw_dagster.spec.environment import Environment
    from openclaw_dagster.spec.model import System
    from openclaw_dagster.spec.scenarios import Scenario

#: Lines of what happened that are shown of a scenario that came out otherwise.
MOST_LINES = 40

Paths = Annotated[
    list[Path] | None, typer.Argument(help="Files or folders; without any the folder CLAW_SPECS.")
]
Only = Annotated[str | None, typer.Option("--scenario", "-s", help="Play only the scenario of this name.")]
Name = Annotated[
    str | None,
    typer.Option("--environment", "-e", help="Whose people and constants hold (CLAW_ENVIRONMENT)."),
]


@dataclass
class _Cast:
    """What is to be played, and what keeps it from being played."""

    parts: list[tuple[Settings, Project, System, Scenario]] = field(default_factory=list)
    refused: list[SpecRefused] = field(default_factory=list)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("test", rich_help_panel="Write")(run)


def run(
    paths: Paths = None, scenario: Only = None, environment: Name = None, as_json: AsJson = False
) -> None:
    """Play the scenarios that systems have under `tests:`, with simulators, in no time.

    \b
    Examples:
      claw test                                   every scenario of the folder
      claw test claw_specs/stalled_orders.claw    those of one system
      claw test --scenario two_people_agree       one of them

    Exit code 0 when all came out as they say, 1 when one did not, 2 when a file or an argument is wrong.
    """
    cast = _cast(targets(paths), environment)
    if cast.refused:
        _say_refused(cast.refused, as_json=as_json)
        raise typer.Exit(2)
    parts = [part for part in cast.parts if scenario in (None, part[3].name)]
    if not parts:
        raise typer.BadParameter(_nothing(cast, scenario))
    told = []
    for played, seconds in _play(parts):
        told.append((played, seconds))
        if not as_json:
            _say(played, seconds, max(len(part[2].name) for part in parts))
    if as_json:
        output.say_json(_for_machines(told))
    else:
        _sum_up(told)
    raise typer.Exit(0 if all(played.good for played, _ in told) else 1)


def _cast(paths: Sequence[Path], environment: str | None) -> _Cast:
    """Return every scenario of the paths; whatever is wrong with files, people or roles is found first."""
    from openclaw_dagster.settings import read_settings
    from openclaw_dagster.spec.diagnostics import SpecRefused
    from openclaw_dagster.spec.surroundings import load_environment

    cast = _Cast()
    for path in paths:
        try:
            project = project_at(path)
            settings = read_settings(specs=str(project.specs), environment=environment)
            cast.refused += project.refused
            systems = [system for system in project.systems.values() if system.scenarios]
            if systems:
                known = load_environment(settings.environment_file)
                cast.refused += _strangers(project, settings.environment_file, systems, known)
            cast.parts += [(settings, project, system, one) for system in systems for one in system.scenarios]
        except SpecRefused as problem:
            cast.refused.append(problem)
        except ClawError as problem:
            cast.refused.append(as_refusal(path, problem))
    return cast


def _strangers(
    project: Project, file: Path, systems: Sequence[System], known: Environment
) -> Iterator[SpecRefused]:
    """Yield what an environment does not have of the people and roles that systems and scenarios name."""
    from openclaw_dagster.spec.diagnostics import Findings
    from openclaw_dagster.spec.reader import read
    from openclaw_dagster.spec.roles import check_cast, check_roles

    page = Findings(str(shown_path(file)))
    root = read(file.read_bytes(), page)
    if root is not None:
        check_roles(page, root, known, systems)
    pages = [page]
    for system in systems:
        pages.append(Findings(str(shown_path(project.specs / system.path))))
        check_cast(pages[-1], system, known)
    yield from (one.refusal() for one in pages if one.found)


def _nothing(cast: _Cast, scenario: str | None) -> str:
    from openclaw_dagster.spec.diagnostics import nearest

    if scenario is None or not cast.parts:
        return "there is no scenario to play: write one under tests: in a .claw file"
    names = sorted({part[3].name for part in cast.parts})
    close = nearest(scenario, names)
    hint = f"did you mean {close}?" if close else f"there are: {', '.join(names)}"
    return f"there is no scenario {scenario}; {hint}"


def _play(
    parts: Sequence[tuple[Settings, Project, System, Scenario]],
) -> Iterator[tuple[Played, float]]:
    """Yield how each scenario went, and how many seconds it took."""
    from openclaw_dagster.runtime.scenario import play

    with tempfile.TemporaryDirectory(prefix="claw-test-") as folder:
        for settings, project, system, scenario in parts:
            begun = time.perf_counter()
            played = play(settings, project, Path(folder), system, scenario)
            yield played, time.perf_counter() - begun


def _say(played: Played, seconds: float, width: int) -> None:
    console = output.out()
    console.print("[green]ok  [/]  " if played.good else "[bold red]FAIL[/]  ", markup=True, end="")
    time_said = f"{span(played.end)} in {seconds:.2f} s"
    output.say(f"{played.system:<{width}}  {played.scenario}  ({time_said})")
    if played.good:
        return
    for one in played.differences:
        output.say(f"      {one.what}: expected {_shown(one.expected)}, found {_shown(one.found)}")
    output.say("      what happened:", "dim")
    lines = played.story or ("nothing: no case was opened",)
    more = [f"… and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    for line in (*lines[:MOST_LINES], *more):
        output.say(f"      {line[:200]}", "dim")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _sum_up(told: Sequence[tuple[Played, float]]) -> None:
    bad = [played for played, _ in told if not played.good]
    virtual = span(sum(played.end for played, _ in told))
    seconds = sum(seconds for _, seconds in told)
    said = f"{output.count(len(told), 'scenario')}, {virtual} in {seconds:.1f} s"
    output.say(f"{said}: {len(bad)} did not come out as said" if bad else f"{said}: all good", "bold")


def _say_refused(refused: Sequence[SpecRefused], *, as_json: bool) -> None:
    if as_json:
        found = [one.as_json() for problem in refused for one in problem.diagnostics]
        output.say_json({"ok": False, "scenarios": [], "diagnostics": found})
        return
    for problem in refused:
        output.out().print(output.diagnostics(problem))
    output.say("nothing was played", "bold red")


def _for_machines(told: Sequence[tuple[Played, float]]) -> dict[str, Any]:
    return {
        "ok": all(played.good for played, _ in told),
        "scenarios": [
            {
                "system": played.system,
                "name": played.scenario,
                "ok": played.good,
                "virtual_ms": played.end,
                "seconds": round(seconds, 3),
                "differences": [vars(one) for one in played.differences],
                "story": list(played.story),
            }
            for played, seconds in told
        ],
        "diagnostics": [],
    }
