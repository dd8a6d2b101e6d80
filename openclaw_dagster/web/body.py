"""From the bytes of a webhook to a payload every database can keep, or a refusal with its HTTP status."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from openclaw_dagster.errors import ClawError

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

#: The integers that both databases and CEL hold exactly: signed 64-bit.
INTEGERS = range(-(2**63), 2**63)

#: Longest idempotency key, in bytes of UTF-8: it is part of a unique index on both databases.
MAX_KEY = 512

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf"application/(?:json|{_TOKEN}\+json)", re.IGNORECASE)
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*+)"))?')

# Possessive (`*+`), and an unclosed string runs to the end: every byte is looked at once, whatever it is.
_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LONGEST_INTEGER = len("-9223372036854775808")


class BodyRefused(ClawError):
    """The body was refused: {problem}."""

    code = "CLAW510"
    status: int  #: the HTTP status to answer with
    problem: str  #: what is wrong, in words that repeat nothing of the body

    def __init__(self, *, status: int, problem: str) -> None:
        super().__init__(status=status, problem=problem)


@dataclass(frozen=True)
class BodyLimits:
    """How big one webhook may be."""

    max_bytes: int = 256 * 1024  #: length of the raw body, in bytes
    max_depth: int = 32  #: objects and lists inside each other, the root counted
    max_values: int = 10_000  #: objects, lists and scalars together, the root counted and keys not


DEFAULT_LIMITS = BodyLimits()


def parse_body(
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    limits: BodyLimits = DEFAULT_LIMITS,
) -> dict[str, JSON]:
    """Return the JSON object (RFC 8259) in `body`, when every part of the system can hold it exactly.

    Raises `BodyRefused` with the status to answer: 413 for too many bytes; 415 for a media type that is not
    `application/json` or `application/*+json`, a charset other than UTF-8, or any content encoding; 400 for
    what is not UTF-8 or not strict JSON, gives a key twice, is nested too deep, has too many values, or holds
    what cannot be kept exactly (integers past 64 bits, numbers past a double, NUL, half of a surrogate pair);
    422 for good JSON whose root is not an object. Takes time linear in the body's length.
    """
    if len(body) > limits.max_bytes:
        raise BodyRefused(status=413, problem=f"it is longer than {limits.max_bytes} bytes")
    _check_type(content_type)
    # A compressed body can grow a thousandfold once opened: RFC 9110, 8.4, lets us refuse it.
    if content_encoding and content_encoding.strip(" \t").lower() != "identity":
        raise BodyRefused(status=415, problem="it has a content encoding; send it uncompressed")
    _check_depth(body, limits.max_depth)
    payload = _parse(_decode(body))
    _check_values(payload, limits.max_values)
    if not isinstance(payload, dict):
        raise BodyRefused(status=422, problem="its root is not an object")
    return payload


def idempotency_key(payload: dict[str, JSON], path: tuple[str, ...]) -> str:
    """Return the value at `path`, such as `("order", "id")`, as the text of the event's idempotency key.

    The value is a string, taken as it is: not blank, at most 512 bytes, no control characters; or a signed
    64-bit integer. The integer `1` and the string `"1"` give the same key: senders are not consistent about
    it, and an order must not be booked twice. A number with a fraction or an exponent is no key: `1.0` and
    `1` would make two. Raises `BodyRefused` with status 422, naming the path and never the value.
    """
    value: JSON = payload
    for name in path:
        if not isinstance(value, dict) or name not in value:
            _refuse_key(path, "is missing")
        value = value[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        _refuse_key(path, "is neither a string nor an integer")
    if isinstance(value, int):
        if value not in INTEGERS:
            _refuse_key(path, "is an integer of more than 64 bits")
        return str(value)
    if not value.strip():
        _refuse_key(path, "is blank")
    # Lone surrogates have no UTF-8; a payload that came through `parse_body` has none.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value[: MAX_KEY + 1]):
        _refuse_key(path, "has control characters")
    if len(value) > MAX_KEY or len(value.encode()) > MAX_KEY:
        _refuse_key(path, f"is longer than {MAX_KEY} bytes")
    return value


def _refuse_key(path: tuple[str, ...], why: str) -> NoReturn:
    raise BodyRefused(status=422, problem=f"the idempotency key at {'.'.join(path)} {why}")


def _check_type(content_type: str | None) -> None:
    """Refuse with 415 what is not JSON in UTF-8 by its `Content-Type` (RFC 9110, 8.3)."""
    text = (content_type or "").strip(" \t")
    media_type = _MEDIA_TYPE.match(text)
    if media_type is None:
        raise BodyRefused(status=415, problem="its content type is not application/json")
    position = media_type.end()
    while position < len(text):
        parameter = _PARAMETER.match(text, position)
        if parameter is None:
            raise BodyRefused(status=415, problem="its content type is not application/json with parameters")
        name, token, quoted = parameter.groups()
        if name is not None and name.lower() == "charset" and (token or quoted or "").lower() != "utf-8":
            raise BodyRefused(status=415, problem="its charset is not utf-8")
        position = parameter.end()


def _check_depth(body: bytes, max_depth: int) -> None:
    """Refuse with 400 brackets that are open deeper than `max_depth`, before parsing recurses on them."""
    depth = 0
    for found in _BRACKET.finditer(body):
        first = body[found.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise BodyRefused(status=400, problem=f"it is nested deeper than {max_depth}")
        elif first in b"]}":
            depth -= 1


def _decode(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise BodyRefused(status=400, problem="it is not UTF-8") from None
    # RFC 8259, 8.1: nobody may add a byte order mark, and a receiver may refuse it.
    if text.startswith("\ufeff"):
        raise BodyRefused(status=400, problem="it starts with a byte order mark")
    return text


def _parse(text: str) -> JSON:
    try:
        parsed: JSON = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BodyRefused(status=400, problem=f"it is not JSON at {where}") from None
    return parsed


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    """Refuse a key given twice: two readers would see two different events."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BodyRefused(status=400, problem="an object in it has the same key twice")
    return made


def _integer(digits: str) -> int:
    # The length first: int() takes quadratic time, and raises by itself past 4,300 digits.
    if len(digits) > _LONGEST_INTEGER or int(digits) not in INTEGERS:
        raise BodyRefused(status=400, problem="an integer in it has more than 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BodyRefused(status=400, problem="a number in it is too big for a double")
    return number


def _constant(name: str) -> NoReturn:
    raise BodyRefused(status=400, problem=f"it holds {name}, which is not JSON")


def _check_values(payload: JSON, max_values: int) -> None:
    """Refuse with 400 too many values, and text that Postgres cannot store or UTF-8 cannot write."""
    waiting: list[JSON] = [payload]
    values = 0
    while waiting:
        value = waiting.pop()
        values += 1
        if values > max_values:
            raise BodyRefused(status=400, problem=f"it has more than {max_values} values")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for key in value:
                _check_text(key)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_text(text: str) -> None:
    if found := _UNSTORABLE.search(text):
        what = "a NUL character" if found.group() == "\x00" else "half of a surrogate pair"
        raise BodyRefused(status=400, problem=f"a string or a key in it has {what}")
