"""This product on several hosts with a Redis between them: as a contender, and with one host killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests")]

from services.hosts import Hosts, hosts  # noqa: E402
from services.redis import running as redis  # noqa: E402

from bench.outside import Carrier, send, settled  # noqa: E402
from bench.systems import ENVIRONMENT, ROOT, Running  # noqa: E402

#: Orders of the run in which a host is killed, and how many are booked by then.
BURST, UNTIL = 1000, 300
#: Seconds in which everything must be booked: a lease, and some.
PATIENCE = 180


@contextlib.contextmanager
def several(carrier_port: int, database: str, *, workers: int = 2) -> Iterator[Running]:
    """This product on five hosts on one Postgres, `workers` on each of two; `url` is the first web host's."""
    with _several(carrier_port, database, workers) as (running, _):
        yield running


@contextlib.contextmanager
def _several(carrier_port: int, database: str, workers: int) -> Iterator[tuple[Running, Hosts]]:
    folder = Path(tempfile.mkdtemp(prefix="claw-bench-"))
    specs = folder / "specs"
    shutil.copytree(ROOT / "claw_specs", specs)
    (specs / "environments" / "development.yaml").write_text(ENVIRONMENT.format(port=carrier_port))
    mark = {"BENCH_MARK": folder.name}
    try:
        with redis(**mark) as broker:
            environment = {
                **os.environ, **mark, "CLAW_SPECS": str(specs), "CLAW_DATABASE_URL": database,
                "CLAW_WORKERS": str(workers), "CLAW_LAUNCHER": "celery", "CLAW_BROKER_URL": broker.url,
            }  # fmt: skip
            environment.pop("DAGSTER_HOME", None)
            with hosts(folder, environment) as found:
                url = f"{found.url('web1')}/hooks/dispatch/order_created"
                yield Running("openclaw, 5 hosts", url, folder, folder.name, database), found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Killed:
    """What became of a burst in the middle of which a worker host was killed."""

    orders: int
    booked_before: int  # when the host was killed
    seconds: float  # from the first post to the last booking
    after: float  # from the kill to the last booking
    lost: int
    doubled: int

    def __str__(self) -> str:
        """Say it as one row of a table."""
        return (
            f"{self.orders} orders, a worker host killed after {self.booked_before}: lost {self.lost}, "
            f"doubled {self.doubled}; all booked {self.seconds:.0f} s after the first, {self.after:.0f} s after the kill"
        )


async def kill_run(database: str, *, size: int = BURST, until: int = UNTIL, workers: int = 2) -> Killed:
    """Send a burst to both web hosts, kill -9 everything of one worker host in its middle, and count outside."""
    carrier = Carrier()
    await carrier.start()
    with _several(carrier.port, database, workers) as (_, found):
        await send(f"{found.url('web1')}/hooks/dispatch/order_created", ["warm"], rate=1)
        await settled(carrier, ["warm"], PATIENCE)
        orders = [f"kill-{i}" for i in range(size)]
        begun = time.time()
        halves = (("web1", orders[::2]), ("web2", orders[1::2]))
        sending = [
            asyncio.create_task(
                send(f"{found.url(web)}/hooks/dispatch/order_created", half, rate=None, connections=8)
            )
            for web, half in halves
        ]
        while len(carrier.booked) <= until:
            await asyncio.sleep(0.01)
        before, killed = len(carrier.booked) - 1, time.time()
        await asyncio.to_thread(found.kill, "worker1")
        await asyncio.gather(*sending)
        await settled(carrier, orders, PATIENCE)
        await asyncio.sleep(5)  # a second booking would come late
        last = max(carrier.booked[order][-1] for order in orders if order in carrier.booked)
        return Killed(
            size, before, last - begun, last - killed,
            lost=sum(order not in carrier.booked for order in orders),
            doubled=sum(len(carrier.booked.get(order, ())) > 1 for order in orders),
        )  # fmt: skip


def main() -> None:
    """Run the burst with the kill alone, on a Postgres of its own."""
    from services.postgres import running as postgres

    with postgres(fsync=True) as server:
        found = asyncio.run(kill_run(server.fresh()))
    print(found)
    sys.exit(bool(found.lost or found.doubled))


if __name__ == "__main__":
    main()
