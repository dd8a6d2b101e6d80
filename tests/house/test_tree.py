"""What a stranger finds: the top levels, the sample, files of a size one can read, and nothing left over."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch

import pytest

from openclaw_dagster.spec.layers import LAYERS
from openclaw_dagster.spec.model import System

from .paths import MODULES, PACKAGE, ROOT, name_of, tracked

TOP = [
    "openclaw_dagster",
    "claw_specs",
    "dagster.yaml",
    "workspace.yaml",
    "tests",
    "deploy",
    "pyproject.toml",
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: Longest module, in lines; and those that are longer, which may only become shorter, and then leave the list.
LONGEST = 300
LONGER = {
    "openclaw_dagster/spec/coverage.py": 455,
    "openclaw_dagster/spec/expressions.py": 321,
    "openclaw_dagster/web/signatures.py": 333,
}
LONGEST_TEST = 500

#: What says something about a place where the project was worked on, and nothing about the project. Each pattern is
#: written so that it does not find itself.
LEFT_OVER = {
    "work that is put off": r"\b(?:TO[D]O|FIX[M]E|HA[C]K)\b",
    "somebody's own folder": r"(?<![\w.$}-])/(?:ro[o]t|ho[m]e|Us[e]rs|wor[k])/\w",
    "where packages came from": r"--(?:extra-)?index-ur[l]|trusted-hos[t]|https?://[^/\s\"')]*(?:mirro[r]|regist[r]y|artifac)",
    "how a text came about": r"(?i)co-authored-b[y]|generated (?:b[y]|wit[h]) \w*\s?(?:AI|assistan[t]|model)",
    "a merge that was not finished": r"^(?:<<<<<<[<]|>>>>>>[>]) ",
}


@pytest.mark.parametrize("name", TOP)
def test_the_top_levels_are_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_a_system_has_five_layers() -> None:
    layers = ["triggers", "decisions", "execution", "data", "observability"]
    assert list(LAYERS) == layers
    assert [field for field in System.model_fields if field in layers] == layers


def test_the_sample_of_the_readme_is_the_sample() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert blocks[0] == (ROOT / "claw_specs" / "dispatch.claw").read_text()


def test_a_file_can_be_read_in_one_sitting() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    longer = {name: count for name, count in lines.items() if count > LONGEST}
    assert {name: count for name, count in longer.items() if count > LONGER.get(name, LONGEST)} == {}
    assert [name for name in LONGER if name not in longer] == [], (
        "it is short enough now: take it off the list"
    )
    tests = {name_of(path): len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {name: count for name, count in tests.items() if count > LONGEST_TEST} == {}


def test_every_module_says_why_one_would_open_it() -> None:
    silent = [
        name_of(path)
        for path in MODULES
        if path.read_text().strip()
        and not path.read_text().startswith('"""')
        and "versions" not in path.parts
    ]
    assert silent == []


def test_nothing_is_left_over() -> None:
    found = []
    for path in tracked():
        if path.suffix in (".png", ".pem") or "corpus" in path.parts:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found += [
                f"{name_of(path)}:{number}: {what}" for what, one in LEFT_OVER.items() if re.search(one, line)
            ]
    assert found == []


def test_the_package_brings_what_it_reads() -> None:
    globs = PROJECT["tool"]["setuptools"]["package-data"]["openclaw_dagster"]
    data = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(data) > 5
    assert [name for name in data if not any(fnmatch(name, glob) for glob in globs)] == []
    folders = {path.parent for path in MODULES}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_lock_covers_every_dependency_and_names_no_host() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text()
    locked = {_plain(line.split("==")[0]) for line in lock.splitlines() if "==" in line}
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    names = {_plain(re.split(r"[\s<>=!~;\[]", one, maxsplit=1)[0]) for one in wanted}
    assert names - locked == set()
    assert re.findall(r"://|@ |--\w", lock) == []


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_ci_calls_what_a_contributor_calls() -> None:
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    rules = re.findall(r"^check: (.*?)(?: ##.*)?$", (ROOT / "Makefile").read_text(), re.M)
    assert {"format", "lint", "types", "floors", "test"} <= set(rules[0].split())
