"""How cost grows with history: the same questions to ledgers of 1,000, 10,000 and 100,000 cases, on both databases.

    .venv/bin/python -m bench.growth --write    writes docs/images/growth.svg and its part of docs/benchmarks.md

It ends with 1 when anything but the audit takes more than half as long again at the last size as at the first.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).resolve().parent.parent),
    str(Path(__file__).resolve().parent.parent / "tests"),
]

from services.postgres import Postgres  # noqa: E402
from starlette.applications import Starlette  # noqa: E402

from bench import history, plot  # noqa: E402
from openclaw_dagster.runtime.advance import advance, hold  # noqa: E402
from openclaw_dagster.runtime.intake import arrival  # noqa: E402
from openclaw_dagster.runtime.workspace import Workspace  # noqa: E402
from openclaw_dagster.store import audit  # noqa: E402
from openclaw_dagster.store.ledger import Claim, with_fence  # noqa: E402
from openclaw_dagster.web.host import own_routes  # noqa: E402

SIZES = (1_000, 10_000, 100_000)
#: How much longer anything may take at the last size: a factor, and milliseconds that are noise on any machine.
MOST, NOISE = 1.5, 0.5
#: Rounds of each question, and rounds before them that are not counted.
ROUNDS, WARM = 40, 6
#: Cases of one claim.
BATCH = 10
#: Reads all of history, and is meant to.
WHOLE = "audit of everything"
#: What the plot shows: the rest lies between.
SHOWN = ("a case, event to closed", "overview page", "page of a case", f"claim of {BATCH}", "receive an event",
         "list by state", "what is due", WHOLE)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Clocked:
    """What each question took, in milliseconds, in one ledger."""

    took: dict[str, list[float]] = field(default_factory=dict)
    counts: bool = False

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work and note how long it took."""
        begin = time.perf_counter()
        answer = work()
        if self.counts:
            self.took.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
        return answer


@dataclass
class Asker:
    """Asks everything of one ledger."""

    shop: Workspace
    app: Starlette
    runner: asyncio.Runner
    number: int = 0

    def round(self, clocked: Clocked) -> None:
        """Ask everything once."""
        self._batch(clocked)
        clocked("a case, event to closed", self._case)
        self._look(clocked)

    def audit(self) -> float:
        """Read all of history; return the milliseconds."""
        begin = time.perf_counter()
        verdict = audit.verify(self.shop.ledger.database)
        assert verdict.faults == (), verdict.faults
        return 1000 * (time.perf_counter() - begin)

    def _receive(self) -> str:
        self.number += 1
        system = self.shop.systems["dispatch"]
        one = history.payload(f"B-{self.number}-{self.shop.clock.now()}")
        history.clock_of(self.shop).advance(1)
        receipts = self.shop.ledger.receive([arrival(system, system.triggers[0], one, one["order"]["id"])])
        return str(receipts[0].case_id)

    def _claim(self) -> Claim:
        claim = self.shop.ledger.claim("dispatch", limit=BATCH, lease=history.LEASE, by="growth")
        assert claim is not None
        return claim

    def _batch(self, clocked: Clocked) -> None:
        """Take a batch of cases from their events to their end, without computing anything."""
        ledger, now = self.shop.ledger, self.shop.clock.now()
        for _ in range(BATCH):
            clocked("receive an event", self._receive)
        due = clocked("what is due", lambda: ledger.due(self.shop.systems))
        assert [one.count for one in due.systems] == [BATCH]
        claim = clocked(f"claim of {BATCH}", self._claim)
        start = lambda: ledger.start(claim.id, run_id="growth", lease=history.LEASE, host="growth")  # noqa: E731
        held = clocked(f"start of {BATCH}", start)
        begun = [with_fence(one, history.begin(one, now + history.LEASE)) for one in held]
        after = clocked(f"write for {BATCH}", lambda: ledger.write(begun)).cases.values()
        ends = [with_fence(one, *history.end(one, now)) for one in after]
        clocked(f"close {BATCH}", lambda: ledger.write(ends))

    def _case(self) -> None:
        """Take one case from its event to its end: policy, simulated carrier and all."""
        case_id = self._receive()
        claim = self.shop.ledger.claim("dispatch", limit=1, lease=history.LEASE, by="growth")
        assert claim is not None
        advance(hold(self.shop, claim.id, run_id=f"run-{self.number}", host="growth"))
        found = self.shop.ledger.case(case_id)
        assert found is not None
        assert found.state == "completed"

    def _look(self, clocked: Clocked) -> None:
        """Ask what people and probes ask."""
        ledger = self.shop.ledger
        newest = clocked("list the newest", ledger.find)
        [letter] = ledger.dead_letters(limit=1)
        clocked("list by system", lambda: ledger.find(system="recall"))
        clocked("list by state", lambda: ledger.find(state="dead_lettered"))
        clocked("list by both", lambda: ledger.find(system="dispatch", state="completed"))
        clocked("find a key", lambda: ledger.find(key="A-500"))
        clocked("list dead letters", lambda: ledger.dead_letters(system="dispatch", limit=20))
        clocked("count by state", ledger.counts)
        clocked("overview page", lambda: self._get("/claw"))
        clocked("overview of a state", lambda: self._get("/claw", "system=dispatch&state=completed"))
        clocked("page of dead letters", lambda: self._get("/claw/dead-letters"))
        clocked("page of a case", lambda: self._get(f"/claw/cases/{newest[0].id}"))
        clocked("page of an old case", lambda: self._get(f"/claw/cases/{letter['case_id']}"))
        clocked("readiness", lambda: self._get("/readyz"))

    def _get(self, path: str, query: str = "") -> None:
        """Get a page of the app, without a network."""
        status: list[int] = []
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
                 "query_string": query.encode(), "headers": [], "scheme": "http", "http_version": "1.1"}  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        self.runner.run(self.app(scope, receive, send))  # type: ignore[arg-type]
        assert status == [200], (path, status)


@dataclass(frozen=True)
class Growth:
    """What one question took at each size, in milliseconds."""

    database: str
    question: str
    took: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """The power of the number of cases that fits best: 0 for what does not grow, 1 for what grows with it."""
        x = [math.log(size) for size in SIZES]
        return statistics.linear_regression(x, [math.log(value) for value in self.took]).slope

    @property
    def flat(self) -> bool:
        """Whether it takes at the last size what it took at the first, but for noise."""
        return self.question == WHOLE or self.took[-1] <= MOST * self.took[0] + NOISE


def measure(name: str, urls: Sequence[str | None]) -> list[Growth]:
    """Fill a ledger of each size, and ask everything of each."""
    with tempfile.TemporaryDirectory(prefix="claw-growth-") as home, ExitStack() as stack:
        askers = []
        for size, url in zip(SIZES, urls, strict=True):
            asker = stack.enter_context(_asker(Path(home) / str(size), url))
            begin = time.perf_counter()
            history.grow(asker.shop, 0, size)
            print(f"{name}: {size} cases written in {time.perf_counter() - begin:.0f} s", flush=True)
            askers.append(asker)
        found = ask(askers)
    return [Growth(name, question, tuple(one[question] for one in found)) for question in found[0]]


def ask(askers: Sequence[Asker]) -> list[dict[str, float]]:
    """Return the median of each question in milliseconds for each ledger.

    They are asked in turn, round by round: what else the machine does at a time is in all of their figures.
    """
    every = [Clocked() for _ in askers]
    for asker in askers:
        history.settle(asker.shop)
    for number in range(WARM + ROUNDS):
        for asker, clocked in zip(askers, every, strict=True):
            clocked.counts = number >= WARM
            asker.round(clocked)
    return [
        {name: statistics.median(values) for name, values in clocked.took.items()} | {WHOLE: asker.audit()}
        for asker, clocked in zip(askers, every, strict=True)
    ]


@contextmanager
def _asker(home: Path, url: str | None) -> Iterator[Asker]:
    home.mkdir()
    with history.shop(home, url or f"sqlite:///{home / 'ledger.db'}") as shop, asyncio.Runner() as runner:
        yield Asker(shop, Starlette(routes=own_routes(shop, lambda: None)), runner)


def table(found: list[Growth]) -> str:
    """Return the figures as Markdown, a line per question."""
    databases = list(dict.fromkeys(one.database for one in found))
    sizes = " / ".join(f"{size:,}" for size in SIZES)
    lines = ["| ms | " + " | ".join(f"{name}: {sizes} | n^" for name in databases) + " |"]
    lines.append("| --- |" + " ---: | ---: |" * len(databases))
    for question in dict.fromkeys(one.question for one in found):
        ours = [one for one in found if one.question == question]
        cells = [
            f"{' / '.join(_number(value) for value in one.took)} | {round(one.exponent, 2) + 0.0:.2f}"
            for one in ours
        ]
        lines.append(f"| {question} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write(found: list[Growth], about: str) -> None:
    """Put the plot into docs/images and the figures into docs/benchmarks.md between their marks."""
    shown = [(one.database, one.question, one.took, one.exponent) for one in found if one.question in SHOWN]
    (ROOT / "docs" / "images" / "growth.svg").write_text(plot.svg(SIZES, shown))
    page = ROOT / "docs" / "benchmarks.md"
    before, mark, rest = page.read_text().partition("<!-- growth -->")
    assert mark, f"{page} has no mark for these figures"
    after = rest.partition("<!-- growth end -->")[2]
    page.write_text(f"{before}<!-- growth -->\n\n{about}\n\n{table(found)}\n\n<!-- growth end -->{after}")


def main() -> None:
    """Measure, print, and write when asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database")
    parser.add_argument("--write", action="store_true", help="write the plot and the figures into docs")
    given = parser.parse_args()
    found: list[Growth] = []
    if given.only != "postgres":
        found += measure("SQLite", [None for _ in SIZES])
    if given.only != "sqlite":
        postgres = Postgres(fsync=True)
        try:
            found += measure("Postgres", [postgres.fresh() for _ in SIZES])
        finally:
            postgres.remove()
    sys.exit(judge(found, to_docs=given.write))


def judge(found: list[Growth], *, to_docs: bool) -> int:
    """Say what was found and write it where it belongs; return 1 when something grows that must not."""
    from bench.run import about

    print(table(found))
    if to_docs:
        write(found, about())
    grown = [one for one in found if not one.flat]
    for one in grown:
        print(
            f"grows with history on {one.database}: {one.question}, {one.took[0]:.2f} → {one.took[-1]:.2f} ms"
        )
    return 1 if grown else 0


if __name__ == "__main__":
    main()
