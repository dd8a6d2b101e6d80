"""What `claw doctor` looks at on the machine: the host, the clock, the disk."""

from __future__ import annotations

import email.utils
import shutil
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openclaw_dagster.cli import output
from openclaw_dagster.cli.delivery import opener
from openclaw_dagster.cli.place import shown_path
from openclaw_dagster.clock import MINUTE, SECOND, SystemClock, span

Verdict = Literal["ok", "warn", "fail"]

#: Bytes of room below which the disk is worth a warning, and below which events will soon be turned away.
LITTLE, TOO_LITTLE = 2 << 30, 200 << 20
#: No correct clock says less: the year this was written.
NEVER_BEFORE = 1_767_225_600_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    repair: str = ""


def host(url: str) -> Iterator[Finding]:
    """Look whether the host answers, and whether its clock is this one."""
    try:
        answer = opener(url).open(f"{url.rstrip('/')}/readyz", timeout=5)
    except urllib.error.HTTPError as error:
        text = error.read(4096).decode("utf-8", "replace")
        yield Finding(
            "host",
            "fail",
            f"{url} answers {error.code}: {output.one_line(text, 200)}",
            "see what claw dev prints",
        )
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        yield Finding(
            "host",
            "warn",
            f"nothing answers at {url} ({reason})",
            "start it with claw dev, or say where it is with --url",
        )
        return
    with answer:
        yield Finding("host", "ok", f"{url} is ready")
        yield from _difference(answer.headers.get("Date"))


def _difference(said: str | None) -> Iterator[Finding]:
    try:
        there = int(email.utils.parsedate_to_datetime(said or "").timestamp()) * SECOND
    except (ValueError, TypeError):
        return
    apart = abs(SystemClock().now() - there)
    if apart > MINUTE:
        yield Finding(
            "clock",
            "warn",
            f"this clock and the host's are {span(apart)} apart",
            "let both follow a time server",
        )


def clock(newest: int | None) -> Iterator[Finding]:
    """Look whether the clock can be right; `newest` is when the ledger's newest case began."""
    now = SystemClock().now()
    repair = "let this machine follow a time server (timedatectl set-ntp true)"
    if now < NEVER_BEFORE:
        yield Finding("clock", "fail", f"it says {output.moment(now)}, which is past", repair)
        return
    if newest is not None and newest > now + MINUTE:
        yield Finding(
            "clock",
            "warn",
            f"it says {output.moment(now)}, and the ledger has a case of {output.moment(newest)}",
            repair,
        )
    else:
        yield Finding("clock", "ok", output.moment(now))


def disk(home: Path) -> Iterator[Finding]:
    """Look whether there is room."""
    place = home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    verdict: Verdict = "ok" if free >= LITTLE else "warn" if free >= TOO_LITTLE else "fail"
    repair = "" if verdict == "ok" else "make room: a full disk takes no events"
    yield Finding("disk", verdict, f"{free / (1 << 30):.1f} GiB free at {shown_path(place)}", repair)
