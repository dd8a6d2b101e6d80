"""Quantities and places: `500ms`, `<0.5%`, `queue://ops.dlq`, and the names of things."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)\Z")
_THRESHOLD = re.compile(r"(<|<=|>|>=)?\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(%|ms|s|m|h|d)?\Z")
_PLACE = re.compile(r"(queue|slack|email|role)://([A-Za-z0-9@._+\-]{1,200})\Z")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
ACTION = re.compile(r"[a-z][a-z0-9_]{0,63}\.[a-z][a-z0-9_]{0,63}\Z")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}\Z")
SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")
EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,7}\Z")


def problem(code: str, message: str) -> PydanticCustomError:
    """Return the error by which a validator reports a finding of its own code."""
    return PydanticCustomError("claw", "{code}|{text}", {"code": code, "text": message})


def parse_duration(value: Any) -> int:
    """Return `500ms`, `2m` or `365d` in milliseconds; a bare number is refused, for it says no unit."""
    if isinstance(value, str) and (found := _DURATION.match(value)):
        milliseconds = int(found[1]) * _UNITS[found[2]]
        if milliseconds > 100 * 366 * 86_400_000:
            raise problem("CLAW017", f"{value} is longer than a century")
        return milliseconds
    raise problem(
        "CLAW017",
        f"{shown(value)} is not a duration: write a whole number and ms, s, m, h or d, such as 500ms",
    )


def format_duration(milliseconds: int) -> str:
    """Return milliseconds in the largest unit that holds them exactly."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms"


def parse_threshold(value: Any) -> str:
    """Return an SLO's bound such as `500ms`, `<0.5%` or `>=99%` in one spelling."""
    text = getattr(value, "text", value)
    if not isinstance(text, str) or not (found := _THRESHOLD.match(text)):
        raise problem("CLAW017", f"{shown(value)} is not a bound: write for example 500ms, <0.5% or >=99%")
    sign, number, unit = found.groups()
    if unit is None:
        share = f" or {text}%" if float(number) <= 100 else ""
        raise problem("CLAW017", f"{shown(value)} has no unit: write for example {text}ms{share}")
    if unit == "%" and float(number) > 100:
        raise problem("CLAW017", f"{text} is more than everything: a share is at most 100%")
    return f"{sign or ''}{number}{unit}"


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return values of which none is there twice."""
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise problem("CLAW014", f"{twice} stands here twice: say it once")
    return values


def parse_place(value: Any) -> str:
    """Return a place such as `queue://ops.dlq` or `slack://ops-oncall`."""
    if isinstance(value, str) and _PLACE.match(value):
        return value
    raise problem(
        "CLAW018",
        f"{shown(value)} is not a place: write queue://…, slack://…, email://… or role://…, such as queue://ops.dlq",
    )


def complaint(check: Callable[[str], str], value: str) -> str | None:
    """Return what a check says against a value, or None when it is right."""
    try:
        check(value)
    except PydanticCustomError as error:
        return str((error.context or {}).get("text"))
    return None


def check_name(value: str) -> str:
    """Return `value` if it can name something."""
    if not NAME.match(value):
        raise problem("CLAW015", f"{shown(value)} cannot be a name: {_name_repair(value)}")
    return value


def check_role(value: str) -> str:
    """Return `value` if it can name a role."""
    word = value.removeprefix("role://")
    if word != value and NAME.match(word):
        raise problem("CLAW015", f"a role is a word here: write {word}")
    return check_name(value)


def check_step_path(value: str) -> str:
    """Return the name of a step, or the way to one inside runbooks, or raise CLAW015."""
    if EVENT.match(value):
        return value
    raise problem("CLAW015", f"a step is named as refund, inside a runbook as pack.check, not {shown(value)}")


def check_event(value: str) -> str:
    """Return `value` if it can name an event: words joined by dots."""
    if not EVENT.match(value):
        raise problem(
            "CLAW015",
            f"{shown(value)} cannot name an event: lower-case words joined by dots, such as booking.decision",
        )
    return value


def _name_repair(value: str) -> str:
    if not value.isascii():
        strange = next(letter for letter in value if not letter.isascii())
        return f"{strange!r} is not a plain Latin letter (U+{ord(strange):04X})"
    if len(value) > 64:
        return "at most 64 characters"
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value).lower()
    better = re.sub(r"[^a-z0-9_]+", "_", words).strip("_")
    return f"write {better}" if NAME.match(better) else "a lower-case letter, then letters, digits and _"


def shown(value: Any) -> str:
    """Return a value as it was written, cut for a message; text in quotes."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:59]}…")
    return str(getattr(value, "text", value))[:60]


def _text(value: Any) -> Any:
    """Give back what was written for a number, where text is meant: `version: 1.10`."""
    return getattr(value, "text", value)


def plain(value: Any) -> Any:
    """Return a value of a file as JSON has it: without what its numbers remember of how they were written."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, bool) or not hasattr(value, "text"):
        return value
    return float(value) if isinstance(value, float) else int(value)


def check_action(value: str) -> str:
    """Return `value` if it can name an action: adapter.operation."""
    if not ACTION.match(value):
        raise problem(
            "CLAW023", f"{shown(value)} is no action: write adapter.operation, such as carrier.book"
        )
    return value


def check_key(value: str) -> str:
    """Return `value` if it is a path into a payload."""
    if not KEY.match(value):
        raise problem("CLAW014", f"{shown(value)} is no path into the payload: write for example order.id")
    return value


def check_secret(value: str) -> str:
    """Return `value` if it can name a secret; it is not repeated, for it may be the secret itself."""
    if not SECRET.match(value):
        raise problem("CLAW036", "this is not the name of a secret: write one such as OMS_WEBHOOK_SECRET")
    return value


_NAME = "^[a-z][a-z0-9_]*$"

Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-9]{1,9}(ms|s|m|h|d)$", "examples": ["500ms", "2m", "365d"]}
    ),
]
Threshold = Annotated[
    str,
    BeforeValidator(parse_threshold),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(<=|>=|<|>)?\s*[0-9]+(\.[0-9]+)?(%|ms|s|m|h|d)$",
            "examples": ["500ms", "<0.5%", ">=99%"],
        }
    ),
]
Place = Annotated[
    str,
    BeforeValidator(parse_place),
    WithJsonSchema(
        {"type": "string", "pattern": "^(queue|slack|email|role)://.+$", "examples": ["queue://ops.dlq"]}
    ),
]
Name = Annotated[str, AfterValidator(check_name), WithJsonSchema({"type": "string", "pattern": _NAME})]
RoleName = Annotated[str, AfterValidator(check_role), WithJsonSchema({"type": "string", "pattern": _NAME})]
StepPath = Annotated[
    str,
    AfterValidator(check_step_path),
    WithJsonSchema({"type": "string", "pattern": rf"{_NAME[:-1]}(\.[a-z][a-z0-9_]*)*$"}),
]
Event = Annotated[
    str,
    AfterValidator(check_event),
    WithJsonSchema({"type": "string", "pattern": rf"{_NAME[:-1]}(\.[a-z][a-z0-9_]*)*$"}),
]
Action = Annotated[
    str,
    AfterValidator(check_action),
    WithJsonSchema({"type": "string", "pattern": rf"{_NAME[:-1]}\.[a-z][a-z0-9_]*$"}),
]
Key = Annotated[
    str,
    AfterValidator(check_key),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"}),
]
Secret = Annotated[
    str, AfterValidator(check_secret), WithJsonSchema({"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"})
]
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number"], "minLength": 1})]
Json = Annotated[Any, AfterValidator(plain)]
