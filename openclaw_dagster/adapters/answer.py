"""From an HTTP answer to an outcome: what each status means for a read and for a write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.limits import MAX_ANSWER, NotJson, parse_json
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, unclear
from openclaw_dagster.clock import HOUR, SECOND

#: However long the far side asks to be left alone, it is asked again within the hour.
MAX_RETRY_AFTER = HOUR

_AGAIN = frozenset((408, 425, 429))
# A gateway that lost its backend does not know what the backend did.
_UNCLEAR = frozenset((502, 504))


@dataclass(frozen=True)
class Answer:
    """What came back; `body` is None when it was larger than MAX_ANSWER."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | None

    def header(self, name: bytes) -> str:
        """Return the first header of this name, or nothing."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


def read_answer(call: Call, answer: Answer, now: int) -> Outcome:
    """Return what the answer means; a Retry-After date counts from `now`, in milliseconds since 1970."""
    status = answer.status
    if 200 <= status < 300:
        return _took_place(call, answer)
    said = f"{call.action}: status {status}{_detail(answer)}"
    if 300 <= status < 400:
        where = _location(answer)
        return Refused(f"{call.action}: status {status} points to {where}; redirects are not followed")
    if 400 <= status < 500 and status not in _AGAIN:
        missing = call.operation.http.missing if call.operation.http else ()
        return Absent() if call.is_read and status in missing else Refused(said)
    # A server that fails may have done the work before: only a key that the far side honours makes it safe to send again.
    broke = status == 500 and not call.operation.idempotent
    if broke or status in _UNCLEAR or not 400 <= status < 600:
        return unclear(call.operation.effect, said)
    return Failed(said, retry_after(answer.header(b"retry-after"), now))


def _took_place(call: Call, answer: Answer) -> Outcome:
    if answer.body is None:
        return unclear(call.operation.effect, f"{call.action}: the answer is larger than {MAX_ANSWER} bytes")
    if not answer.body.strip():
        return Answered({})
    try:
        return Answered(parse_json(answer.body))
    except NotJson as error:
        if call.is_read:
            return Failed(f"{call.action}: the answer cannot be used: {error}")
        # The status says that it took place; what was said about it is lost.
        return Answered({"status": answer.status})


def _detail(answer: Answer) -> str:
    """Return the far side's own words, from where JSON services put them (RFC 9457 and common use)."""
    try:
        value = parse_json(answer.body or b"")
    except NotJson:
        return ""
    if isinstance(value, dict):
        for key in ("detail", "message", "error_description", "error", "title"):
            text = value.get(key)
            if isinstance(text, dict):
                text = text.get("message")
            if isinstance(text, str) and text:
                return ": " + re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
    return ""


def _location(answer: Answer) -> str:
    try:
        host = urlsplit(answer.header(b"location")).hostname
    except ValueError:
        host = None
    return host[:100] if host else "another place"


def retry_after(text: str, now: int) -> int | None:
    """Return the milliseconds to wait (RFC 9110, 10.2.3: seconds or a date), at most MAX_RETRY_AFTER."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        # Long before the number is too long to read, it is more than the most that is waited.
        return min(int(text[:9]) * SECOND, MAX_RETRY_AFTER) if len(text) < 10 else MAX_RETRY_AFTER
    try:
        moment = parsedate_to_datetime(text)
        then = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(then - now, 0), MAX_RETRY_AFTER)
