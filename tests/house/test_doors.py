"""One door to each thing, and the floors: decision 10."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from .paths import MODULES, PACKAGE, ROOT, name_of

T = TypeVar("T")

#: Library → where it may be imported, as the paths of the package begin. The exceptions may only become fewer.
DOORS: dict[str, tuple[str, ...]] = {
    "dagster": ("compile/", "warm/", "web/host.py", "web/ui.py", "web/view.py", "definitions.py"),
    "dagster_webserver": ("web/host.py", "web/ui.py"),
    "graphql": ("web/documents.py",),
    "authlib": ("web/oidc.py",),
    "joserfc": ("web/oidc.py",),
    "requests": ("web/oidc.py",),
    "itsdangerous": ("web/login.py",),
    "sqlalchemy": ("store/", "warm/storage.py"),  # decision 7: under Dagster's own storages
    "alembic": ("store/",),
    "psycopg2": ("store/",),
    "starlette": ("web/",),
    "uvicorn": ("web/",),
    "jinja2": ("web/pages.py",),
    "yaml": ("spec/reader.py",),
    "quickjs": ("policy/typescript.py",),
    "tree_sitter": ("policy/strip.py",),
    "httpcore2": ("adapters/",),
    "httpx2": ("adapters/",),
    "slack_sdk": ("adapters/slack_blocks.py",),
    "smtplib": ("adapters/email.py",),
    "celery": ("warm/hosts.py", "warm/hands.py"),
    "dagster_celery": ("warm/hosts.py", "warm/hands.py"),
}

#: Attribute of a module → where it may be used.
USES: dict[tuple[str, str], tuple[str, ...]] = {
    ("os", "environ"): ("settings.py",),
    ("os", "getenv"): ("settings.py",),
    ("time", "time"): ("clock.py",),
    ("time", "time_ns"): ("clock.py",),
    ("datetime", "now"): ("clock.py",),
    ("datetime", "utcnow"): ("clock.py",),
    ("datetime", "today"): ("clock.py",),
    ("date", "today"): ("clock.py",),
}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


def used(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            if isinstance(owner, ast.Attribute):  # datetime.datetime.now
                yield owner.attr, node.attr
            elif isinstance(owner, ast.Name):
                yield owner.id, node.attr
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.module or "", alias.name) for alias in node.names)


def strays(find: Callable[[ast.AST], Iterator[T]], doors: dict[T, tuple[str, ...]]) -> list[str]:
    found = []
    for path in MODULES:
        here = path.relative_to(PACKAGE).as_posix()
        for one in find(ast.parse(path.read_text())):
            if one in doors and not here.startswith(doors[one]):
                found.append(f"{name_of(path)}: {one}")
    return found


def test_libraries_come_in_by_their_doors() -> None:
    assert strays(imported, DOORS) == []


def test_the_environment_and_the_time_come_in_by_their_doors() -> None:
    assert strays(used, USES) == []


def test_every_exception_is_still_needed() -> None:
    inside = set(imported(ast.parse((PACKAGE / "warm" / "storage.py").read_text())))
    assert "sqlalchemy" in inside, "take it off the doors, and out of decision 10"


def test_a_stray_is_found() -> None:
    tree = ast.parse(
        "import os\nimport datetime\nos.environ['A']\ndatetime.datetime.now()\nfrom os import environ\n"
    )
    assert {("os", "environ"), ("datetime", "now")} <= set(used(tree))
    assert list(imported(ast.parse("from yaml.nodes import Node\nimport sqlalchemy.exc"))) == [
        "yaml",
        "sqlalchemy",
    ]


def test_a_module_imports_only_from_floors_below() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("library", ["sqlalchemy", "dagster", "yaml"])
def test_the_record_names_every_door(library: str) -> None:
    record = (ROOT / "docs" / "decisions" / "0010-doors.md").read_text()
    assert [door for door in DOORS[library] if f"`{door}`" not in record] == []
