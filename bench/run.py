"""`make bench`: the same work on this product and on stock Dagster, on SQLite and on Postgres, in one run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).resolve().parent.parent),
    str(Path(__file__).resolve().parent.parent / "tests"),
]

from services.postgres import Postgres  # noqa: E402

from bench import systems  # noqa: E402
from bench.outside import Carrier, send, settled  # noqa: E402


@dataclass
class Figures:
    """What was measured of one contender on one database."""

    name: str
    database: str
    rows: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0


def share(values: list[float], part: float) -> float:
    """Return a percentile in milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


async def measure(running: systems.Running, carrier: Carrier, figures: Figures, plan: Plan) -> None:
    """Send what the plan says and write down what the outside saw."""
    await send(running.url, [f"warm{i}" for i in range(plan.warm)], rate=10)
    if not await settled(carrier, [f"warm{i}" for i in range(plan.warm)], plan.patience):
        raise TimeoutError(f"it did not book {plan.warm} orders in {plan.patience:.0f} s")
    await asyncio.sleep(2)
    for rate, count in plan.rates:
        orders = [f"rate{rate}-{i}" for i in range(count)]
        sent = await send(running.url, orders, rate=rate)
        await settled(carrier, orders, plan.patience)
        took = [carrier.booked[o][0] - sent.at[o] for o in orders if o in carrier.booked]
        accepted = sent.accept_times()
        figures.numbers[f"{rate}/s p95"] = share(took, 0.95)
        figures.rows[f"accept at {rate}/s, p50 / p95"] = (
            f"{share(accepted, 0.5):.0f} / {share(accepted, 0.95):.0f} ms"
        )
        shares = " / ".join(f"{share(took, part):.0f}" for part in (0.5, 0.95, 0.99))
        figures.rows[f"event → action at {rate}/s, p50 / p95 / p99"] = f"{shares} ms"
        _count(figures, carrier, orders)
    with Peak(running) as peak:
        for size in plan.bursts:
            await _burst(running, carrier, figures, size, plan)
    figures.rows["peak memory"] = f"{peak.megabytes:.0f} MB"
    figures.numbers["memory"] = peak.megabytes
    await asyncio.sleep(3)
    before, begun = running.cpu(), time.time()
    await asyncio.sleep(plan.idle)
    idle = (running.cpu() - before) / (time.time() - begun)
    figures.numbers["idle"] = idle
    figures.rows["idle"] = f"{100 * idle:.1f}% of a core"


class Peak:
    """The most memory a contender held, looked at each second and at the end."""

    def __init__(self, running: systems.Running) -> None:
        self.running = running
        self.megabytes = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.megabytes = max(self.megabytes, self.running.memory())

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self.megabytes = max(self.megabytes, self.running.memory())


async def _burst(running: systems.Running, carrier: Carrier, figures: Figures, size: int, plan: Plan) -> None:
    orders = [f"burst{size}-{i}" for i in range(size)]
    before, begun = running.cpu(), time.time()
    sent = await send(running.url, orders, rate=None)
    await settled(carrier, orders, plan.patience)
    done = [carrier.booked[o][0] for o in orders if o in carrier.booked]
    minutes = (max(done) - begun) / 60 if done else float("inf")
    await asyncio.sleep(1)
    figures.numbers[f"burst {size}"] = len(done) / minutes
    took = [carrier.booked[o][0] - sent.at[o] for o in orders if o in carrier.booked]
    figures.rows[f"burst of {size}: cases/min"] = f"{len(done) / minutes:.0f}"
    figures.rows[f"burst of {size}: p95"] = f"{share(took, 0.95) / 1000:.1f} s"
    figures.rows[f"burst of {size}: CPU per case"] = f"{1000 * (running.cpu() - before) / size:.1f} ms"
    _count(figures, carrier, orders)


def _count(figures: Figures, carrier: Carrier, orders: list[str]) -> None:
    figures.lost += sum(order not in carrier.booked for order in orders)
    figures.doubled += sum(len(carrier.booked.get(order, ())) > 1 for order in orders)


@dataclass(frozen=True)
class Plan:
    """How much is sent."""

    warm: int = 20
    rates: tuple[tuple[int, int], ...] = ((1, 40), (10, 100))
    bursts: tuple[int, ...] = (200, 1000)
    idle: float = 15
    patience: float = 240


QUICK = Plan(warm=10, rates=((2, 20),), bursts=(200,), idle=5)
#: Stock Dagster needs seconds for each run: what it is sent is less, so that a run of the benchmark ends.
STOCK = Plan(warm=2, rates=((1, 12),), bursts=(20,), idle=8, patience=300)

Contender = tuple[str, str, Callable[[int, str], contextlib.AbstractContextManager[systems.Running]], Plan]


def run(contenders: list[Contender], postgres: Postgres) -> list[Figures]:
    """Measure each contender alone on the machine, one after another."""
    found = []
    for name, database, start, plan in contenders:
        print(f"measuring {name} on {database} …", flush=True)
        figures = Figures(name, database)
        try:
            asyncio.run(_one(start, "sqlite" if database == "SQLite" else postgres.fresh(), figures, plan))
        except Exception as error:
            if name.startswith("openclaw"):
                raise
            print(f"  {name} did not run: {error!r}", flush=True)
            continue
        found.append(figures)
        for row, value in figures.rows.items():
            print(f"  {row:<45} {value}")
        print(f"  lost {figures.lost}, doubled {figures.doubled}", flush=True)
    return found


async def _one(start: Callable[..., object], database: str, figures: Figures, plan: Plan) -> None:
    carrier = Carrier()
    await carrier.start()
    with start(carrier.port, database) as running:  # type: ignore[attr-defined]
        await measure(running, carrier, figures, plan)


def table(found: list[Figures]) -> str:
    """Return the figures side by side, as Markdown."""
    rows = list(dict.fromkeys(row for figures in found for row in figures.rows))
    lines = ["| | " + " | ".join(f"{f.name}, {f.database}" for f in found) + " |"]
    lines.append("| --- |" + " ---: |" * len(found))
    lines += [f"| {row} | " + " | ".join(f.rows.get(row, "–") for f in found) + " |" for row in rows]
    lines.append("| lost / doubled | " + " | ".join(f"{f.lost} / {f.doubled}" for f in found) + " |")
    return "\n".join(lines)


def about() -> str:
    """Return the machine, the versions and the date."""
    model = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in x
        ),
        "?",
    )
    versions = ", ".join(
        f"{n} {importlib.metadata.version(n)}" for n in ("dagster", "sqlalchemy", "openclaw-dagster")
    )
    today = time.strftime("%Y-%m-%d")
    load = f"load before {os.getloadavg()[0]:.1f}"
    return (
        f"{today}; {os.cpu_count()} cores ({model}); Python {platform.python_version()}; {versions}; {load}."
    )


def ratios(found: list[Figures]) -> str:
    """Return how this product compares with each other contender on the same database, in this run."""
    lines = []
    for ours in [f for f in found if f.name == "openclaw"]:
        for other in [f for f in found if f.database == ours.database and f is not ours]:
            mine, theirs = _largest(ours), _largest(other)
            text = (
                f"- {ours.database}, against {other.name}: {ours.numbers[mine] / other.numbers[theirs]:.2f} × the cases "
                f"a minute ({mine}, theirs {theirs})"
            )
            if "1/s p95" in other.numbers and "1/s p95" in ours.numbers:
                text += f", event → action p95 at 1/s {other.numbers['1/s p95'] / ours.numbers['1/s p95']:.1f} × as fast"
            lines.append(text)
    return "\n".join(lines)


def _largest(figures: Figures) -> str:
    return max((k for k in figures.numbers if k.startswith("burst")), key=lambda k: int(k.split()[1]))


def main() -> None:
    """Run the benchmark and write docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="send little: to see that it works")
    parser.add_argument("--peers", metavar="PYTHON", help="also run DBOS and Prefect with this interpreter")
    parser.add_argument(
        "--hosts", action="store_true", help="also this product with Celery on two worker hosts"
    )
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database")
    parser.add_argument("--just", metavar="NAME", help="only contenders with this in their name")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    plan = QUICK if given.quick else Plan()
    contenders: list[Contender] = []
    for database in ("SQLite", "Postgres"):
        if given.only in (None, database.lower()):
            contenders.append(("openclaw", database, systems.ours, plan))
            contenders.append(("stock Dagster", database, systems.stock, STOCK))
    if given.hosts:
        from bench.hosts import several

        contenders.append(("openclaw, Celery on 2 worker hosts", "Postgres", several, plan))
    if given.peers:
        contenders.append(("DBOS Transact", "Postgres", _peer(DBOS, given.peers), plan))
        contenders.append(("Prefect", "Postgres", _peer(PREFECT, given.peers), PREFECT_PLAN))
    if given.just:
        contenders = [one for one in contenders if given.just.lower() in one[0].lower()]
    postgres = Postgres(fsync=True)
    machine = about()
    try:
        found = run(contenders, postgres)
    finally:
        postgres.remove()
    text = f"{machine}\n\n{table(found)}\n\n{ratios(found)}\n"
    print(text)
    if given.write:
        write(text)
    sys.exit(any(f.lost or f.doubled for f in found if f.name == "openclaw"))


DBOS, PREFECT = "bench.contenders.dbos_app", "bench.contenders.prefect_app"
#: Prefect does some hundred flows a minute here.
PREFECT_PLAN = Plan(warm=3, rates=((1, 20),), bursts=(100,), idle=5, patience=120)


def _peer(
    module: str, python: str
) -> Callable[[int, str], contextlib.AbstractContextManager[systems.Running]]:
    name = module.rpartition(".")[2]
    more = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
    return lambda port, database: systems.peer(
        name, module, python, port, database, DBOS_URL=database, **more
    )


def write(text: str) -> None:
    """Put the figures into docs/benchmarks.md between its marks."""
    page = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
    before, _, rest = page.read_text().partition("<!-- figures -->")
    after = rest.partition("<!-- end -->")[2]
    page.write_text(f"{before}<!-- figures -->\n\n{text}\n<!-- end -->{after}")


if __name__ == "__main__":
    main()
