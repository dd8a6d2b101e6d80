"""What is wrong with a file, where, and how to mend it: every code, and how it is shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from openclaw_dagster.errors import ClawError

#: Every code the checker can print, with the explanation `claw explain` and `docs/errors.md` give.
CODES: dict[str, str] = {
    "CLAW001": "The file cannot be read as UTF-8 text: it is empty, too large, cut, or holds a byte order mark or NUL.",
    "CLAW002": "The text is not YAML. Values that begin with `>`, `%`, `@`, `*`, `&`, `!` or a backtick need quotes.",
    "CLAW003": "A key stands twice in one mapping. YAML readers disagree about which one wins, so neither does.",
    "CLAW004": "Anchors, aliases, tags and second documents are not part of the language.",
    "CLAW005": "The file is nested too deeply or holds too many values (20 levels, 10,000 values).",
    "CLAW006": "A number is ambiguous or too large. Write it without leading zeros, within 64 bits, or quote it.",
    "CLAW010": "One of the five layers is missing. A system without it drifts in production: add the layer.",
    "CLAW011": "A layer is there but empty. Say at least one thing in it.",
    "CLAW012": "The key is not known at this place.",
    "CLAW013": "A key that must be there is missing.",
    "CLAW014": "The value has the wrong kind: a list where a mapping belongs, a number where text belongs, or another word.",
    "CLAW015": "A name must match [a-z][a-z0-9_]*, at most 64 characters; events are such names joined by dots.",
    "CLAW016": "Two things share one name, or two names cannot be told apart. Names are unique in a system.",
    "CLAW017": "A quantity has a unit, and the unit belongs to the place: 500ms, 2m, 365d, <0.5%, 20 per 1h.",
    "CLAW018": "A place is a URI: queue://ops.dlq, slack://ops-oncall, email://ops@example.org, role://ops_lead.",
    "CLAW019": "The word belongs to the language, but this version does not execute it yet, so it refuses it.",
    "CLAW020": "A file the system names is missing, is not a plain file, is too large, or lies outside the system's folder.",
    "CLAW021": "A condition or expression is not valid CEL, or uses a name that is not known there.",
    "CLAW022": "Nothing emits the event that is listened to.",
    "CLAW023": "No adapter has this action.",
    "CLAW024": "Things wait for each other in a circle.",
    "CLAW025": "Nothing ever reaches this: no trigger leads to it.",
    "CLAW026": "It is not clear which trigger starts this decision: say it with `on:`.",
    "CLAW027": "The table has a gap: an input that no row decides.",
    "CLAW028": "Two rows of the table can be true for one input.",
    "CLAW029": "The policy does not compile, or breaks the rules of policies (no clock, no randomness, no input or output).",
    "CLAW030": "The cron expression is not valid.",
    "CLAW031": "The time zone is not known.",
    "CLAW032": "The effect class contradicts the action, or an irreversible step has no approval.",
    "CLAW033": "The `verify` or `undo` operation is not usable for this step.",
    "CLAW034": "The arguments under `with` do not fit what the action takes.",
    "CLAW035": "The JSON Schema file is not a valid JSON Schema.",
    "CLAW036": "The environment file is not complete for this system.",
}


@dataclass(frozen=True, order=True)
class Mark:
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
        head = f"{self.file}:{self.mark.line}:{self.mark.column}: {self.code} {self.message}"
        lines = source.splitlines()
        parts = [head]
        if 0 < self.mark.line <= len(lines):
            text = lines[self.mark.line - 1].replace("\t", " ")[:160]
            gutter = f"{self.mark.line:>5} | "
            parts += [gutter + text, " " * (len(gutter) - 2) + "| " + " " * (self.mark.column - 1) + "^"]
        if self.allowed:
            parts.append(f"        allowed: {', '.join(self.allowed)}")
        parts += [f"        {line}" for line in self.hint.splitlines()]
        return "\n".join(parts)


@dataclass
class Findings:
    """Collects everything that is wrong with one file, so that all of it comes at once."""

    file: str
    found: list[Diagnostic] = field(default_factory=list)

    def add(
        self, mark: Mark, code: str, message: str, *, allowed: Iterable[str] = (), hint: str = "", said: str = ""
    ) -> None:
        """Note one problem; `said` is the word that was written, for a "did you mean"."""
        if code not in CODES:
            raise KeyError(code)
        options = tuple(sorted(allowed))
        guess = nearest(said, options) if said else None
        lines = [f"did you mean {guess}?"] if guess else []
        if hint:
            lines.append(hint)
        self.found.append(Diagnostic(self.file, mark, code, message, options[:40], "\n".join(lines)))

    def sorted(self) -> tuple[Diagnostic, ...]:
        """Return the findings in the order of the file, each once."""
        return tuple(sorted(set(self.found)))


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that looks most like `word`, if one is close."""
    close = difflib.get_close_matches(word, list(options), n=1, cutoff=0.6)
    return close[0] if close else None


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
        one = every[0]
        first = f"{one.file}:{one.mark.line}:{one.mark.column}: {one.code} {one.message}"
        return cls(file=file, count=len(every), first=first, diagnostics=every, sources=sources)

    def render(self) -> str:
        """Return every problem with its line and caret, ready to print."""
        return "\n\n".join(one.render(self.sources.get(one.file, "")) for one in self.diagnostics)
