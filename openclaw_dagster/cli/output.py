"""How things look: tables, moments, states, JSON; text from outside is literal and moves no cursor."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openclaw_dagster.clock import iso, span

if TYPE_CHECKING:
    from openclaw_dagster.spec.diagnostics import SpecRefused

#: Lines of a payload or a result that are shown unless all of it is asked for.
MOST_LINES = 30
#: Most letters of JSON that stand on one line, and the room beside them.
WIDTH, BESIDE = 96, 16

STATES = {
    "completed": "green",
    "done": "green",
    "ok": "green",
    "dead_lettered": "bold red",
    "failed": "red",
    "fail": "bold red",
    "stuck": "bold red",
    "unknown": "yellow",
    "awaiting_human": "bold yellow",
    "waiting_retry": "yellow",
    "waiting": "yellow",
    "warn": "yellow",
    "running": "cyan",
    "open": "cyan",
    "cancelled": "dim",
    "skipped": "dim",
}


def _note(context: typer.Context, value: bool) -> bool:
    context.meta["claw.json"] = value or context.meta.get("claw.json", False)
    return value


#: The option that every command with an answer has; errors are JSON too when it is given.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.", callback=_note)]


def out() -> Console:
    """Return where answers go: coloured on a terminal only, never cut when it is a pipe or a file."""
    return _console(stderr=False)


def err() -> Console:
    """Return where errors and remarks go."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        width=None if stream.isatty() else 4000,
    )


def say(text: str = "", style: str | None = None) -> None:
    """Print one text of the answer."""
    out().print(Text(literal(text), style=style or ""))


def remark(text: str, style: str | None = None) -> None:
    """Print one text beside the answer."""
    err().print(Text(literal(text), style=style or ""))


def say_json(value: Any) -> None:
    """Print a value for machines."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Iterable) else str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, indent: int = 0) -> None:
    """Print rows under their columns; the last column takes the room that is left.

    Where a terminal is too narrow, the last one stands below each row: ids and keys are never cut.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=any(columns))
    for name in columns[:-1]:
        made.add_column(name, no_wrap=True)
    made.add_column(columns[-1], overflow="fold")
    cells = [[cell if isinstance(cell, Text) else Text(literal(cell)) for cell in row] for row in rows]
    for row in cells:
        made.add_row(*row)
    console = out()
    if console.is_terminal and any(columns) and _width(columns, cells) > console.width - indent:
        for row in cells:
            console.print(" " * indent, Text("  ").join(row[:-1]), sep="", soft_wrap=True)
            if row[-1]:
                console.print(" " * (indent + 2), row[-1], sep="", soft_wrap=True)
        return
    if console.is_terminal:
        from rich.padding import Padding

        console.print(Padding(made, (0, 0, 0, indent)), soft_wrap=False)
        return
    with console.capture() as captured:
        console.print(made, soft_wrap=False)
    for line in captured.get().splitlines():
        sys.stdout.write((" " * indent + line).rstrip() + "\n")


def _width(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> int:
    """Return how wide a table has to be: all of its columns, and at least a good part of the last one."""
    widths = [max((len(name), *(row[at].cell_len for row in rows))) for at, name in enumerate(columns)]
    return sum(widths[:-1]) + 2 * len(widths[:-1]) + min(widths[-1], 30)


def state(word: str) -> Text:
    """Return a state as it is shown."""
    return Text(word, style=STATES.get(word, ""))


def literal(text: str) -> str:
    """Return a text as it may be printed: what would move the cursor or turn the text around is not."""
    shown = text.replace("\r\n", "\n").replace("\t", "    ")
    return "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in shown)


def one_line(text: str | None, most: int = 100) -> str:
    """Return a text on one line, cut where it gets long."""
    flat = " ".join((text or "").split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def pretty(value: Any, *, full: bool = False) -> str:
    """Return a value as JSON that people read: what fits on a line stands on one; long ones are cut."""
    lines = list(_lines(value, max(30, min(WIDTH, out().width - BESIDE))))
    if full or len(lines) <= MOST_LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:MOST_LINES], f"… {len(lines) - MOST_LINES} more lines: --full shows them"])


def _lines(value: Any, width: int) -> Iterator[str]:
    short = json.dumps(value, ensure_ascii=False, default=_plain)
    inner: Iterable[tuple[str, Any]]
    if isinstance(value, Mapping):
        inner, ends = (
            ((f"{json.dumps(name, ensure_ascii=False)}: ", one) for name, one in value.items()),
            "{}",
        )
    elif isinstance(value, list | tuple):
        inner, ends = (("", one) for one in value), "[]"
    else:
        inner, ends = (), ""
    if len(short) <= width or not ends:
        yield short
        return
    yield ends[0]
    parts = [(name, list(_lines(one, width - 2))) for name, one in inner]
    for number, (name, lines) in enumerate(parts, 1):
        lines[0] = name + lines[0]
        lines[-1] += "," if number < len(parts) else ""
        yield from (f"  {line}" for line in lines)
    yield ends[1]


def moment(milliseconds: int) -> str:
    """Return a time as people read it, in UTC."""
    return iso(milliseconds).replace("T", " ").replace("Z", " UTC")


def time_of_day(milliseconds: int) -> str:
    """Return the time without its day."""
    return iso(milliseconds)[11:23]


def ago(milliseconds: int, now: int) -> str:
    """Return how long ago a moment was, or how long it is until then."""
    return f"{span(now - milliseconds)} ago" if milliseconds <= now else f"in {span(milliseconds - now)}"


def count(number: int, word: str, plural: str | None = None) -> str:
    """Return `1 step` or `3 steps`."""
    return f"{number} {word if number == 1 else plural or word + 's'}"


def diagnostics(refused: SpecRefused, *, word: str = "") -> Text:
    """Return every problem of a file as it is shown; `word` stands before the code where it is no error."""
    shown = refused.render()
    if word:
        shown = re.sub(r"(?m)^(.*?:\d+:\d+: CLAW\d+) ", rf"\1 {word}: ", shown)
    text = Text(literal(shown))
    text.highlight_regex(r"(?m)^[^\s|][^\n]*?:\d+:\d+:", "bold")
    text.highlight_regex(r"(?m)(?<=: )CLAW\d+", "yellow" if word else "bold red")
    text.highlight_regex(r"(?m)^ +\| +\^$", "yellow" if word else "red")
    text.highlight_regex(r"(?m)^ +did you mean .*$", "green")
    return text
