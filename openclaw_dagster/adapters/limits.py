"""JSON from outside, within bounds: size, depth, and only what Unicode and RFC 8259 allow."""

from __future__ import annotations

import json
import math
from typing import NoReturn, cast

from openclaw_dagster.adapters.outcome import JSON

#: The largest answer that is read, in bytes.
MAX_ANSWER = 1024 * 1024
#: How deeply an answer may be nested: whatever handles it later recurses.
MAX_DEPTH = 64


class NotJson(Exception):
    """The bytes are not JSON that can be kept; the message says why, without quoting them."""


def parse_json(data: bytes) -> JSON:
    """Return the value of UTF-8 JSON; NotJson for NaN, 1e999, lone surrogates, or deeper than MAX_DEPTH."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError:
        raise NotJson("it is not JSON") from None
    check_json(value)
    return cast(JSON, value)


def check_json(value: object) -> None:
    """Refuse with NotJson what JSON, UTF-8 or the depth limit cannot hold."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[object] = []
        for item in level:
            match item:
                case dict():
                    deeper += [*item.keys(), *item.values()]
                    if not all(isinstance(key, str) for key in item):
                        raise NotJson("a key of a mapping is not text")
                case list():
                    deeper += item
                case _:
                    _check_scalar(item)
        if not deeper:
            return
        level = deeper
    raise NotJson("it is nested too deeply")


def _check_scalar(item: object) -> None:
    if isinstance(item, float) and not math.isfinite(item):
        raise NotJson("it holds a number that JSON cannot write")
    if isinstance(item, str) and not item.isascii():
        try:
            item.encode("utf-8")
        except UnicodeEncodeError:
            raise NotJson("it holds half a character (a lone surrogate)") from None
    if not isinstance(item, str | int | float | None):
        raise NotJson(f"it holds a {type(item).__name__}, which JSON cannot write")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
