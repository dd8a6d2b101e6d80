"""Whatever is done to a file, it is a System or refused; and every System becomes Dagster definitions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from openclaw_dagster.compile.system import compile_system
from openclaw_dagster.runtime.workspace import Project, Workspace, check_policy
from openclaw_dagster.settings import read_settings
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.load import load
from openclaw_dagster.spec.model import System

HERE = Path(__file__).parent
SPECS = HERE.parents[1] / "claw_specs"
BASES = [(SPECS / "dispatch.claw").read_text(), (HERE / "good.claw").read_text()]
#: Lines of broken files: what people do write.
PIECES = sorted(
    {
        line
        for path in (HERE / "corpus").glob("*.claw")
        if path.stat().st_size < 4_000
        for line in path.read_bytes().decode("utf-8", "replace").splitlines()
    }
)
WORDS = sorted({word for base in BASES for word in base.replace(":", " ").split()})

EXAMPLES = int(os.environ.get("CLAW_EXAMPLES", "400"))
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CLAW_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Give a workspace in the development environment; nothing here opens its database."""
    home = tmp_path_factory.mktemp("home")
    chosen = read_settings(home=str(home), specs=str(SPECS), environment="development")
    return Workspace(chosen, project=Project(SPECS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the files that the systems name."""
    root = tmp_path_factory.mktemp("specs")
    for path in (*SPECS.glob("policies/*"), *(HERE / "corpus").glob("*/*")):
        (root / path.parent.name).mkdir(exist_ok=True)
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    return root


def judge(data: bytes, folder: Path, shop: Workspace) -> System | None:
    """Load a file: it is refused with places in it, or it is a system that Dagster takes."""
    path = folder / "mutant.claw"
    path.write_bytes(data)
    try:
        system = load(path, shop.project.catalog, check_policy)
    except SpecRefused as refused:
        told = refused
    else:
        dg.Definitions.validate_loadable(compile_system(shop, system))
        return system
    assert told.diagnostics
    assert all(one.mark.line >= 1 and one.mark.column >= 1 for one in told.diagnostics)
    assert told.render().encode("utf-8").startswith(str(path).encode())
    return None


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Draw one of the good files with a few things done to its lines and letters."""
    lines = draw(st.sampled_from(BASES)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1)) if lines else 0
        match draw(st.sampled_from(["delete", "double", "swap", "letter", "piece", "indent", "word"])):
            case "delete":
                del lines[at : at + draw(st.integers(1, 4))]
            case "double":
                lines[at:at] = lines[at : at + draw(st.integers(1, 4))]
            case "swap" if lines:
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "letter" if lines and lines[at]:
                place = draw(st.integers(0, len(lines[at]) - 1))
                letter = draw(st.one_of(st.sampled_from(list(":-{}[]'\"#&*!|>%@`,? \t")), st.characters()))
                lines[at] = lines[at][:place] + letter + lines[at][place + 1 :]
            case "piece":
                lines.insert(at, draw(st.sampled_from(PIECES)))
            case "indent" if lines:
                lines[at] = " " * draw(st.integers(0, 12)) + lines[at].strip()
            case "word" if lines and lines[at].split():
                word = draw(st.sampled_from(lines[at].split()))
                lines[at] = lines[at].replace(word, draw(st.sampled_from(WORDS)), 1)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.sampled_from(
        [
            "",
            " ",
            "__class__",
            "<<",
            "on",
            "500ms",
            "-1s",
            "order.id",
            "carrier.book",
            "queue://x",
            "${x}",
            "in",
        ]
    ),
    st.text(max_size=8),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


@st.composite
def structures(draw: st.DrawFn) -> bytes:
    """Draw one of the good files, parsed, changed at a few places, and written again."""
    data = yaml.load(draw(st.sampled_from(BASES)), Loader=yaml.BaseLoader)
    for _ in range(draw(st.integers(1, 3))):
        places = list(inside(data))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["drop", "set", "copy", "rename"])):
            case "drop":
                del parent[key]
            case "set":
                parent[key] = draw(VALUES)
            case "copy":
                other, its = draw(st.sampled_from(places))
                parent[key] = yaml.load(yaml.safe_dump(other[its]), Loader=yaml.BaseLoader)
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from(WORDS))] = parent.pop(key)
    plain = yaml.safe_dump(data, sort_keys=False, allow_unicode=draw(st.booleans()))
    return unquoted(plain).encode("utf-8", "surrogatepass")


def unquoted(text: str) -> str:
    """Return dumped text whose numbers and truth values are what they were before they became text."""
    for word in ("true", "false", "3", "5"):
        text = text.replace(f"'{word}'", word)
    return text.replace("'on':", "on:")


def inside(data: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from inside(value)


@PROFILE
@given(data=texts())
def test_a_file_with_changed_lines(data: bytes, folder: Path, shop: Workspace) -> None:
    judge(data, folder, shop)


@PROFILE
@given(data=structures())
def test_a_file_with_changed_structure(data: bytes, folder: Path, shop: Workspace) -> None:
    judge(data, folder, shop)


@PROFILE
@given(data=st.binary(max_size=200))
def test_a_file_of_any_bytes(data: bytes, folder: Path, shop: Workspace) -> None:
    judge(data, folder, shop)


@pytest.mark.parametrize("base", BASES, ids=["sample", "good"])
def test_the_good_files_are_good(base: str, folder: Path, shop: Workspace) -> None:
    assert judge(base.encode(), folder, shop) is not None


@pytest.mark.parametrize("word", ["context", "config", "def", "type", "dict", "output", "none", "self"])
def test_a_stage_may_have_a_word_of_dagster_for_a_name_if_expressions_can_say_it(
    word: str, folder: Path, shop: Workspace
) -> None:
    text = BASES[0].replace("- book_carrier:", f"- {word}:")
    system = judge(text.encode(), folder, shop)
    assert (system is None) == (word == "type")


def test_every_system_name_that_loads_is_one_that_dagster_takes(folder: Path, shop: Workspace) -> None:
    import keyword

    from dagster._core.definitions.utils import DISALLOWED_NAMES

    words = {word for word in (*DISALLOWED_NAMES, *keyword.kwlist) if word.islower()}
    taken = [word for word in sorted(words) if judge(named(word), folder, shop) is not None]
    assert taken == []
    assert judge(named("parcels"), folder, shop) is not None


def named(word: str) -> bytes:
    text = BASES[0].replace("system: dispatch", f"system: {word}")
    return text.replace("dispatch_latency_p95", f"{word}_latency_p95").encode()
