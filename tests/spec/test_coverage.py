"""A table with a gap or an overlap does not compile: checked against evaluating every case."""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openclaw_dagster.spec.coverage import ROW_LIMIT, CoverageError, find_gap, find_overlap
from openclaw_dagster.spec.expressions import JSON, compile_expression


@pytest.mark.parametrize(
    ("rows", "gap"),
    [
        (
            ["order.hold == 'address'", "order.hold == 'carrier'"],
            "order.hold is none of 'address', 'carrier'",
        ),
        (["order.value > 5000", "order.value < 5000"], "order.value == 5000"),
        (["order.value >= 5", "order.value <= 4"], "order.value == 4.5"),
        (
            ["order.value < 5000 || order.hold != 'address'"],
            "order.hold == 'address' and order.value == 5000",
        ),
        (
            ["order.value <= 5000 || order.hold != 'address'"],
            "order.hold == 'address' and order.value == 5001",
        ),
        (["a == true", "b"], "a == false and b == false"),
        (["x in [1, 2, 3]", "x > 3", "x < 1"], "x == 1.5"),
        (["d < duration('4h')", "d > duration('1h30m') && d < duration('6h')"], "d == duration('21600s')"),
        (["s < 'b'", "s > 'b'"], "s == 'b'"),
        (["x == null"], "x is none of null"),
        (["size(lines) > 3", "size(lines) == 0"], "size(lines) == 1"),
        (["a.contains('x')"], "not `contains(a, 'x')`"),
        ([], "anything"),
        (["false"], "anything"),
    ],
)
def test_a_gap_has_an_example(rows: list[str], gap: str) -> None:
    assert find_gap(rows) == gap


@pytest.mark.parametrize(
    "rows",
    [
        ["order.hold == 'a'", "order.hold != 'a'"],
        ["order.hold == 'a'", "!(order['hold'] == 'a')"],
        ["a", "!a"],
        ["a == true", "a == false"],
        ["x > 5", "x <= 5"],
        ["5 < x", "x <= 5.0"],
        ["x in [1, 2]", "!(x in [2, 1])"],
        ["x == null", "x != null && x > 5", "x != null && x <= 5"],
        ["d < duration('4h')", "d >= duration('240m')"],
        ["duration(o.due) < duration('4h')", "duration(o.due) >= duration('4h')"],
        ["a < b", "a >= b"],
        ["a.b == c.d", "c.d != a.b"],
        ["a.contains('x')", "! a.contains( 'x' )"],
        ["x.all(i, i > 1)", "!x.all( i, i > 1)"],
        ["a ? b : c", "a ? !b : !c"],
        ["size(l) > 3", "size(l) <= 3"],
        ["s < 'b'", "s >= 'b'"],
        ["true"],
    ],
)
def test_a_good_table_has_neither(rows: list[str]) -> None:
    assert find_overlap(rows) is None
    assert find_gap(rows) is None


@pytest.mark.parametrize(
    ("rows", "overlap"),
    [
        (["a", "b"], (0, 1, "a == true and b == true")),
        (["order.value > 3", "order.value > 5"], (0, 1, "order.value == 6")),
        (["x == 1", "x == 2", "x == 1.0"], (0, 2, "x == 1")),
        (["x in ['a', 'b']", "x == 'b'"], (0, 1, "x == 'b'")),
        (["true", "x == 1"], (0, 1, "x == 1")),
    ],
)
def test_an_overlap_has_an_example(rows: list[str], overlap: tuple[int, int, str]) -> None:
    assert find_overlap(rows) == overlap


def test_conditions_that_cannot_be_compared_come_with_the_repair() -> None:
    rows = ["a.contains('x')", "b.startsWith('y')"]
    found = find_overlap(rows)
    assert found is not None
    repair = "!(a.contains('x')) && (b.startsWith('y'))"
    assert f"write row 2 as `{repair}`" in found[2]
    assert find_overlap([rows[0], repair]) is None


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(CoverageError, match="the limit is 64"):
        find_gap(["a"] * (ROW_LIMIT + 1))


@pytest.mark.parametrize(
    "rows",
    [
        [f"a == {i} && b == {j}" for i in range(8) for j in range(8)],
        [f"a > {i} && a <= {i + 1}" for i in range(64)],
        [" && ".join(f"(p{i}{j} || q{j})" for j in range(12)) for i in range(20)],
        ["(" + ") && (".join(f"v{i} == {i % 3} || w{i % 5} == {i % 7}" for i in range(30)) + ")"] * 20,
        [f"!({' || '.join(f'p{i}h{h}' for h in range(5))})" for i in range(6)]
        + [f"p{i}h{h} && p{j}h{h}" for h in range(3) for i in range(6) for j in range(i)],
    ],
)
def test_a_large_table_is_answered_or_refused_soon(rows: list[str]) -> None:
    began = time.perf_counter()
    for question in (find_overlap, find_gap):
        with contextlib.suppress(CoverageError):
            question(rows)
    assert time.perf_counter() - began < 5


# Brute force: every atom below has its answer decided by these values, one for each cell of its path.
_VALUES: dict[str, list[JSON]] = {
    "o.n": [-1, 0, 0.5, 1, 1.5, 2, 3],
    "o.s": ["a", "b", "other"],
    "o.b": [True, False],
    "flag": [True, False],
    "o.z": [None, "k", "other"],
}
_atoms = st.sampled_from(
    [
        *(f"o.n {op} {n}" for op in ("<", "<=", ">", ">=", "==", "!=") for n in ("0", "1", "2.0")),
        *("0 < o.n", "1.0 >= o.n", "o.n in [0, 2]", "o.n in []"),
        *("o.s == 'a'", "o.s != 'b'", "o.s in ['a', 'b']", "'a' == o['s']"),
        *("o.b", "o.b == true", "o.b != false", "flag", "flag == false", "true", "false"),
        *("o.z == null", "o.z != null", "o.z == 'k'", "null == o.z"),
    ]
)
_conditions = st.recursive(
    _atoms,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        | inner.map(lambda text: f"!({text})")
        | st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})")
    ),
    max_leaves=6,
)


def _cases() -> list[dict[str, JSON]]:
    found: list[dict[str, JSON]] = []
    for n, s, b, flag, z in itertools.product(*_VALUES.values()):
        found.append({"o": {"n": n, "s": s, "b": b, "z": z}, "flag": flag})
    return found


_CASES = _cases()


@given(st.lists(_conditions, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_the_answers_are_exact(rows: list[str]) -> None:
    compiled = [compile_expression(row) for row in rows]
    truths = [[one.test(case) for case in _CASES] for one in compiled]
    assert (find_gap(rows) is not None) == any(not any(column) for column in zip(*truths, strict=True))
    overlaps = [
        (first, second)
        for second in range(len(rows))
        for first in range(second)
        if any(a and b for a, b in zip(truths[first], truths[second], strict=True))
    ]
    found = find_overlap(rows)
    assert (found[:2] if found else None) == (overlaps[0] if overlaps else None)


@given(st.lists(_conditions, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_the_example_of_a_gap_is_one(rows: list[str]) -> None:
    gap = find_gap(rows)
    if gap is None or gap == "anything":
        return
    said = [part for part in gap.split(" and ") if " is none of " not in part]
    others = [part.split(" is none of ")[0] for part in gap.split(" and ") if " is none of " in part]
    condition = " && ".join([*said, *(f"{path} == 'other'" for path in others)])
    fits = [case for case in _CASES if compile_expression(condition).test(case)]
    assert fits
    for row in rows:
        assert not any(compile_expression(row).test(case) for case in fits)
