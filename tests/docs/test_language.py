"""Every example of the language's page is right: whole systems load, parts load inside a good system."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from openclaw_dagster.cli.surroundings import check_environment
from openclaw_dagster.runtime.workspace import Project
from openclaw_dagster.spec.build import LATER
from openclaw_dagster.spec.layers import LAYERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
TEXTS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
ENVIRONMENTS = [text for text in TEXTS if text.startswith("people:")]
BLOCKS = [text for text in TEXTS if text not in ENVIRONMENTS]
SAMPLE = (ROOT / "claw_specs" / "dispatch.claw").read_text(encoding="utf-8")


SIMULATORS = "adapters: {carrier: {use: simulator}, crm: {use: simulator}, erp: {use: simulator}}\n"


def layers(text: str) -> dict[str, str]:
    """Return the text of each top-level block."""
    return dict(re.findall(r"^(\w+)(:.*\n(?: .*\n|\n)*)", text, re.M))


def whole(block: str) -> str:
    """Return a block as a system: a part replaces its layers in the sample."""
    if block.startswith("system:"):
        return block
    merged = layers(SAMPLE) | layers(block)
    return "".join(f"{word}{rest}" for word, rest in merged.items())


def test_the_page_has_examples_of_every_layer() -> None:
    assert {layer for block in BLOCKS for layer in layers(block)} >= set(LAYERS)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_is_right(number: int, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "claw_specs" / "policies", tmp_path / "policies")
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "order.json").write_text('{"order": {"id": "A-1"}}', encoding="utf-8")
    text = whole(BLOCKS[number])
    (tmp_path / "example.claw").write_text(text, encoding="utf-8")
    if not text.startswith("system: dispatch"):
        (tmp_path / "dispatch.claw").write_text(SAMPLE, encoding="utf-8")
    for other in BLOCKS:  # runbooks begin systems that stand further down
        if other.startswith("system: pack_line") and other != text:
            (tmp_path / "pack_line.claw").write_text(other, encoding="utf-8")
    assert [refused.render() for refused in Project(tmp_path).refused] == []


def test_the_people_of_the_page_answer_for_the_system_of_the_page(tmp_path: Path) -> None:
    (people,) = ENVIRONMENTS
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "here.yaml").write_text(SIMULATORS + people, encoding="utf-8")
    (returns,) = (text for text in BLOCKS if text.startswith("system: returns"))
    (tmp_path / "returns.claw").write_text(returns, encoding="utf-8")
    wrong, _ = check_environment(Project(tmp_path), "here")
    assert [refused.render() for refused in wrong] == []


def test_every_word_that_comes_later_is_named() -> None:
    end = PAGE[PAGE.index("## Words that come later") :]
    words = {words.rpartition(".")[2] for block in LATER.values() for words in block}
    assert [word for word in sorted(words) if f"`{word}`" not in end] == []
