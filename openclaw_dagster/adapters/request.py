"""From a call's arguments to an HTTP request: path, query, headers and body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import quote, urlencode

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.limits import NotJson, check_json
from openclaw_dagster.adapters.outcome import JSON
from openclaw_dagster.spec.contracts import HttpCall

_PLACE = re.compile(r"\{([^{}]*)\}")
#: Everything printable that a header value may hold; % is encoded too, so that two keys never look the same.
_KEY_SAFE = "!#$&'()*+,/:;<=>?@[\\]^`{|}~\""
AGENT = f"openclaw-dagster/{version('openclaw-dagster')}"


class BadArguments(Exception):
    """The arguments cannot be sent; the message names the field."""


@dataclass(frozen=True)
class Request:
    """What goes over the wire, credentials apart."""

    method: str
    #: Path and query, below the binding's url.
    target: str
    headers: dict[str, str]
    body: bytes | None


def build_request(call: Call, http: HttpCall) -> Request:
    """Return the request of a call; BadArguments when an argument does not fit where it belongs.

    Path places take theirs. What is left is the query of GET and DELETE, and the JSON body of the others.
    An input schema that lists its properties also says what a query holds: a `verify` is asked with all the
    arguments of the write it is about, and those have no business in an address.
    """
    args = dict(call.args)
    try:
        check_json(args)
    except NotJson as error:
        raise BadArguments(f"the arguments cannot be sent: {error}") from None
    used = set(_PLACE.findall(http.path))
    path = _PLACE.sub(lambda found: _segment(found[1], args), http.path)
    rest = {name: value for name, value in args.items() if name not in used}
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": AGENT}
    if not call.is_read:
        headers["Idempotency-Key"] = quote(call.key, safe=_KEY_SAFE)
    if call.traceparent:
        headers["traceparent"] = quote(call.traceparent, safe="-")
    if http.method in ("GET", "DELETE"):
        listed = (call.operation.input or {}).get("properties")
        query = _query(rest, listed)
        return Request(http.method, f"{path}?{query}" if query else path, headers, None)
    headers["Content-Type"] = "application/json"
    return Request(http.method, path, headers, _compact(rest).encode())


def _segment(name: str, args: Mapping[str, JSON]) -> str:
    if name not in args:
        raise BadArguments(f"{name} is missing: it is part of the address")
    text = _scalar(args[name])
    if text is None:
        raise BadArguments(f"{name} is part of the address and must be text or a number")
    if text in ("", ".", ".."):
        raise BadArguments(f"{name} is part of the address and cannot be empty, '.' or '..'")
    return quote(text, safe="")


def _query(rest: Mapping[str, JSON], listed: object) -> str:
    pairs = []
    for name, value in rest.items():
        if value is None or (isinstance(listed, dict) and name not in listed):
            continue
        text = _scalar(value)
        pairs.append((name, _compact(value) if text is None else text))
    return urlencode(pairs, quote_via=quote)


def _scalar(value: JSON) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return str(value)
        case int() | float():
            return json.dumps(value)
        case _:
            return None


def _compact(value: JSON | Mapping[str, JSON]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
