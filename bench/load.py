"""`make bench-load`: 20,000 events with a tenfold burst in the middle; what is lost or doubled, and what memory does."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from services.postgres import running as postgres_server  # noqa: E402

from bench import systems  # noqa: E402
from bench.outside import Carrier, Sent, send  # noqa: E402
from openclaw_dagster.store.database import Database  # noqa: E402
from openclaw_dagster.store.ledger import Ledger  # noqa: E402


@dataclass(frozen=True)
class Plan:
    """How much is sent: a steady rate, a burst at ten times that, the steady rate again."""

    rate: float = 40.0  # events a second
    before: int = 4_000
    burst: int = 8_000
    after: int = 8_000
    patience: float = 180.0  # seconds after the last event in which all has to be completed

    @property
    def phases(self) -> tuple[tuple[str, int, float], ...]:
        """The parts in order: name, events, events a second."""
        return (
            ("before", self.before, self.rate),
            ("burst", self.burst, 10 * self.rate),
            ("after", self.after, self.rate),
        )


@dataclass
class Sample:
    """What the host held at one moment."""

    at: float  # seconds from the first event on
    memory: float  # MB
    disk: float  # MB
    waiting: int  # cases that are not completed


@dataclass
class Load:
    """What a run of the plan came to on one database."""

    database: str
    plan: Plan
    sent: dict[str, Sent] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)  # seconds a phase was sent in
    samples: list[Sample] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    unfinished: int = 0  # cases that the ledger has not completed
    drained: float = 0.0  # when the last order was booked, in seconds from the first event on
    slowest: float = 0.0  # the longest from the post to the booking, seconds

    def slope(self) -> float:
        """Return how memory grew in the second half, in MB a minute: the line that fits best."""
        half = [one for one in self.samples if one.at > self.samples[-1].at / 2]
        line = statistics.linear_regression([one.at / 60 for one in half], [one.memory for one in half])
        return line.slope

    def held(self, begin: float, end: float) -> float:
        """Return the median of memory in a part of the run, as shares of it."""
        last = self.samples[-1].at
        return statistics.median(one.memory for one in self.samples if begin <= one.at / last <= end)


async def measure(database: str, url: str, plan: Plan) -> Load:
    """Send the plan into a host; `url` as `systems.ours` takes it."""
    load, carrier = Load(database, plan), Carrier()
    await carrier.start()
    with systems.ours(carrier.port, url) as running:
        warm = [f"warm-{number}" for number in range(40)]
        await send(running.url, warm, rate=20)
        await asyncio.sleep(3)
        begun, orders = time.time(), []
        ledger = Ledger(Database(running.database))
        watching = asyncio.create_task(_watch(load, running, ledger, begun))
        for name, count, rate in plan.phases:
            mine = [f"{name}-{number}" for number in range(count)]
            orders += mine
            since = time.time()
            load.sent[name] = await send(running.url, mine, rate=rate, connections=64)
            load.took[name] = time.time() - since
        end = time.time() + plan.patience
        while (left := _left(ledger, len(warm) + len(orders))) and time.time() < end:
            await asyncio.sleep(0.2)
        watching.cancel()
        ledger.database.close()
        load.unfinished = left
        _count(load, carrier, orders, begun)
    return load


def _left(ledger: Ledger, sent: int) -> int:
    return sent - sum(count for (_, state), count in ledger.counts().items() if state == "completed")


def _count(load: Load, carrier: Carrier, orders: list[str], begun: float) -> None:
    load.lost = sum(one not in carrier.booked for one in orders)
    load.doubled = sum(max(0, len(carrier.booked.get(one, ())) - 1) for one in orders)
    load.drained = max(times[0] for times in carrier.booked.values()) - begun
    began = {one: at for sent in load.sent.values() for one, at in sent.at.items()}
    load.slowest = max(carrier.booked[one][0] - began[one] for one in orders if one in carrier.booked)


async def _watch(load: Load, running: systems.Running, ledger: Ledger, begun: float) -> None:
    """Write down once a second what the host holds, in a thread: the sender is not to wait for it."""

    def look() -> Sample:
        waiting = sum(count for (_, state), count in ledger.counts().items() if state != "completed")
        return Sample(time.time() - begun, running.memory(), size(running, ledger.database), waiting)

    while True:
        load.samples.append(await asyncio.to_thread(look))
        await asyncio.sleep(1)


def size(running: systems.Running, database: Database) -> float:
    """Return the megabytes of the host's files, and of its Postgres database when it has one."""
    found = 0
    if database.engine.dialect.name == "postgresql":
        with database.read() as connection:
            found = int(
                connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0
            )
    for path in running.home.rglob("*"):
        try:
            found += path.stat().st_size if path.is_file() else 0
        except OSError:  # it was removed between the two looks
            continue
    return found / (1 << 20)


def table(load: Load) -> str:
    """Return what a run came to, as Markdown."""
    total = sum(count for _, count, _ in load.plan.phases)
    lines = [f"| {total:,} events, {load.database} | |", "| --- | ---: |"]
    for name, count, rate in load.plan.phases:
        times = sorted(load.sent[name].accept_times())
        p50, p95 = (1000 * times[int(len(times) * part)] for part in (0.5, 0.95))
        lines.append(f"| {name}: {count:,} at {rate:.0f}/s, sent at | {count / load.took[name]:.0f}/s |")
        lines.append(f"| {name}: accept, p50 / p95 | {p50:.0f} / {p95:.0f} ms |")
    first, last = load.samples[0], load.samples[-1]
    lines += [
        f"| most that waited | {max(one.waiting for one in load.samples):,} |",
        f"| longest from post to booking | {load.slowest:.1f} s |",
        f"| all booked after | {load.drained:.0f} s |",
        f"| memory at the start, most, at the end | {first.memory:.0f} / {max(one.memory for one in load.samples):.0f}"
        f" / {last.memory:.0f} MB |",
        f"| memory, median of the 3rd and the 4th quarter | {load.held(0.5, 0.75):.0f} / {load.held(0.75, 1):.0f} MB |",
        f"| memory, growth in the second half | {load.slope():+.1f} MB/min |",
        f"| files and database, at the start and at the end | {first.disk:.0f} / {last.disk:.0f} MB |",
        f"| lost / doubled / unfinished | {load.lost} / {load.doubled} / {load.unfinished} |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the plan on the databases that are asked for; exit 1 when anything is lost, doubled or unfinished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="events a second outside the burst")
    parser.add_argument("--share", type=float, default=1.0, help="send less: 0.1 sends 2,000 events")
    parser.add_argument("--samples", type=Path, help="write each second's figures into this file")
    given = parser.parse_args()
    parts = (int(part * given.share) for part in (Plan.before, Plan.burst, Plan.after))
    plan = Plan(given.rate, *parts)
    loads: list[Load] = []
    if given.only != "postgres":
        loads.append(asyncio.run(measure("SQLite", "sqlite", plan)))
        print(table(loads[-1]), flush=True)
    if given.only != "sqlite":
        with postgres_server(fsync=True) as server:
            loads.append(asyncio.run(measure("Postgres", server.fresh(), plan)))
        print(table(loads[-1]), flush=True)
    if given.samples:
        lines = [
            f"{load.database},{one.at:.1f},{one.memory:.1f},{one.disk:.1f},{one.waiting}"
            for load in loads
            for one in load.samples
        ]
        given.samples.write_text("\n".join(["database,second,memory,disk,waiting", *lines]) + "\n")
    sys.exit(any(load.lost or load.doubled or load.unfinished for load in loads))


if __name__ == "__main__":
    main()
