"""Numbers that a page states are the numbers of the code."""

from __future__ import annotations

import pytest

from openclaw_dagster.adapters.limits import MAX_ANSWER, MAX_DEPTH
from openclaw_dagster.clock import HOUR, MINUTE, SECOND
from openclaw_dagster.compile.sensors import INTERVAL
from openclaw_dagster.runtime.batch import MOST_DEATHS
from openclaw_dagster.runtime.operations import MOST_REDRIVES
from openclaw_dagster.runtime.questions import MOST_QUESTIONS
from openclaw_dagster.runtime.retry import LONGEST
from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.store.seals import SETTLE
from openclaw_dagster.store.tally import SHARDS
from openclaw_dagster.warm.launcher import BUSY
from openclaw_dagster.warm.pool import RECYCLE
from openclaw_dagster.web.body import DEFAULT_LIMITS, MAX_KEY
from openclaw_dagster.web.limits import Rate
from openclaw_dagster.web.signatures import MIN_SECRET, SCHEMES, TOLERANCE

from .paths import ROOT

STATED = [
    ("docs/how-it-works.md", INTERVAL, 30, "dispatch sensor, every 30 s"),
    ("docs/operations.md", INTERVAL, 30, "the sensor dispatches, every 30 s"),
    (
        "docs/how-it-works.md",
        Environment().lease,
        45 * SECOND,
        "(45 s unless the environment says otherwise)",
    ),
    ("docs/how-it-works.md", MOST_DEATHS, 5, "died five times in a row"),
    ("docs/how-it-works.md", MOST_QUESTIONS, 6, "six times at most"),
    ("docs/how-it-works.md", MOST_REDRIVES, 10, "ten times at most"),
    ("docs/how-it-works.md", LONGEST, HOUR, "up to an hour"),
    ("docs/how-it-works.md", SHARDS, 32, "kept in 32 rows"),
    ("docs/operations.md", SETTLE, 10 * MINUTE, "more than ten minutes ago"),
    ("docs/operations.md", RECYCLE, 500, "replaced after 500"),
    ("docs/operations.md", BUSY, 10.0, "free for\n10 s"),
    ("docs/operations.md", MOST_REDRIVES, 10, "redriven ten times at most"),
    ("docs/adapters.md", (MAX_ANSWER, MAX_DEPTH), (1 << 20, 64), "1 MiB and 64\nlevels"),
    ("docs/webhooks.md", DEFAULT_LIMITS.max_bytes, 256 << 10, "256 KiB"),
    (
        "docs/webhooks.md",
        (DEFAULT_LIMITS.max_depth, DEFAULT_LIMITS.max_values),
        (32, 10_000),
        "10,000 values",
    ),
    ("docs/webhooks.md", MAX_KEY, 512, "1 to 512 bytes"),
    ("docs/webhooks.md", (Rate().burst, Rate().refill), (5_000, 2), "5,000 at once, or 500 a second"),
    ("docs/webhooks.md", (TOLERANCE, MIN_SECRET), (5 * MINUTE, 16), "16 bytes or more"),
    ("README.md", len(SCHEMES), 6, "six signature schemes"),
]


@pytest.mark.parametrize(("page", "is_", "was", "words"), STATED, ids=[one[3][:30] for one in STATED])
def test_a_number_of_a_page_is_the_codes(page: str, is_: object, was: object, words: str) -> None:
    assert words in (ROOT / page).read_text()
    assert is_ == was, f"{page} says {words!r}: change it with the code"


def test_every_scheme_is_in_the_table() -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    assert [scheme for scheme in SCHEMES if f"| `{scheme}` |" not in page] == []
