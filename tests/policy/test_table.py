"""Decision tables: exactly one row holds, or nothing is decided."""

from __future__ import annotations

import pytest

from openclaw_dagster.policy import PolicyFailed, Row, TablePolicy, open_policy
from openclaw_dagster.spec.expressions import JSON

FILE = "policies/hold.table.yaml"
ROWS = (
    Row("order.hold == 'address'", {"branch": "fix_address", "impact": "low"}, 3, 5),
    Row("order.hold == 'carrier'", {"branch": "rebook", "impact": "medium"}, 4, 5),
    Row(None, {"branch": "manual", "impact": "high"}, 5, 5),
)


def failed(rows: tuple[Row, ...], inputs: dict[str, JSON] | None = None) -> PolicyFailed:
    with pytest.raises(PolicyFailed) as caught:
        TablePolicy(FILE, rows).decide(inputs or {})
    return caught.value


@pytest.mark.parametrize(
    ("hold", "branch", "reason"),
    [
        ("address", "fix_address", "row 1: order.hold == 'address'"),
        ("carrier", "rebook", "row 2: order.hold == 'carrier'"),
        ("other", "manual", "row 3: else"),
        (None, "manual", "row 3: else"),
    ],
)
def test_one_row_decides_and_is_the_reason(hold: JSON, branch: str, reason: str) -> None:
    verdict = open_policy(FILE, "", ROWS).decide({"order": {"hold": hold}})
    assert (verdict.output["branch"], verdict.reason) == (branch, reason)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"order": {}}, "the field `hold` is missing"),
        ({}, "`order` was not given"),
        ({"order": "text"}, "not a mapping"),
    ],
)
def test_a_missing_input_never_falls_through_to_the_last_row(inputs: dict[str, JSON], words: str) -> None:
    error = failed(ROWS, inputs)
    assert words in error.problem
    assert str(error).startswith(f"{FILE}:3:5: row 1 cannot be decided")


def test_every_row_is_asked_even_after_one_holds() -> None:
    rows = (Row("a == 1", {}), Row("a != 1 && b.c", {}), Row("a != 1 && !b.c", {}, 9, 2))
    assert TablePolicy(FILE, rows).decide({"a": 1, "b": {}}).reason == "row 1: a == 1"
    late = (Row("a < 1", {}), Row("a >= 1 && a == 1", {}), Row("a > 1", {}))
    assert TablePolicy(FILE, late).decide({"a": 1}).reason == "row 2: a >= 1 && a == 1"
    broken = (Row("a == 1", {}, 1, 1), Row("!(a == 1) && x == 1 || !(a == 1) && x != 1", {}, 2, 1))
    assert failed((*broken,), {"a": 2}).line == 2


def test_a_value_that_fits_no_row_at_run_time_is_a_failure() -> None:
    # NaN cannot come in as JSON; null in a table of numbers can.
    rows = (Row("x in [1, 2]", {}), Row("!(x in [1, 2]) && x > 2", {}), Row("!(x in [1, 2]) && x <= 2", {}))
    assert "cannot be decided" in failed(rows, {"x": None}).problem


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        (ROWS[:2], 4, "no row decides order.hold is none of 'address', 'carrier'"),
        (
            (ROWS[0], Row("order.hold != 'b'", {}, 9, 1), ROWS[2]),
            9,
            "rows 1 and 2 both hold for order.hold == 'address'",
        ),
        ((ROWS[2], ROWS[0]), 5, "else is the last row"),
        ((Row("order.hold ==", {}, 7, 2),), 7, "it ends too early"),
        ((), 1, "no rows"),
        ((Row("a", {"x": float("nan")}), Row("!a", {})), 1, "output.x is nan"),
        ((Row("a", {}), *(Row(f"b == {n}", {}) for n in range(80))), 1, "the limit is 64"),
    ],
)
def test_a_table_that_does_not_cover_every_case_once_does_not_compile(
    rows: tuple[Row, ...], line: int, words: str
) -> None:
    with pytest.raises(PolicyFailed) as caught:
        TablePolicy(FILE, rows)
    assert words in caught.value.problem
    assert caught.value.line == line


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PolicyFailed, match="did you mean `order`"):
        TablePolicy(FILE, [Row("ordr.hold == 'a'", {}), Row(None, {})], frozenset({"order"}))


def test_a_verdict_cannot_change_the_table() -> None:
    table = TablePolicy(FILE, [Row(None, {"branch": "a", "list": [1]})])
    first = table.decide({})
    first.output["list"].append(2)  # type: ignore[union-attr]
    assert table.decide({}).output == {"branch": "a", "list": [1]}


def test_a_thousand_decisions_are_byte_identical() -> None:
    table = TablePolicy(FILE, ROWS)
    assert len({repr(table.decide({"order": {"hold": "carrier"}})) for _ in range(1_000)}) == 1


def test_the_digest_is_what_is_decided_and_not_where_it_stands() -> None:
    moved = tuple(Row(row.when, row.then, row.line + 7, 1) for row in ROWS)
    assert TablePolicy(FILE, ROWS).digest == TablePolicy("other", moved).digest
    assert TablePolicy(FILE, ROWS).digest != TablePolicy(FILE, (ROWS[0], ROWS[2])).digest
