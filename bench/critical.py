"""`python -m bench.critical`: how soon critical cases start that come into a burst of ordinary ones."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from services.postgres import running as postgres_server  # noqa: E402

from bench import systems  # noqa: E402
from bench.outside import Carrier, Sent, send, settled  # noqa: E402
from openclaw_dagster.store.database import Database  # noqa: E402
from openclaw_dagster.store.entries import Kind  # noqa: E402
from openclaw_dagster.store.ledger import Ledger  # noqa: E402

#: A second trigger of the sample, whose cases go first.
URGENT = """\
triggers:
  - order_urgent:
      source: webhook
      idempotency: order.id
      critical: true
"""


@dataclass
class Urgency:
    """What was measured of one burst; times in seconds from the moment a critical order's post began."""

    database: str
    delay: float  # of the carrier, in seconds
    started: list[float] = field(default_factory=list)  # until its run held the case
    acted: list[float] = field(default_factory=list)  # until the carrier had booked
    inside: int = 0  # critical orders that were sent before the last ordinary one was booked
    per_minute: float = 0.0  # ordinary cases
    lost: int = 0
    doubled: int = 0


async def measure(
    database: str,
    url: str,
    *,
    delay: float = 0.0,
    ordinary: int = 1000,
    critical: int = 30,
    rate: float = 4.0,
    patience: float = 180,
) -> Urgency:
    """Post `ordinary` orders at once and `critical` ones at `rate` a second into the burst; `url` as `host` takes it."""
    found = Urgency(database, delay)
    carrier = Carrier(delay=(delay, delay))
    await carrier.start()
    with systems.host(lambda specs: write(specs, carrier.port), url, "serve") as running:
        hook = f"{running.url}/hooks/dispatch/order_"
        warm = [f"warm-{number}" for number in range(20)]
        await send(hook + "created", warm, rate=10)
        await settled(carrier, warm, patience)
        await asyncio.sleep(1)
        many = [f"many-{number}" for number in range(ordinary)]
        few = [f"few-{number}" for number in range(critical)]
        begun = time.time()
        burst, urgent = await asyncio.gather(
            send(hook + "created", many, rate=None), _later(hook + "urgent", few, rate)
        )
        await settled(carrier, [*many, *few], patience)
        _judge(found, carrier, Ledger(Database(running.database)), urgent, many)
        last = max(carrier.booked[order][0] for order in many if order in carrier.booked)
        found.inside = sum(at < last for at in urgent.at.values())
        found.per_minute = len(burst.acknowledged) / (last - begun) * 60
    return found


async def _later(url: str, orders: list[str], rate: float) -> Sent:
    """Send orders when the burst has begun."""
    await asyncio.sleep(0.5)
    return await send(url, orders, rate=rate)


def _judge(found: Urgency, carrier: Carrier, ledger: Ledger, sent: Sent, many: list[str]) -> None:
    """Take the times from the ledger's journal and the carrier's books."""
    for order, at in sent.at.items():
        (case,) = ledger.find(key=order)
        starts = [record.at for record in ledger.journal(case.id) if record.kind is Kind.STARTED]
        found.started.append(min(starts) / 1000 - at if starts else float("inf"))
        found.acted.append(min(carrier.booked.get(order, [float("inf")])) - at)
    for order in [*sent.at, *many]:
        found.lost += order not in carrier.booked
        found.doubled += len(carrier.booked.get(order, ())) > 1
    ledger.database.close()


def write(specs: Path, port: int) -> None:
    """Write the sample with a critical trigger beside its own."""
    shutil.copytree(systems.ROOT / "claw_specs", specs)
    text = (specs / "dispatch.claw").read_text()
    (specs / "dispatch.claw").write_text(text.replace("triggers:\n", URGENT, 1))
    (specs / "environments" / "development.yaml").write_text(systems.ENVIRONMENT.format(port=port))


def share(values: list[float], part: float) -> float:
    """Return a percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def line(found: Urgency) -> str:
    """Return what was measured as a line of a table."""
    return (
        f"{found.database:<9} carrier {1000 * found.delay:3.0f} ms: critical start p50 {share(found.started, 0.5):.3f} "
        f"p95 {share(found.started, 0.95):.3f} max {max(found.started):.3f} s; action p50 {share(found.acted, 0.5):.3f} "
        f"p95 {share(found.acted, 0.95):.3f} s; {found.inside}/{len(found.started)} in the burst; "
        f"{found.per_minute:.0f} ordinary/min; lost {found.lost}, doubled {found.doubled}"
    )


def main() -> None:
    """Measure on each database, with a carrier that answers at once and with a slow one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database")
    parser.add_argument("--delay", type=float, nargs="*", default=[0.0, 0.05], help="of the carrier, seconds")
    parser.add_argument("--ordinary", type=int, default=1000)
    parser.add_argument("--critical", type=int, default=30)
    given = parser.parse_args()
    late = 0
    with postgres_server(fsync=True) as server:
        for name in ("SQLite", "Postgres"):
            for delay in given.delay if given.only in (None, name.lower()) else ():
                url = "sqlite" if name == "SQLite" else server.fresh()
                found = asyncio.run(
                    measure(name, url, delay=delay, ordinary=given.ordinary, critical=given.critical)
                )
                print(line(found), flush=True)
                late += share(found.started, 0.95) >= 2 or found.lost > 0 or found.doubled > 0
    sys.exit(late > 0)


if __name__ == "__main__":
    main()
