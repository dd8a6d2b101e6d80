"""What went wrong, in words that a person can act on at three in the morning."""

from __future__ import annotations

import logging
import traceback

from openclaw_dagster.store.entries import Entry, Kind

log = logging.getLogger(__name__)

#: Longest text (characters) that is kept about one failure.
LONGEST_TEXT = 2000


def failed(stage: str, error: str, *, attempts: int, step: str = "") -> Entry:
    """Return the entry that says that a stage failed for good; `step` when its effect did not take place."""
    return Entry(Kind.FAILED, {"stage": stage, "step": step, "error": short(error), "attempts": attempts})


def short(text: str) -> str:
    """Return the text, cut when it is longer than anybody reads."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def said(action: str, reason: str) -> str:
    """Return what an adapter said about an action, without the action's name, which the quoting text says."""
    return reason.removeprefix(f"{action}: ")


def failure(action: str, reason: str, attempts: int) -> str:
    """Return that an action failed, how often, and what was said the last time."""
    if attempts > 1:
        return f"{action} failed in {attempts} attempts, the last time: {said(action, reason)}"
    return f"{action} failed: {said(action, reason)}"


def mistake(case_id: str, stage: str, error: Exception) -> str:
    """Log an exception that nobody foresaw, with its traceback, and return what people read about it."""
    log.error("case %s, %s: an exception nobody foresaw", case_id, stage, exc_info=error)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in last)
    return f"{stage}: a mistake of this software, {type(error).__name__}{place}; its log has the traceback"
