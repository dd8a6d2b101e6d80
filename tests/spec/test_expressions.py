"""What users may write in a condition, what it costs to be wrong, and where the error points."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openclaw_dagster.spec.expressions import (
    JSON,
    TEXT_LIMIT,
    ExpressionError,
    ExpressionFailed,
    compile_expression,
    compile_template,
    syntax,
)

ORDER: dict[str, JSON] = {
    "hold": "address",
    "value": 12.5,
    "lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}],
}


@pytest.mark.parametrize("value", [1, 1.0, 0.5, 2**53 + 1, 1e300])
@pytest.mark.parametrize(
    "text", ["order.value > 0", "order.value > 0.25", "0 < order.value", "order.value != 0"]
)
def test_numbers_compare_whether_written_whole_or_not(value: float, text: str) -> None:
    assert compile_expression(text).test({"order": {"value": value}}) is True


@pytest.mark.parametrize("kind", ["number", "int", "double"])
def test_a_declared_number_still_compares_with_both(kind: str) -> None:
    for text in ("value > 0", "value > 0.5", "value in [1, 2.5]"):
        assert compile_expression(text, ["value"], kinds={"value": kind}).test({"value": 1.0}) is (True)


def test_a_declared_text_is_checked_when_compiled() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("order.hold == 'a' &&\n  name > 5", kinds={"name": "string"})
    assert (caught.value.line, caught.value.column) == (2, 8)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("ordr.value > 0", (1, 1), "did you mean `order`?"),
        ("order.value > 0 &&\n  zzz", (2, 3), "`zzz` is unknown (allowed: order)"),
        ("order.value >", (1, 14), "it ends too early"),
        ("order.value > 'a", (1, 15), "token recognition error"),
        ("now() > order.at", (1, 4), "there is no clock"),
        ("order.hold == ''  + foo(1)", (1, 24), "there is no function `foo`"),
        ("1 == 'a'", (1, 3), "no matching overload"),
        ("", (1, 1), "it is empty"),
        ("google.protobuf.Duration{seconds: 1} == order", (1, 1), "messages are not used here"),
        ("'é' == order.x && q", (1, 19), "`q` is unknown"),
    ],
)
def test_an_error_says_where_and_what(text: str, place: tuple[int, int], words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, ["order"])
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == place


@pytest.mark.parametrize(
    "text",
    [
        f"'{'a' * TEXT_LIMIT}' == ''",
        "[" * 200 + "]" * 200,
        "(" * 400 + "1" + ")" * 400,
        "1" + " + 1" * 500,
        "a.all(b, b.all(c, c.all(d, d.all(e, e))))",
        "'\ud800' == ''",
        "a\0b",
    ],
)
def test_what_is_too_long_too_deep_or_no_text_is_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ExpressionError):
        compile_expression(text)
    assert time.perf_counter() - began < 0.2


def test_names_are_the_roots_and_not_what_a_loop_binds() -> None:
    expression = compile_expression(
        "order.lines.exists(line, line.n > limit) && has(customer.vip) && size(order.hold) > 1"
    )
    assert expression.names == {"order", "limit", "customer"}
    assert compile_expression("x.map(x, x)").names == {"x"}
    assert compile_expression("type(x) == int").names == {"x"}


@pytest.mark.parametrize(
    ("text", "bindings", "words"),
    [
        ("order.nope > 0", {"order": {}}, "the field `nope` is missing"),
        ("order.value > 0", {}, "`order` was not given"),
        ("order.value > 0", {"order": {"value": "x"}}, "do not fit together"),
        ("order.a.b", {"order": {"a": "x"}}, "not a mapping"),
        ("1 / n > 0", {"n": 0}, "divide by zero"),
        ("n + 1 > 0", {"n": 2**63 - 1}, "overflow"),
        ("n > 0", {"n": 2**70}, "out of range"),
        ("s", {"s": "\ud800"}, "half of a character"),
        ("many.all(x, x >= 0)", {"many": [0] * 50_000}, "it loops too long"),
        ("order.hold == 'a'", {"order": {"hold\0x": "a"}}, "NUL"),
        ("order.hold == 'a'", {"order": {"hold": "a\0x"}}, "NUL"),
        ("x", {"x": "\0"}, "NUL"),
        ("many.exists(m, m.hold == 'a')", {"many": [{"hold\0": "a"}]}, "NUL"),
        ("many[7]", {"many": []}, "index=7"),
        ("duration('1h')", {}, "write `string(…)`"),
        ("1e400", {}, "not a JSON number"),
        ("{1: 2}", {}, "keys are not all text"),
    ],
)
def test_run_time_failures_name_the_cause_and_the_expression(
    text: str, bindings: dict[str, JSON], words: str
) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        compile_expression(text).value(bindings)
    assert words in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize("value", [1, "true", None, [], {}])
def test_a_condition_is_true_or_false_and_nothing_else(value: JSON) -> None:
    with pytest.raises(ExpressionFailed, match="a condition is true or false"):
        compile_expression("x").test({"x": value})


def test_a_mapping_comes_out_with_sorted_keys() -> None:
    value = compile_expression("{'b': 1, 'a': x, 'c': [x]}").value({"x": {"z": 1, "y": 2}})
    assert str(value) == "{'a': {'y': 2, 'z': 1}, 'b': 1, 'c': [{'y': 2, 'z': 1}]}"


_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=10,
)


@given(_json)
@settings(max_examples=100, deadline=None)
def test_every_json_value_passes_through_unchanged(value: JSON) -> None:
    rendered = compile_template({"x": "${x}"}).render({"x": value})
    assert rendered == {"x": value}
    assert type(rendered["x"]) is type(value)  # type: ignore[index,call-overload]


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_compiles_or_is_an_expression_error(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        compile_expression(text)


def test_templates_keep_types_and_stand_for_themselves_elsewhere() -> None:
    template = compile_template(
        {"order": "${order.hold}", "n": ["${1 + n}", 7, "plain", "$ {x}"], "t": "${'${x}'}"}
    )
    assert template.names == {"order", "n"}
    rendered = template.render({"order": ORDER, "n": 2})
    assert rendered == {"order": "address", "n": [3, 7, "plain", "$ {x}"], "t": "${x}"}


@pytest.mark.parametrize(
    ("text", "column"), [("a ${b}", 3), ("${a} and ${b}", 10), ("${a", 1), ("${a} ", 1), (" ${a}", 2)]
)
def test_text_around_an_expression_is_refused_with_the_repair(text: str, column: int) -> None:
    with pytest.raises(ExpressionError, match=r"such as `\$\{'a' \+ b\}`") as caught:
        compile_template({"x": [text]})
    assert caught.value.column == column


def test_an_error_inside_a_template_counts_from_the_start_of_the_string() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template("${ ordr.id }", ["order"])
    assert (caught.value.line, caught.value.column) == (1, 4)


def test_one_expression_serves_many_threads() -> None:
    expression = compile_expression("order.value == n")
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(2_000):
            if not expression.test({"order": {"value": n}, "n": n}) or expression.test(
                {"order": {"value": n}, "n": -1}
            ):
                wrong.append(n)

    _in_threads(work)
    assert not wrong


def test_a_thousand_values_are_the_same() -> None:
    expression = compile_expression("order.lines.map(l, {'sku': l.sku, 'n': l.n, 'hold': order.hold})")
    assert len({repr(expression.value({"order": ORDER})) for _ in range(1_000)}) == 1


def test_equal_texts_are_compiled_once() -> None:
    assert compile_expression("order.a == 1", ["order"]) is compile_expression("order.a == 1", {"order"})


def test_the_parse_is_the_librarys_own() -> None:
    node = syntax("a.b == -1 || !(c in ['x', 2.5, null, true])")
    assert node.word == "_||_"
    equal, negated = node.inner
    assert (equal.word, equal.inner[0].word, equal.inner[1].value) == ("_==_", "b", -1)
    assert [item.value for item in negated.inner[0].inner[1].inner] == ["x", 2.5, None, True]
    assert negated.offset == 13


def _in_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
