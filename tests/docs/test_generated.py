"""The pages made from the code are current, and every error has a code of its own."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from openclaw_dagster.spec.codes import CODES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Give the script that writes the pages, as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_current(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.pages() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/generate.py"


def test_every_error_has_a_code_of_its_own(generate: ModuleType) -> None:
    codes = Counter([*CODES, *(kind.code for kind in generate.error_classes())])
    assert {code: count for code, count in codes.items() if count > 1} == {}


def test_every_message_says_something(generate: ModuleType) -> None:
    assert [kind for kind in generate.error_classes() if len(generate.message_of(kind)) < 5] == []
