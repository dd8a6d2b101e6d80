"""What is wrong with a file, where, and how to mend it: one finding, all findings, and how they are shown."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.codes import CODES

__all__ = ["CODES", "Diagnostic", "Findings", "Mark", "SpecRefused", "nearest"]

#: Most allowed words that are listed, and most characters of a line that are shown.
MOST_WORDS = 40
WIDTH = 120
#: A file with more problems than this gets no more guesses at what was meant: they are what takes time.
MOST_GUESSES = 100

#: Findings whose line is not shown, because it may hold a secret.
HIDDEN = frozenset({"CLAW036"})

_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Mark(NamedTuple):
    """A place in a file; lines and columns count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, order=True)
class Diagnostic:
    """One thing that is wrong with one place of one file."""

    file: str
    mark: Mark
    code: str
    message: str
    allowed: tuple[str, ...] = ()
    hint: str = ""

    @property
    def head(self) -> str:
        """Where and what, on one line."""
        return f"{self.file}:{self.mark.line}:{self.mark.column}: {self.code} {self.message}"

    def as_json(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {
            "file": self.file,
            "line": self.mark.line,
            "column": self.mark.column,
            "code": self.code,
            "message": self.message,
            "allowed": list(self.allowed),
            "hint": self.hint,
        }

    def render(self, source: str) -> str:
        """Return the message with the line it is about, a caret, what was allowed, and a hint."""
        lines = _LINE_END.split(source)
        parts = [self.head]
        if self.mark.line <= len(lines) and source and self.code not in HIDDEN:
            shown, before = _window(lines[self.mark.line - 1], self.mark.column - 1)
            gutter = f"{self.mark.line:>5} | "
            parts += [(gutter + shown).rstrip(), f"{'| ':>{len(gutter)}}{' ' * before}^"]
        if self.allowed:
            more = ", …" if len(self.allowed) > MOST_WORDS else ""
            parts.append(f"        allowed: {', '.join(self.allowed[:MOST_WORDS])}{more}")
        parts += [f"        {line}" for line in self.hint.splitlines()]
        return "\n".join(parts)


def _window(line: str, offset: int) -> tuple[str, int]:
    """Return the part of a line around `offset`, safe for a terminal, and the width of what is before it."""
    start = 0 if offset < WIDTH - 20 else offset - WIDTH // 2
    cut = line[start : start + WIDTH]
    text = ("…" if start else "") + "".join(_tame(letter) for letter in cut)
    text += "…" if len(line) > start + WIDTH else ""
    before = text[: offset - start + bool(start)]
    return text, sum(_columns(letter) for letter in before)


def _one_line(message: str) -> str:
    text = "".join(_tame(letter) for letter in message[:401])
    return text if len(text) <= 400 else f"{text[:399]}…"


def _tame(letter: str) -> str:
    """Return a letter as it may be printed: what would move the cursor or turn the text around is not."""
    return " " if letter == "\t" else letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


@dataclass
class Findings:
    """Collects everything that is wrong with one file, and the files it names, so that all comes at once."""

    file: str
    source: str = ""
    found: list[Diagnostic] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    named: str = ""

    def beside(self, file: str, source: str, mark: Mark) -> Findings:
        """Return where problems of another file go that this one names at `mark`; one list holds all."""
        self.sources[file] = source
        named = f"named in {self.file}:{mark.line}:{mark.column}"
        return Findings(file, source, self.found, self.sources, named)

    def add(
        self,
        mark: Mark,
        code: str,
        message: str,
        *,
        allowed: Iterable[str] = (),
        hint: str = "",
        said: str = "",
    ) -> None:
        """Note one problem; `said` is the word that was written, for a "did you mean"."""
        if code not in CODES:
            raise KeyError(code)
        options = tuple(sorted(allowed))
        guess = nearest(said, options) if said and len(self.found) < MOST_GUESSES else None
        lines = [f"did you mean {guess}?" if guess else "", hint, self.named]
        self.found.append(
            Diagnostic(self.file, mark, code, _one_line(message), options, "\n".join(filter(None, lines)))
        )

    def sorted(self) -> tuple[Diagnostic, ...]:
        """Return the findings in the order of the file, each once, those of other files last."""
        unread = {(one.file, one.mark) for one in self.found if one.code <= "CLAW006"}
        # what could not be read at a place says nothing more about that place
        kept = {one for one in self.found if one.code <= "CLAW006" or (one.file, one.mark) not in unread}
        return tuple(sorted(kept, key=lambda one: (one.file != self.file, one)))

    def refusal(self) -> SpecRefused:
        """Return the error that carries all findings."""
        return SpecRefused.of(self.file, self.sorted(), {**self.sources, self.file: self.source})


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that looks most like `word`, if one is close."""
    return _nearest(word[:80], tuple(options))


@lru_cache(maxsize=1024)
def _nearest(word: str, options: tuple[str, ...]) -> str | None:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return close[0] if close and close[0] != word else None


class SpecRefused(ClawError):
    """{file} has {count} problem(s): {first}"""

    code = "CLAW100"

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.diagnostics: tuple[Diagnostic, ...] = details["diagnostics"]
        self.sources: dict[str, str] = details.get("sources", {})

    @classmethod
    def of(cls, file: str, diagnostics: Iterable[Diagnostic], sources: dict[str, str]) -> SpecRefused:
        """Build the error for one file, or one folder, from all that was found in it."""
        every = tuple(diagnostics)
        return cls(file=file, count=len(every), first=every[0].head, diagnostics=every, sources=sources)

    def render(self) -> str:
        """Return every problem with its line and caret, ready to print."""
        return "\n\n".join(one.render(self.sources.get(one.file, "")) for one in self.diagnostics)
