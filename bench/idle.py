"""`python -m bench.idle`: what many systems cost while nothing happens, and after a burst; memory over recycled workers."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from services.postgres import running as postgres_server  # noqa: E402

from bench import systems  # noqa: E402
from bench.outside import Carrier, send, settled  # noqa: E402
from bench.roles import roles  # noqa: E402
from openclaw_dagster.settings import read_settings  # noqa: E402
from openclaw_dagster.warm.line import ask, socket_of  # noqa: E402

SYSTEM = """\
system: {name}
version: "1"
triggers: [{{order_created: {{source: webhook, idempotency: order.id}}}}]
decisions:
  - way:
      inputs: [order]
      table:
        - {{when: "order.weight_kg > 30.0", then: freight}}
        - {{else: true, then: parcel}}
      emits: sized
execution:
  - book: {{on: sized, action: carrier.book, with: {{order: "${{order}}"}}, retries: 3}}
  - note: {{on: sized, needs: [book], action: oms.update, with: {{order: "${{order}}"}}, retries: 3}}
data: {{events: {{store: event-log}}}}
observability: {{slo: {{error_rate: "<1%"}}}}
"""
ENVIRONMENT = """\
unsigned_webhooks: true
adapters:
  carrier: {{use: http, url: "http://127.0.0.1:{port}", allow_private: true}}
  oms: {{use: http, url: "http://127.0.0.1:{port}", allow_private: true}}
"""


@dataclass
class Cost:
    """What a host cost, by process: megabytes before and after a burst, and the share of a core while idle."""

    database: str
    systems: int
    idle: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    lost: int = 0


def write(specs: Path, count: int, port: int) -> None:
    """Write `count` systems that each decide by a table and take two steps at the service behind `port`."""
    (specs / "environments").mkdir(parents=True)
    (specs / "environments" / "development.yaml").write_text(ENVIRONMENT.format(port=port))
    for name in names(count):
        (specs / f"{name}.claw").write_text(SYSTEM.format(name=name))


def names(count: int) -> list[str]:
    return [f"shop_{number:03}" for number in range(count)]


def by_role(running: systems.Running, figure: Callable[[int], float]) -> dict[str, float]:
    """Return a figure of each process, under what the process is."""
    known = roles(running.pids())
    found = {f"{role} {pid}" if role == "worker" else role: figure(pid) for pid, role in known.items()}
    return {role: found[role] for role in sorted(found)}


async def measure(
    database: str,
    url: str,
    *,
    systems_loaded: int = 50,
    seconds: float = 60,
    settle: float = 45,
    burst: int = 300,
) -> Cost:
    """Start `claw dev` with many systems, let it come to rest, and return what it costs; `url` as `host` takes it."""
    cost = Cost(database, systems_loaded)
    carrier = Carrier()
    await carrier.start()
    with systems.host(lambda specs: write(specs, systems_loaded, carrier.port), url, "dev") as running:
        await asyncio.sleep(settle)
        before, begun = by_role(running, systems.used), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - begun
        now = by_role(running, systems.used)
        cost.idle = {role: (now[role] - before.get(role, 0)) / took for role in now}
        cost.memory = by_role(running, systems.held)
        await _burst(running, carrier, cost, burst)
        await asyncio.sleep(5)
        cost.after = by_role(running, systems.held)
    return cost


async def _burst(running: systems.Running, carrier: Carrier, cost: Cost, size: int) -> None:
    """Send `size` orders to all systems in turn and wait for both calls of each."""
    every = names(cost.systems)
    orders = {name: [f"{name}-{number}" for number in range(-(-size // cost.systems))] for name in every}
    await asyncio.gather(
        *(
            send(f"{running.url}/hooks/{name}/order_created", orders[name], rate=None, connections=1)
            for name in every
        )
    )
    end = time.monotonic() + 120
    wanted = [order for each in orders.values() for order in each]
    while time.monotonic() < end and any(len(carrier.booked.get(order, ())) < 2 for order in wanted):
        await asyncio.sleep(0.1)
    cost.lost = sum(len(carrier.booked.get(order, ())) < 2 for order in wanted)


@dataclass
class Recycled:
    """What pool and workers held after some runs, and how many workers there had been by then."""

    runs: int
    workers: int
    megabytes: float


async def recycle(url: str, *, orders: int = 1500, parts: int = 5, rate: float = 30) -> list[Recycled]:
    """Send orders so slowly that each has a run of its own, and return what the pool held after each part of them."""
    carrier = Carrier()
    await carrier.start()
    seen: set[str] = set()
    found = []
    with systems.host(lambda specs: write(specs, 1, carrier.port), url, "serve") as running:
        hook = f"{running.url}/hooks/{names(1)[0]}/order_created"
        socket = socket_of(read_settings(home=str(running.home)))
        for part in range(parts):
            batch = [f"{part}-{number}" for number in range(orders // parts)]
            await send(hook, batch, rate=rate, connections=4)
            await settled(carrier, batch, 60)
            await asyncio.sleep(2)
            held = {
                r: m for r, m in by_role(running, systems.held).items() if r.startswith(("pool", "worker"))
            }
            seen |= {role for role in held if role != "pool"}
            done = int(ask(socket, {"ask": "status"})["done"])
            found.append(Recycled(done, len(seen), sum(held.values())))
    return found


def table(cost: Cost) -> str:
    """Return the figures of a host as Markdown."""
    lines = [
        f"| {cost.systems} systems, {cost.database} | idle, % of a core | MB (PSS) | MB after a burst |",
        "| --- | ---: | ---: | ---: |",
    ]
    for role in sorted({*cost.memory, *cost.after}):
        figures = (100 * cost.idle.get(role, 0), cost.memory.get(role, 0), cost.after.get(role, 0))
        lines.append(f"| {role} | {figures[0]:.2f} | {figures[1]:.0f} | {figures[2]:.0f} |")
    total = (100 * sum(cost.idle.values()), sum(cost.memory.values()), sum(cost.after.values()))
    lines.append(f"| together | {total[0]:.1f} | {total[1]:.0f} | {total[2]:.0f} |")
    return "\n".join(lines) + (f"\n\n{cost.lost} orders were lost" if cost.lost else "")


def main() -> None:
    """Measure on the databases that are asked for and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database")
    parser.add_argument("--systems", type=int, default=50)
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long nothing happens while it is measured"
    )
    parser.add_argument("--settle", type=float, default=45, help="seconds before that")
    parser.add_argument("--burst", type=int, default=300, help="orders sent afterwards")
    parser.add_argument("--recycle", action="store_true", help="instead: memory over some thousand runs")
    given = parser.parse_args()
    if given.recycle:
        for one in asyncio.run(recycle("sqlite")):
            print(f"{one.runs} runs, {one.workers} workers so far: {one.megabytes:.0f} MB", flush=True)
        return
    plan = {
        "systems_loaded": given.systems,
        "seconds": given.seconds,
        "settle": given.settle,
        "burst": given.burst,
    }
    if given.only != "postgres":
        print(table(asyncio.run(measure("SQLite", "sqlite", **plan))), flush=True)
    if given.only != "sqlite":
        with postgres_server() as server:
            print(table(asyncio.run(measure("Postgres", server.fresh(), **plan))), flush=True)


if __name__ == "__main__":
    main()
