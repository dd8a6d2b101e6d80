"""Names for events, cases and claims that sort by time and are never given twice."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str, now: int) -> str:
    """Return `prefix_` and 26 letters: ten of time (ms), sixteen of chance."""
    number = (now << 80) | secrets.randbits(80)
    letters = []
    for _ in range(26):
        letters.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(letters))}"
