"""Every command explains itself, and every option of it says what it is for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from openclaw_dagster.cli.app import app
from openclaw_dagster.cli.dev import register

from .paths import PAGES, name_of


def commands() -> dict[tuple[str, ...], Any]:
    """Return every command that people see, by the words it is called with."""
    late = typer.Typer()
    register(late)
    root = typer.main.get_command(app)
    found = dict(_below(root, ()))
    return found | {words: one for words, one in _below(typer.main.get_command(late), ()) if words}


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _below(inner, (*words, name))


COMMANDS = commands()


def test_the_commands_are_all_there() -> None:
    first = {words[0] for words in COMMANDS if words}
    assert {
        "check",
        "schema",
        "dev",
        "serve",
        "send",
        "case",
        "dlq",
        "audit",
        "doctor",
        "adapter",
        "demo",
    } <= first


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_documents_every_option(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="claw")
    assert done.exit_code == 0
    for parameter in COMMANDS[words].params:
        assert getattr(parameter, "help", None), f"{parameter.name} of claw {' '.join(words)} says nothing"
        if parameter.param_type_name == "option":
            assert max(parameter.opts, key=len) in done.stdout


@pytest.mark.parametrize("words", [words for words in COMMANDS if words], ids=" ".join)
def test_a_command_says_what_it_does(words: tuple[str, ...]) -> None:
    assert len(COMMANDS[words].help or "") > 20


def test_the_real_command_helps() -> None:
    command = [sys.executable, "-m", "openclaw_dagster.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "claw check" in done.stdout


def test_the_pages_name_commands_and_options_that_are_there() -> None:
    options = {
        words: {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)}
        for words, command in COMMANDS.items()
    }
    names = {words[:1] for words in COMMANDS if words}
    wrong = []
    for page in PAGES:
        for line in re.findall(r"(?:^|`)claw ((?:-{0,2}[a-z].*?))(?:`|$)", page.read_text(), re.M):
            said = re.findall(r"[^\s'\"]+", line)
            while said and said[0].startswith("-"):  # options of the root, with their values
                said = said[2:]
            words = tuple(said[:2]) if tuple(said[:2]) in COMMANDS else tuple(said[:1])
            if words and words[0].isalpha() and words not in COMMANDS and words[:1] not in names:
                wrong.append(f"{name_of(page)}: claw {line}")
            given = {re.split(r"[=,;)]", one)[0] for one in said if re.match(r"--[a-z]", one)}
            if words in options and (unknown := given - options[words] - options[()] - {"--help"}):
                wrong.append(f"{name_of(page)}: claw {line}: {unknown}")
    assert wrong == []
