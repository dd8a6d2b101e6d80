"""The list of what is proven is whole, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from .paths import ROOT

PAGE = (ROOT / "docs" / "statements.md").read_text()
ROWS = re.findall(r"^\| ((?:S0|S1|DC)-\d+) \| (.+?) \| (.+?) \|$", PAGE, re.M)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
IDS = [
    *(f"S0-{number:02}" for number in range(1, 75)),
    *(f"S1-{number:02}" for number in range(1, 30)),
    *(f"DC-{number}" for number in range(1, 10)),
]


@cache
def written_in(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_statement_is_there_once_and_in_order() -> None:
    assert [name for name, _, _ in ROWS] == IDS


@pytest.mark.parametrize(("name", "proof"), [(name, proof) for name, _, proof in ROWS])
def test_a_statement_has_a_test_or_is_not_yet(name: str, proof: str) -> None:
    named = NAMED.findall(proof)
    assert [f"{file}::{test}" for file, test in named if test not in written_in(file)] == []
    if not proof.startswith("not yet"):
        assert named
        assert NAMED.sub("", proof).strip(", ") == "", "a proof is tests and nothing else"
    else:
        assert proof == "not yet" or re.fullmatch(r"not yet \(so far: .+\)", proof)


def test_the_count_is_right() -> None:
    proven = sum(not proof.startswith("not yet") for _, _, proof in ROWS)
    assert f"{proven} of {len(IDS)} are proven." in PAGE
