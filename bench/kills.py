"""`make bench-kills`: kill -9 of each of our processes during bursts, and what the outside counts afterwards."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from services.postgres import running as postgres_server  # noqa: E402

from bench import systems  # noqa: E402
from bench.outside import Carrier, Sent, send  # noqa: E402
from bench.roles import roles  # noqa: E402
from openclaw_dagster.store import audit  # noqa: E402
from openclaw_dagster.store.database import Database  # noqa: E402
from openclaw_dagster.store.ledger import Ledger  # noqa: E402

#: Whom a round kills. The last two end the host, which is then started again: its supervisor, or all at once.
VICTIMS = ("web", "code", "daemon", "pool", "worker", "supervisor", "everything")
#: Seconds the carrier takes for each call; it books half-way, so that a kill meets calls of every age.
DELAY = (0.02, 0.05)
#: Seconds in which a burst has to be settled after the last kill.
PATIENCE = 150.0


@dataclass(frozen=True)
class Round:
    """One burst with its kills, and what came of it."""

    victim: str
    kills: int
    under_way: int  # orders of the burst that were not completed when it was killed
    unfinished: int  # orders without 2xx, without booking, or whose case is not completed
    doubled: int  # bookings beyond the first of an order
    settled: float  # seconds from the last kill until all were completed


@dataclass
class Field:
    """A host, the carrier it calls, and what both came to so far."""

    running: systems.Running
    carrier: Carrier
    ledger: Ledger
    dice: random.Random
    sent: int = 0
    length: float = 2.0  # seconds a burst takes undisturbed

    def completed(self) -> int:
        """Return how many cases the ledger has completed."""
        return sum(count for (_, state), count in self.ledger.counts().items() if state == "completed")

    def left(self, orders: list[str], sent: Sent) -> int:
        """Return how many of the last orders are not finished, as the sender, the carrier and the ledger say."""
        outside = sum(one not in sent.acknowledged or one not in self.carrier.booked for one in orders)
        return max(outside, self.sent - self.completed())

    def doubled(self, orders: list[str]) -> int:
        """Return how many bookings the carrier has beyond the first of each order."""
        return sum(max(0, len(self.carrier.booked.get(one, ())) - 1) for one in orders)


@contextlib.asynccontextmanager
async def field(database: str, seed: int) -> AsyncIterator[Field]:
    """Give a host that is warm, on "sqlite" or at a Postgres url."""
    carrier = Carrier(delay=DELAY)
    await carrier.start()
    with systems.ours(carrier.port, database) as running:
        ledger = Ledger(Database(running.database))
        ground = Field(running, carrier, ledger, random.Random(seed))
        try:
            await _burst(ground, "warm", 40, lambda: _nobody())
            begun = time.monotonic()
            await _burst(ground, "plain", 100, lambda: _nobody())
            ground.length = time.monotonic() - begun
            yield ground
            faults = audit.verify(ledger.database).faults
            assert not faults, f"the history is not whole: {faults[:3]}"
        finally:
            ledger.database.close()


async def _nobody() -> int:
    return 0


async def _burst(
    ground: Field, name: str, size: int, kill: Callable[[], object], patience: float = PATIENCE
) -> tuple[int, int, int, float]:
    """Send a burst while `kill` runs; return kills, unfinished, doubled, and the seconds it took after them."""
    orders = [f"{name}-{ground.sent}-{number}" for number in range(size)]
    ground.sent += size
    sending = asyncio.create_task(send(ground.running.url, orders, rate=None))
    kills = int(await kill())  # type: ignore[misc,call-overload]
    since = time.monotonic()
    sent = await sending
    while (left := ground.left(orders, sent)) and time.monotonic() - since < patience:
        await asyncio.sleep(0.05)
    return kills, left, ground.doubled(orders), time.monotonic() - since


def victims(running: systems.Running, role: str) -> list[int]:
    """Return the processes that a round kills: all of a role but one worker, which is chosen by the caller."""
    return [pid for pid, name in roles(running.pids()).items() if name == role]


async def one_round(ground: Field, victim: str, size: int = 100) -> Round:
    """Kill a victim at a random moment of a burst; what ends the host starts it again."""
    moment, under_way = ground.dice.uniform(0, ground.length), 0

    async def kill() -> int:
        nonlocal under_way
        await asyncio.sleep(moment)
        under_way = ground.sent - ground.completed()
        if victim in ("supervisor", "everything"):
            return await _end_host(ground, all_at_once=victim == "everything")
        found = victims(ground.running, victim)
        return _kill(ground.dice.sample(found, 1) if victim == "worker" and found else found)

    kills, unfinished, doubled, settled = await _burst(ground, victim, size, kill)
    if unfinished:
        print(f"{ground.ledger.counts()}, {roles(ground.running.pids())}\n{_tail(ground)}", flush=True)
    await _whole(ground)
    return Round(victim, kills, under_way, unfinished, doubled, settled)


async def storm(ground: Field, size: int = 1000, every: float = 2.0) -> Round:
    """Kill a random worker every few seconds until a burst is completed; `settled` counts from the first event on."""
    done = asyncio.Event()

    async def kill() -> int:
        kills = 0
        while not done.is_set() and kills < PATIENCE / every:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), every)
            if not done.is_set() and (found := victims(ground.running, "worker")):
                kills += _kill([ground.dice.choice(found)])
        return kills

    async def watch() -> None:
        while ground.completed() < ground.sent:
            await asyncio.sleep(0.05)
        done.set()

    begun = time.monotonic()
    watching: list[asyncio.Task[None]] = []

    async def both() -> int:
        watching.append(asyncio.create_task(watch()))
        return await kill()

    kills, unfinished, doubled, _ = await _burst(ground, "storm", size, both)
    for task in watching:
        task.cancel()
    return Round(
        f"a random worker every {every:g} s", kills, size, unfinished, doubled, time.monotonic() - begun
    )


def _kill(pids: list[int]) -> int:
    killed = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


async def _end_host(ground: Field, *, all_at_once: bool) -> int:
    """Kill the supervisor, or everything; wait until nothing is left of it and start the same host again."""
    running = ground.running
    (process,) = running.processes
    environment = _environment(process.pid)
    kills = _kill([process.pid])
    if all_at_once:
        kills += _kill(running.pids())
    await asyncio.to_thread(process.wait)
    end = time.monotonic() + 30
    while running.pids() and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert not running.pids(), f"the supervisor left behind {roles(running.pids())}"
    with (running.home / "log").open("ab") as log:
        again = subprocess.Popen(
            process.args, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    running.processes[:] = [again]
    return kills


def _environment(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


async def _whole(ground: Field, seconds: float = 60) -> None:
    """Wait until every process of the host is there again."""
    wanted = {"supervisor", "web", "code", "daemon", "pool", "worker"}
    ready = ground.running.url.partition("/hooks")[0] + "/readyz"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = set(roles(ground.running.pids()).values())
        if wanted <= found:
            await asyncio.to_thread(systems.wait_for, ready)
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{wanted - found} did not come back\n{_tail(ground)}")


def _tail(ground: Field) -> str:
    return "\n".join((ground.running.home / "log").read_text(errors="replace").splitlines()[-30:])


async def measure(
    url: str, *, kinds: tuple[str, ...] = VICTIMS, rounds: int = 3, storms: int = 1, seed: int = 0
) -> list[Round]:
    """Run every round on one host; `url` as `systems.ours` takes it."""
    found = []
    async with field(url, seed) as ground:
        for victim in kinds:
            for _ in range(rounds):
                found.append(await one_round(ground, victim))
                print(f"  {found[-1]}", flush=True)
        for _ in range(storms):
            found.append(await storm(ground))
            print(f"  {found[-1]}", flush=True)
    return found


def table(database: str, rounds: list[Round]) -> str:
    """Return what the rounds came to, as Markdown."""
    lines = [
        f"| kill -9, {database} | bursts | kills | under way then | unfinished | sent twice | settled, median / longest |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for victim in dict.fromkeys(one.victim for one in rounds):
        mine = [one for one in rounds if one.victim == victim]
        took = sorted(one.settled for one in mine)
        lines.append(
            f"| {victim} | {len(mine)} | {sum(one.kills for one in mine)} | "
            f"{sum(one.under_way for one in mine)} | {sum(one.unfinished for one in mine)} | "
            f"{sum(one.doubled for one in mine)} | {statistics.median(took):.1f} / {took[-1]:.1f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the rounds on the databases that are asked for, print a table each, exit 1 when a figure is not 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["sqlite", "postgres"], help="one database")
    parser.add_argument("--victims", nargs="*", choices=VICTIMS, default=list(VICTIMS), help="whom to kill")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of 100 for each of them")
    parser.add_argument(
        "--storms", type=int, default=1, help="bursts of 1,000 with a worker killed every 2 s"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    given = parser.parse_args()
    plan = {"kinds": tuple(given.victims), "rounds": given.rounds, "storms": given.storms, "seed": given.seed}
    found: list[Round] = []
    tables = []
    print(f"seed {given.seed}", flush=True)
    if given.only != "postgres":
        found += (mine := asyncio.run(measure("sqlite", **plan)))
        tables.append(table("SQLite", mine))
    if given.only != "sqlite":
        with postgres_server(fsync=True) as server:
            found += (mine := asyncio.run(measure(server.fresh(), **plan)))
            tables.append(table("Postgres", mine))
    print("\n\n".join(tables))
    sys.exit(any(one.unfinished or one.doubled for one in found))


if __name__ == "__main__":
    main()
