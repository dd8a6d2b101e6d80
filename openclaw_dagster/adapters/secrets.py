"""Secret values on their way out, and the sponge that takes them out of everything that comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Lock
from typing import assert_never
from urllib.parse import quote

from openclaw_dagster.adapters.outcome import JSON, Absent, Answered, Failed, Outcome, Refused, Unknown

MASK = "[secret]"
#: Shorter values stand by chance in ordinary text; masking them would garble every answer.
MIN_LENGTH = 4
#: How many characters of a reason are kept.
MAX_REASON = 500


class NoSecret(Exception):
    """The secret has no usable value; the message names the secret and the repair, never the value."""


class Secrets:
    """Looks secrets up by name at every call, so that they can be rotated, and remembers what to mask."""

    def __init__(self, lookup: Callable[[str], str]) -> None:
        self._lookup = lookup
        self._lock = Lock()
        self._masked: tuple[str, ...] = ()

    def value(self, name: str) -> str:
        """Return the value of the secret `name`, fit for a header; NoSecret when there is none."""
        try:
            value = self._lookup(name)
        except Exception:
            value = ""
        # Files end in a newline; inside a header one would begin another header.
        value = value.strip() if isinstance(value, str) else ""
        if not value:
            raise NoSecret(f"the secret {name} has no value: set the variable or file that holds it")
        self._remember(value)
        if not value.isascii() or not value.isprintable():
            raise NoSecret(f"the secret {name} holds a character that cannot stand in a header")
        return value

    def learn(self, names: Iterable[str]) -> None:
        """Look up every name now, so that its value is masked even where it was not sent from here."""
        for name in names:
            try:
                self.value(name)
            except NoSecret:
                continue

    def _remember(self, value: str) -> None:
        if len(value) < MIN_LENGTH or value in self._masked:
            return
        spellings = {value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1]}
        with self._lock:
            known = {*self._masked, *spellings}
            # Longest first, so that a secret which contains another one is masked as a whole.
            self._masked = tuple(sorted(known, key=lambda text: (-len(text), text)))

    def scrub(self, text: str) -> str:
        """Return `text` without any secret value."""
        for value in self._masked:
            text = text.replace(value, MASK)
        return text

    def scrub_json(self, value: JSON) -> JSON:
        """Return `value` without any secret value in its texts and keys."""
        match value:
            case str():
                return self.scrub(value)
            case list():
                return [self.scrub_json(item) for item in value]
            case dict():
                return {self.scrub(key): self.scrub_json(item) for key, item in value.items()}
            case _:
                return value

    def scrub_outcome(self, outcome: Outcome) -> Outcome:
        """Return the outcome without any secret value: the far side may echo what it was sent."""
        match outcome:
            case Answered(result):
                return Answered(self.scrub_json(result))
            case Refused() | Failed() | Unknown():
                # Cut only afterwards: half a secret would not be recognised.
                return replace(outcome, reason=self.scrub(outcome.reason)[:MAX_REASON])
            case Absent():
                return outcome
            case _:
                assert_never(outcome)
