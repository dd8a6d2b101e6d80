"""One text for one value: what is hashed, compared and kept."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_LONE = re.compile("[\ud800-\udfff]")
_UNKEPT = re.compile("[\x00\ud800-\udfff]")


def dumps(value: Any) -> str:
    """Return JSON with sorted keys and no spaces; ValueError for what JSON cannot say, such as NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # half a surrogate pair is legal JSON and no legal UTF-8: it is kept in its escaped form
    return text if text.isascii() else _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain(text: str) -> str:
    """Return a text from outside as both databases can keep it in a column of its own."""
    return _UNKEPT.sub("\ufffd", text)


def sha256(text: str) -> str:
    """Return the hex digest of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
