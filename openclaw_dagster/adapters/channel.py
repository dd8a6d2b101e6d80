"""The ways to people: what a message says, and what a channel can do with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from openclaw_dagster.adapters.outcome import Failed, Refused, Unknown

#: Longest text of one part of a message that is shown; all of it stands on the page.
LONGEST = 2_400

# what would change how its neighbours look: controls, and the marks that turn the direction of writing
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def literal(text: str) -> str:
    """Return a text with what cannot be seen, or turns its neighbours around, written out."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most so many characters, that says so when it was longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


@dataclass(frozen=True)
class Question:
    """One field that is filled in together with an answer; `choices` are empty for free text."""

    name: str
    choices: tuple[str, ...] = ()
    longest: int = 3_000  # characters


@dataclass(frozen=True)
class Message:
    """What is said at one place, as plain data; every text is meant literally, whatever it contains."""

    title: str
    about: str  # the system and the case, in a few words
    link: str  # the page where all of it stands
    standing: str = ""  # one sentence: where it stands
    lines: tuple[tuple[str, str], ...] = ()  # label and a short value
    texts: tuple[tuple[str, str], ...] = ()  # label and a longer text of several lines
    verdicts: tuple[str, ...] = ()  # what may be answered; empty once nobody waits for an answer
    ticket: str = ""  # what comes back with an answer
    questions: tuple[Question, ...] = field(default=())  # asked together with a yes


@dataclass(frozen=True)
class Sent:
    """A message that is there: where, and its id, as the far side names them."""

    channel: str
    message: str


@dataclass(frozen=True)
class Gone:
    """The message that was to be changed is not there any more."""


Trouble: TypeAlias = Failed | Refused | Unknown


class Channel(Protocol):
    """One way to people. Calls may take up to `seconds` each; whatever the far side does is an outcome."""

    #: How long (seconds) one call may take at most.
    seconds: float
    #: Whether it can tell if a message is there, and change one.
    keeps: bool

    def post(self, place: str, key: str, message: Message, below: Sent | None) -> Sent | Trouble:
        """Say something at a place, under a key it is found by; `below` is the message it continues."""

    def find(self, place: str, key: str, since: int, below: Sent | None) -> list[Sent] | Trouble:
        """Return the messages of a key that are there, oldest first; `since` (ms) is before the first of them."""

    def change(self, sent: Sent, key: str, message: Message) -> Sent | Gone | Trouble:
        """Let a message say something else."""

    def remove(self, sent: Sent) -> Trouble | None:
        """Take a message away."""

    def close(self) -> None:
        """Give back connections."""
