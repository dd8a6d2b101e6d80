"""A good body, and one thing wrong with it at a time: the status is the sender's to read, and never a 5xx."""

from __future__ import annotations

import functools
import gzip
import json
import math
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openclaw_dagster.web.body import JSON, BodyLimits, BodyRefused, idempotency_key, parse_body

Payload = TypeVar("Payload", dict[str, JSON], str)

GOOD: dict[str, JSON] = {"order": {"id": "A-1", "value": 10.5, "lines": [1, None, True], "note": "é 🦀"}}


def parsed(
    body: bytes,
    content_type: str | None = "application/json",
    content_encoding: str | None = None,
    limits: BodyLimits | None = None,
) -> dict[str, JSON]:
    return parse_body(body, content_type, content_encoding, limits or BodyLimits())


def refused(body: bytes, content_type: str | None = "application/json", encoding: str | None = None) -> int:
    with pytest.raises(BodyRefused) as caught:
        parsed(body, content_type, encoding)
    assert caught.value.problem in str(caught.value)
    return caught.value.status


def answer(call: Callable[[], Payload]) -> Payload | int:
    """Return what `call` returns, or the status of its refusal; any other exception is the test's failure."""
    try:
        return call()
    except BodyRefused as refusal:
        return refusal.status


def test_a_good_body_comes_out_as_it_went_in() -> None:
    assert parsed(json.dumps(GOOD).encode()) == GOOD
    assert parsed(json.dumps(GOOD, ensure_ascii=False).encode()) == GOOD
    assert parsed(b" \r\n\t{ } ") == {}


# Content type and encoding.


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        " application/json ",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ; Charset=Utf-8 ; profile=x",
        "application/json;",
        'application/json; note="a; charset=latin1"',
        "application/cloudevents+json; charset=utf-8",
        "application/vnd.github.v3+json",
    ],
)
def test_json_by_any_of_its_names(content_type: str) -> None:
    assert parsed(b"{}", content_type) == {}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/json5",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/html, application/json",
        "application/json, text/html",
        "application/+json",
        "application/ json",
        "application/json charset=utf-8",
        "application/json; charset",
        "application/json; charset=utf-16",
        "application/json; CHARSET=latin1",
        "application/json; charset=utf-8; charset=latin1",
        "application/json; charset=",
        'application/json; charset=""',
        "application/json; charset=utf8",
        "application/json; charset=utf-8-sig",
        'application/json; charset="utf-8',
        "application/json\x00",
        "application/ſson",
        "application/json;" + " " * 5000 + "x",
    ],
)
def test_any_other_content_type_is_415(content_type: str | None) -> None:
    assert refused(b"{}", content_type) == 415


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate", "identity, gzip", "x", "\x00"])
def test_any_content_encoding_is_415(encoding: str) -> None:
    assert refused(gzip.compress(b"{}"), "application/json", encoding) == 415
    assert refused(b"{}", "application/json", encoding) == 415


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
def test_identity_is_no_encoding(encoding: str | None) -> None:
    assert parsed(b"{}", "application/json", encoding) == {}


# Size.


def test_256_kib_is_the_last_size_taken() -> None:
    frame = len(b'{"a":""}')
    assert parsed(b'{"a":"' + b"x" * (256 * 1024 - frame) + b'"}')
    assert refused(b'{"a":"' + b"x" * (256 * 1024 - frame + 1) + b'"}') == 413
    assert refused(b"[" * 257 * 1024, "text/plain", "gzip") == 413


def test_32_is_the_last_depth_taken() -> None:
    deepest = b'{"a":' * 31 + b"{}" + b"}" * 31
    assert parsed(deepest)
    assert parsed(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}")
    assert refused(b'{"a":' + deepest + b"}") == 400
    assert refused(b'{"a":' + b"[" * 32 + b"]" * 32 + b"}") == 400


def test_brackets_in_strings_are_no_depth() -> None:
    text = '[{"\\' * 100
    assert parsed(json.dumps({"a": text, text: 1}).encode()) == {"a": text, text: 1}
    # A backslash before the quote is itself escaped: the string ends, and what follows does nest.
    assert refused(b'{"a":"\\\\",' + b'"b":' + b"[" * 40 + b"]" * 40 + b"}") == 400


def test_brackets_side_by_side_are_no_depth() -> None:
    assert parsed(b'{"a":[' + b",".join([b"[]"] * 1000) + b"]}")


def test_10_000_values_are_the_last_taken() -> None:
    # The root and the list are two of them.
    assert parsed(b'{"a":[' + b",".join([b"1"] * 9_998) + b"]}")
    assert refused(b'{"a":[' + b",".join([b"1"] * 9_999) + b"]}") == 400
    keys: dict[str, JSON] = {f"k{number}": {} for number in range(9_999)}
    assert parsed(json.dumps(keys).encode()) == keys
    assert refused(json.dumps({**keys, "more": 1}).encode()) == 400


def test_limits_can_be_given() -> None:
    assert parsed(b'{"a":[1]}', limits=BodyLimits(max_bytes=9, max_depth=2, max_values=3))
    for tight in (BodyLimits(max_bytes=8), BodyLimits(max_depth=1), BodyLimits(max_values=2)):
        with pytest.raises(BodyRefused):
            parsed(b'{"a":[1]}', limits=tight)


FULL = 256 * 1024
HEAVY = {
    "open brackets": b"[" * FULL,
    "open objects": b'{"a":' * (FULL // 5),
    "closed brackets": b"]" * FULL,
    "closed and open": b"]" * (FULL // 2) + b"[" * (FULL // 2),
    "quotes": b'"' * FULL,
    "escaped quotes": b'"' + b'\\"' * (FULL // 2 - 1),
    "backslashes": b"\\" * FULL,
    "quote and backslashes": b'"' + b"\\" * (FULL - 1),
    "digits": b"1" * FULL,
    "digits in an object": b'{"a":' + b"1" * (FULL - 6) + b"}",
    "long fraction digits": b'{"a":0.' + b"1" * (FULL - 8) + b"}",
    "long number with a fraction": b'{"a":' + b"1" * (FULL - 8) + b".0}",
    "long exponent": b'{"a":1e' + b"9" * (FULL - 8) + b"}",
    "spaces": b" " * FULL,
    "many ints": b'{"a":[' + b"1," * (FULL // 2 - 8) + b"1]}",
    "many keys": b"{" + b",".join(b'"%d":1' % number for number in range(25_000)) + b"}",
    "escapes": b'{"a":"' + b"\\u0041" * (FULL // 6 - 2) + b'"}',
}


FINE = {"long fraction digits", "escapes"}


@pytest.mark.parametrize(("name", "body"), HEAVY.items(), ids=HEAVY)
def test_a_heavy_body_is_answered_in_linear_time(name: str, body: bytes) -> None:
    began = time.process_time()
    assert answer(lambda: parsed(body)) == (json.loads(body) if name in FINE else 400)
    assert time.process_time() - began < 0.5


# Not JSON, or JSON that cannot be kept.

NOT_STORABLE = {
    "empty": b"",
    "blank": b"  ",
    "text": b"order",
    "truncated": b'{"a":',
    "trailing": b"{} {}",
    "trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "comment": b"{} // fine",
    "bom": b"\xef\xbb\xbf{}",
    "latin-1": b'{"a":"\xe9"}',
    "truncated utf-8": b'{"a":"\xe2\x82"}',
    "overlong utf-8": b'{"a":"\xc0\x80"}',
    "surrogate in utf-8": b'{"a":"\xed\xa0\x80"}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "utf-16-le": '{"a":1}'.encode("utf-16-le"),
    "raw NUL": b'{"a":"\x00"}',
    "raw newline in a string": b'{"a":"\n"}',
    "escaped NUL": b'{"a":"x\\u0000y"}',
    "escaped NUL in a key": b'{"x\\u0000":1}',
    "NUL deep down": b'{"a":[{"b":[{"c":"\\u0000"}]}]}',
    "high surrogate": b'{"a":"\\ud83e"}',
    "low surrogate": b'{"a":"\\udd80"}',
    "swapped surrogates": b'{"a":"\\udd80\\ud83e"}',
    "surrogate in a key": b'{"\\ud83e":1}',
    "duplicate key": b'{"a":1,"a":1}',
    "duplicate key, spelt otherwise": b'{"a":1,"\\u0061":2}',
    "duplicate key deep down": b'{"a":[{"b":{"c":1,"c":1}}]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "-Infinity": b'{"a":[-Infinity]}',
    "1e400": b'{"a":1e400}',
    "-1e400": b'{"a":-1e400}',
    "2^63": b'{"a":9223372036854775808}',
    "-2^63-1": b'{"a":-9223372036854775809}',
    "10,000 digits": b'{"a":' + b"9" * 10_000 + b"}",
    "leading zero": b'{"a":01}',
    "hexadecimal": b'{"a":0x1}',
    "plus": b'{"a":+1}',
}


@pytest.mark.parametrize("body", NOT_STORABLE.values(), ids=NOT_STORABLE)
def test_what_cannot_be_kept_is_400(body: bytes) -> None:
    assert refused(body) == 400


@pytest.mark.parametrize("body", [b"[]", b"[{}]", b'"x"', b"1", b"1.5", b"true", b"null"])
def test_a_root_that_is_no_object_is_422(body: bytes) -> None:
    assert refused(body) == 422


def test_the_outermost_numbers_are_kept_exactly() -> None:
    body = b'{"a":9223372036854775807,"b":-9223372036854775808,"c":1.7976931348623157e308,"d":-0}'
    assert parsed(body) == {"a": 2**63 - 1, "b": -(2**63), "c": 1.7976931348623157e308, "d": 0}


def test_a_byte_order_mark_is_called_by_its_name() -> None:
    with pytest.raises(BodyRefused, match="byte order mark"):
        parsed(b"\xef\xbb\xbf{}")


def test_a_surrogate_pair_is_one_character() -> None:
    assert parsed(b'{"a":"\\ud83e\\udd80"}') == {"a": "🦀"}


def test_a_refusal_repeats_nothing_of_the_body() -> None:
    for body in (b'{"hunter2":1,"hunter2":1}', b'{"a":"hunter2\\u0000"}', b'{"a":"hunter2', b"hunter2"):
        with pytest.raises(BodyRefused) as caught:
            parsed(body)
        assert "hunter2" not in f"{caught.value}{caught.value.details}{caught.value.__cause__}"


# Any bytes at all.

FRAGMENTS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b"1",
        b"e",
        b"-",
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"\xff",
    ]
)


def acceptable(value: JSON) -> bool:
    """What both databases keep: said again in other words, so that the tests do not believe the code."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode("utf-8")
    return "\\u0000" not in text.replace("\\\\", "") and json.loads(text) == value


@given(st.one_of(st.binary(max_size=200), st.lists(FRAGMENTS, max_size=60).map(b"".join)))
@settings(max_examples=500)
def test_any_bytes_are_an_object_or_a_refusal(body: bytes) -> None:
    payload = answer(lambda: parsed(body))
    assert payload in (400, 422) or (isinstance(payload, dict) and acceptable(payload))


@given(st.text(max_size=80), st.text(max_size=20))
def test_any_content_type_is_taken_or_415(content_type: str, encoding: str) -> None:
    for text in (content_type, "application/json" + content_type):
        result = answer(functools.partial(parsed, b"{}", text, encoding))
        assert result == {} or result == 415


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_json_that_can_be_kept_comes_out_as_it_went_in(payload: dict[str, JSON]) -> None:
    body = json.dumps(payload).encode()
    assert answer(lambda: parsed(body)) == (payload if keepable(payload) else 400)


def keepable(value: JSON) -> bool:
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, dict):
        return all(keepable(item) for pair in value.items() for item in pair)
    return value is None or all(keepable(item) for item in value)


# The key under which an event is kept once.

PATH = ("order", "id")


def key_of(value: JSON) -> str:
    return idempotency_key({"order": {"id": value}}, PATH)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("A-1", "A-1"),
        ("1", "1"),
        (1, "1"),
        (0, "0"),
        (-5, "-5"),
        (2**63 - 1, "9223372036854775807"),
        (" A 1 ", " A 1 "),
        ("01", "01"),
        ("<b>é🦀", "<b>é🦀"),
        ("x" * 512, "x" * 512),
        ("é" * 256, "é" * 256),
    ],
)
def test_a_string_or_an_integer_is_a_key(value: JSON, key: str) -> None:
    assert key_of(value) == key


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        {},
        [],
        ["A-1"],
        {"id": "A-1"},
        "",
        " ",
        "\u2003",
        1.0,
        1.5,
        float("nan"),
        2**63,
        -(2**63) - 1,
        "x" * 513,
        "é" * 257,
        "x" * 4096,
        "A\n1",
        "A\x00",
        "\x7f",
        "A\x85",
        "\ud800",
    ],
)
def test_anything_else_is_422_and_names_the_path(value: JSON) -> None:
    with pytest.raises(BodyRefused, match=r"order\.id") as caught:
        key_of(value)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "payload", [{}, {"order": None}, {"order": []}, {"order": "id"}, {"order": {"ID": "x"}}]
)
def test_a_missing_key_is_422_and_names_the_path(payload: dict[str, JSON]) -> None:
    with pytest.raises(BodyRefused, match=r"order\.id is missing") as caught:
        idempotency_key(payload, PATH)
    assert caught.value.status == 422


def test_an_integer_too_long_to_print_is_422() -> None:
    with pytest.raises(BodyRefused, match="64 bits"):
        key_of(10**5000)


def test_a_key_at_the_root_and_one_far_down() -> None:
    assert idempotency_key({"id": 7}, ("id",)) == "7"
    assert idempotency_key({"a": {"b": {"c": "x"}}}, ("a", "b", "c")) == "x"


@given(VALUES)
def test_any_value_is_a_key_or_422(value: JSON) -> None:
    key = answer(lambda: key_of(value))
    assert key == 422 or (key == str(value) and 0 < len(key.encode()) <= 512)
