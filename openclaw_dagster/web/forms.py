"""Forms of our own pages: what they carry so that no other page can post them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection, Request

from openclaw_dagster.errors import ClawError
from openclaw_dagster.web.identity import SCOPE, Identity

#: Where the guard leaves what a visitor's forms are bound to: their session, or a cookie for who has none yet.
KEY = "claw.form"
#: The field of a form that holds its token.
FIELD = "form"
#: Longest body of a form, in bytes, and most fields in it.
MOST_BYTES = 64 * 1024
MOST_FIELDS = 100


class FormRefused(ClawError):
    """The form was not taken: {problem}."""

    code = "CLAW531"


def new_key() -> str:
    """Return what the forms of somebody without session are bound to."""
    return secrets.token_urlsafe(24)


def form_token(connection: HTTPConnection) -> str:
    """Return the token that a form on this visitor's page carries as its field `form`."""
    return _token(str(connection.scope[KEY]))


def _token(key: str) -> str:
    return hmac.new(key.encode(), b"claw form", hashlib.sha256).hexdigest()


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that came from this visitor's own page; FormRefused when it did not.

    A program with an API token sends no form token: no browser sends an API token by itself.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormRefused(problem="it is not application/x-www-form-urlencoded")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise FormRefused(problem=f"it is longer than {MOST_BYTES // 1024} KiB")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise FormRefused(problem="it is not UTF-8, or has too many fields") from None
    if any("\x00" in text for pair in pairs for text in pair):
        raise FormRefused(problem="it has a NUL character")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormRefused(problem="it has the same field twice")
    said = fields.pop(FIELD, "")
    who = request.scope.get(SCOPE)
    if isinstance(who, Identity) and who.how == "token":
        return fields
    if not hmac.compare_digest(said.encode(), form_token(request).encode()):
        raise FormRefused(problem="it was not made by this login: load its page again and send it from there")
    return fields
