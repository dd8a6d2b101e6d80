"""Who sent this webhook? One table of signature schemes, checked over the raw bytes of the body.

Every scheme is HMAC-SHA256 (RFC 2104) with a shared secret. They differ in what is signed before the body, in
which headers carry it, and in how the secret becomes the key: `_TABLE` says it all. A scheme without a
timestamp cannot tell a replay from a repeat: there the idempotency key of the event does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from openclaw_dagster.clock import MINUTE, SECOND
from openclaw_dagster.errors import ClawError

Scheme = Literal["standard-webhooks", "github", "stripe", "shopify", "slack", "hmac"]

#: The names a trigger's `verify: {scheme: …}` may use.
SCHEMES: tuple[str, ...] = get_args(Scheme)

#: How far a sender's timestamp may be from our clock, either way, in milliseconds. Five minutes is what the
#: reference library of Standard Webhooks, Stripe and Slack use.
TOLERANCE = 5 * MINUTE

#: A rotation needs the old secret and the new one; a third would be one nobody remembers to retire.
MAX_SECRETS = 2

#: Shortest secret that is taken as text, in bytes: 128 bits, if it was drawn at random.
MIN_SECRET = 16

#: Longest header that is read, in characters: dozens of signatures, and no work for a flooder.
MAX_HEADER = 4096

_SECONDS = re.compile(r"[1-9][0-9]{0,11}")
_PRINTABLE = re.compile(r"[!-~]{1,256}")


class SignatureRefused(ClawError):
    """The {scheme} signature was refused: {reason}. Check that the sender and this trigger hold the same
    secret, that nothing between them rewrites the body, and that both clocks are right.
    """

    code = "CLAW501"
    scheme: str
    reason: str  #: fit to show to anybody: it holds no secret, no expected signature and nothing of the body

    def __init__(self, *, scheme: str, reason: str) -> None:
        super().__init__(scheme=scheme, reason=reason)


class SecretTooWeak(ClawError):
    """The secret of a {scheme} webhook cannot be used: {problem}. Set it to {repair}."""

    code = "CLAW502"
    scheme: str
    problem: str

    def __init__(self, *, scheme: str, problem: str, repair: str) -> None:
        super().__init__(scheme=scheme, problem=problem, repair=repair)


class SchemeUnknown(ClawError):
    """There is no signature scheme {scheme!r}. Use one of: {allowed}."""

    code = "CLAW503"


def verify(scheme: str, secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: int) -> None:
    """Return if `body` was signed with one of `secrets`, and lately where the scheme has a timestamp.

    `headers` have lower-case names; `body` is the request's raw bytes, before any parsing; `now` is in
    milliseconds since 1970, UTC; `secrets` are one, or two during a rotation. Raises `SignatureRefused` for
    whatever a sender can do, and for secrets that `check_secret` refuses; `SchemeUnknown` for a scheme that
    is not in the table.
    """
    line = _line(scheme)
    try:
        keys = _live_keys(line, secrets)
        claim = _read(line, headers)
        if claim.sent_at is not None:
            _check_age(claim.sent_at, now)
    except _Unusable as cause:
        raise SignatureRefused(scheme=scheme, reason=cause.why) from None
    matched = False
    for key in keys:
        expected = _digest(key, claim.prefix + body)
        for offered in claim.digests:
            matched |= hmac.compare_digest(expected, offered)
    if not matched:
        raise SignatureRefused(scheme=scheme, reason="no signature matches the body and a live secret")


def check_secret(scheme: str, secret: str | None) -> None:
    """Return if `secret` is fit to verify with; called before anything starts, so that it never falls open.

    Raises `SecretTooWeak` when it is unset, blank, has white space around it or is shorter than 16 bytes; for
    standard-webhooks when it is not `whsec_` and the base64 of 24 to 64 bytes (Standard Webhooks 1.0.0,
    "Signature scheme"). Raises `SchemeUnknown` for a scheme that is not in the table. No message holds the
    secret.
    """
    line = _line(scheme)
    try:
        _key(line, secret)
    except _Unusable as cause:
        raise SecretTooWeak(scheme=scheme, problem=cause.why, repair=line.repair) from None


def sign(scheme: str, secret: str, body: bytes, now: int, message_id: str) -> dict[str, str]:
    """Return the headers, with lower-case names, that make `body` pass `verify` at `now`, in milliseconds.

    `message_id` goes into the scheme's own header for it; stripe and slack have none and leave it out. Raises
    `SecretTooWeak`, `SchemeUnknown`, and `SignatureRefused` when `message_id` cannot stand in a header.
    """
    check_secret(scheme, secret)
    line = _line(scheme)
    try:
        _check_id(message_id)
    except _Unusable as cause:
        raise SignatureRefused(scheme=scheme, reason=cause.why) from None
    seconds = str(now // SECOND)
    prefix = line.prefix.format(id=message_id, seconds=seconds).encode("ascii")
    signature = line.mark + line.form.write(_digest(_key(line, secret), prefix + body))
    headers = {line.header: f"t={seconds},{signature}" if line.stamp_inside else signature}
    if line.stamp_header is not None:
        headers[line.stamp_header] = seconds
    if line.id_header is not None:
        headers[line.id_header] = message_id
    return headers


def message_id(scheme: str, headers: Mapping[str, str]) -> str | None:
    """Return the sender's own id of the delivery, for the log, or None when there is none fit to print.

    Only standard-webhooks signs it: elsewhere it is a hint, never a key. Raises `SchemeUnknown`.
    """
    name = _line(scheme).id_header
    given = headers.get(name, "") if name is not None else ""
    return given if _PRINTABLE.fullmatch(given) else None


class _Unusable(Exception):
    """Headers, or a secret, that cannot be used; `why` is fit to show to anybody."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class _Claim:
    """What the headers of one request assert, before anything is believed."""

    prefix: bytes  #: what was signed before the body
    digests: tuple[bytes, ...]  #: the digests offered, one of which has to match
    sent_at: int | None  #: when it was signed, in seconds since 1970, where the scheme says so


@dataclass(frozen=True)
class _Form:
    """How a digest is written in a header."""

    name: str
    shape: re.Pattern[str]  #: only what matches is decoded, so that decoding never raises
    read: Callable[[str], bytes]
    write: Callable[[bytes], str]


_HEX = _Form("hexadecimal", re.compile(r"[0-9a-fA-F]{64}"), bytes.fromhex, bytes.hex)
_BASE64 = _Form(
    "base64",
    re.compile(r"[A-Za-z0-9+/]{43}="),
    base64.b64decode,
    lambda digest: base64.b64encode(digest).decode("ascii"),
)


@dataclass(frozen=True)
class _Line:
    """One line of the table of schemes."""

    header: str  #: where the signature is
    mark: str  #: what a signature starts with; others, of other versions, are passed over
    form: _Form
    prefix: str = ""  #: what is signed before the body, of `{id}` and `{seconds}`
    between: str | None = None  #: what separates the items of the header, where it may hold several
    stamp_header: str | None = None  #: where the timestamp is
    stamp_inside: bool = False  #: the timestamp is an item `t=…` of the signature header
    id_header: str | None = None  #: where the sender's id of the delivery is
    whsec: bool = False  #: the secret is `whsec_` and base64, not text

    @property
    def repair(self) -> str:
        if self.whsec:
            return "whsec_ and the base64 of 24 to 64 random bytes, such as `openssl rand -base64 32` prints"
        return f"the sender's secret, {MIN_SECRET} bytes or more, such as `openssl rand -hex 32` prints"


# The HMAC is our own even where a vendor has a library: standardwebhooks and slack_sdk read the machine's
# clock, decode the body as text, and raise ValueError, TypeError or UnicodeDecodeError on malformed headers.
_TABLE: Mapping[str, _Line] = {
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    "standard-webhooks": _Line(
        header="webhook-signature",
        mark="v1,",
        form=_BASE64,
        prefix="{id}.{seconds}.",
        between=" ",
        stamp_header="webhook-timestamp",
        id_header="webhook-id",
        whsec=True,
    ),
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    "github": _Line("x-hub-signature-256", "sha256=", _HEX, id_header="x-github-delivery"),
    # https://docs.stripe.com/webhooks#verify-manually; its whsec_ secrets are text, prefix included.
    "stripe": _Line("stripe-signature", "v1=", _HEX, "{seconds}.", between=",", stamp_inside=True),
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    "shopify": _Line("x-shopify-hmac-sha256", "", _BASE64, id_header="x-shopify-webhook-id"),
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    "slack": _Line(
        "x-slack-signature", "v0=", _HEX, "v0:{seconds}:", stamp_header="x-slack-request-timestamp"
    ),
    # No vendor's: `X-Signature: sha256=<hex>`, for senders that can compute an HMAC and nothing else.
    "hmac": _Line("x-signature", "sha256=", _HEX, id_header="x-message-id"),
}


def _line(scheme: str) -> _Line:
    line = _TABLE.get(scheme)
    if line is None:
        raise SchemeUnknown(scheme=scheme, allowed=", ".join(SCHEMES))
    return line


def _digest(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)


def _live_keys(line: _Line, secrets: Sequence[str]) -> list[bytes]:
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise _Unusable(f"this trigger has {len(secrets)} live secrets, not 1 or {MAX_SECRETS}")
    return [_key(line, secret) for secret in secrets]


def _key(line: _Line, secret: str | None) -> bytes:
    if secret is None:
        raise _Unusable("the secret is not set")
    if not secret.strip():
        raise _Unusable("the secret is blank")
    # A secret read from a file keeps its newline, and then every signature fails for no visible reason.
    if secret != secret.strip():
        raise _Unusable("the secret has white space around it")
    return _whsec_key(secret) if line.whsec else _text_key(secret)


def _text_key(secret: str) -> bytes:
    try:
        key = secret.encode()
    except UnicodeEncodeError:
        raise _Unusable("the secret is not text in UTF-8") from None
    if len(key) < MIN_SECRET:
        raise _Unusable(f"the secret is shorter than {MIN_SECRET} bytes")
    return key


def _whsec_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_").rstrip("=")
    if not secret.startswith("whsec_"):
        raise _Unusable("the secret does not start with whsec_")
    try:
        # Senders show these secrets with and without the padding.
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _Unusable("the secret is not base64 after whsec_") from None
    if not 24 <= len(key) <= 64:
        raise _Unusable("the secret is not 24 to 64 bytes long once decoded")
    return key


def _read(line: _Line, headers: Mapping[str, str]) -> _Claim:
    """Return what the headers assert; raise `_Unusable` for every header that is not as `line` wants it."""
    text = _header(headers, line.header)
    items = text.split(line.between) if line.between is not None else [text]
    given_id, seconds = "", ""
    if "{id}" in line.prefix and line.id_header is not None:
        given_id = _header(headers, line.id_header)
        _check_id(given_id)
    if line.stamp_header is not None:
        seconds = _header(headers, line.stamp_header)
    elif line.stamp_inside:
        stamps = [item[2:] for item in items if item.startswith("t=")]
        seconds = stamps[0] if len(stamps) == 1 else ""
    # int() alone would take signs, spaces, underscores and the digits of every script.
    if "{seconds}" in line.prefix and not _SECONDS.fullmatch(seconds):
        raise _Unusable("the timestamp is not one number of seconds")
    prefix = line.prefix.format(id=given_id, seconds=seconds).encode("ascii")
    return _Claim(prefix, _offered(line, items), int(seconds) if seconds else None)


def _offered(line: _Line, items: list[str]) -> tuple[bytes, ...]:
    marked = [item.removeprefix(line.mark) for item in items if item.startswith(line.mark)]
    if not marked:
        raise _Unusable(f"the header {line.header} has no signature that starts with {line.mark}")
    if not all(line.form.shape.fullmatch(item) for item in marked):
        raise _Unusable(f"a signature in {line.header} is not 32 bytes in {line.form.name}")
    return tuple(line.form.read(item) for item in marked)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise _Unusable(f"the header {name} is missing")
    if len(value) > MAX_HEADER:
        raise _Unusable(f"the header {name} is longer than {MAX_HEADER} characters")
    return value


def _check_id(given: str) -> None:
    # Standard Webhooks 1.0.0: a full stop in the id could move the border between id, timestamp and body.
    if not _PRINTABLE.fullmatch(given) or "." in given:
        raise _Unusable("the message id is not 1 to 256 printable ASCII characters without a full stop")


def _check_age(sent_at: int, now: int) -> None:
    if sent_at * SECOND < now - TOLERANCE:
        raise _Unusable("the timestamp is more than 5 minutes old")
    if sent_at * SECOND > now + TOLERANCE:
        raise _Unusable("the timestamp is more than 5 minutes ahead of our clock")
