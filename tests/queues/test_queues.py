"""Messages of a real JetStream start cases: once each, after the commit, and poison goes to the dead letters."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import pytest
from runtime.kit import bodies, build, case, check_books, clock_of, drain, order, outside, reopen
from services.nats import Nats, running

from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.web.inlet import Inlet
from openclaw_dagster.web.queues import Queues

STUCK = """
system: stuck
version: 1.0.0
triggers:
  - stuck_orders: {source: queue, queue: "nats://ORDERS/orders.stuck", batch: 20, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: book}], emits: picked}
execution:
  - book: {on: picked, action: carrier.book, with: {order: "${order.id}"}}
"""
PLAIN = (
    STUCK.replace(", idempotency: order.id", "")
    .replace("inputs: [order]", "inputs: [payload]")
    .replace("${order.id}", "${payload.order.id}")
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with running(tmp_path_factory.mktemp("nats")) as one:
        yield one


@pytest.fixture
def stream(server: Nats) -> str:
    """An empty stream; its consumers are gone with the one before it."""

    async def make() -> None:
        line = await nats.connect(server.url)
        jet = line.jetstream()
        with suppress(nats.js.errors.NotFoundError):
            await jet.delete_stream("ORDERS")
        await jet.add_stream(name="ORDERS", subjects=["orders.>"])
        await line.close()

    asyncio.run(make())
    return "orders.stuck"


def opened(tmp_path: Path, url: str, server: Nats, text: str = STUCK) -> Workspace:
    shop = build(tmp_path, url, text)
    file = tmp_path / "specs" / "environments" / "test.yaml"
    file.write_text(file.read_text() + f"queues: {{nats: {{url: {server.url}}}}}\n")
    shop.close()
    return reopen(tmp_path, url)


@asynccontextmanager
async def listening(shop: Workspace) -> AsyncIterator[Queues]:
    queues = Queues(shop, Inlet(shop.ledger))
    queues.start()
    try:
        yield queues
    finally:
        await queues.stop()


async def publish(server: Nats, *messages: Any, ids: list[str] | None = None) -> None:
    line = await nats.connect(server.url)
    for number, one in enumerate(messages):
        data = one if isinstance(one, bytes) else json.dumps(one).encode()
        headers = {"Nats-Msg-Id": ids[number]} if ids else None
        await line.jetstream().publish("orders.stuck", data, headers=headers)
    await line.close()


async def until(what: Any, seconds: float = 30) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not what():
        assert asyncio.get_running_loop().time() < end, "it did not come to that"
        await asyncio.sleep(0.05)


async def unacknowledged(server: Nats) -> int:
    line = await nats.connect(server.url)
    found = await line.jetstream().consumer_info("ORDERS", "claw-stuck-stuck_orders")
    await line.close()
    return found.num_ack_pending + found.num_pending


def test_each_message_is_one_case(tmp_path: Path, database_url: str, server: Nats, stream: str) -> None:
    shop = opened(tmp_path, database_url, server)

    async def play() -> None:
        async with listening(shop):
            await publish(server, *({"order": {"id": f"A-{n}"}} for n in range(60)))
            await publish(server, *({"order": {"id": f"A-{n}"}} for n in range(60)))
            await until(lambda: len(shop.ledger.find(limit=200)) == 60)
            await asyncio.sleep(1)
            assert await unacknowledged(server) == 0

    asyncio.run(play())
    drain(shop)
    assert len(outside(shop)) == 60
    check_books(shop)
    shop.close()


def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(
    tmp_path: Path, database_url: str, server: Nats, stream: str
) -> None:
    shop = opened(tmp_path, database_url, server)
    bad: list[Any] = [
        b"not json",
        b'{"order": {}}',
        b"[1]",
        b'{"order": {"id": "B"}, "order": 1}',
        b"\xff\xfe",
    ]

    async def play() -> None:
        async with listening(shop):
            await publish(server, *bad, {"order": {"id": "A-1"}})
            await until(lambda: len(shop.ledger.find(limit=50)) == 6)
            await asyncio.sleep(0.5)
            assert await unacknowledged(server) == 0

    asyncio.run(play())
    drain(shop)
    letters = shop.ledger.dead_letters()
    assert len(letters) == len(bad)
    assert all("the message cannot be read" in letter["reason"] for letter in letters)
    assert len(outside(shop)) == 1
    check_books(shop)
    shop.close()


def test_without_a_path_the_messages_own_id_tells_them_apart(
    tmp_path: Path, database_url: str, server: Nats, stream: str
) -> None:
    shop = opened(tmp_path, database_url, server, PLAIN)

    async def play() -> None:
        async with listening(shop):
            same = {"order": {"id": "A-1"}}
            await publish(server, same, same, same, ids=["one", "one", "two"])
            await publish(server, same, same)
            await until(lambda: len(shop.ledger.find(limit=50)) == 4)
            # a key that no index takes is poison, and comes no more
            await publish(server, same, ids=[secrets.token_hex(2_000)])
            await until(lambda: len(shop.ledger.find(limit=50)) == 5)
            await asyncio.sleep(0.5)
            assert await unacknowledged(server) == 0

    asyncio.run(play())
    drain(shop)
    (letter,) = shop.ledger.dead_letters()
    assert "the idempotency key at Nats-Msg-Id is longer than 512 bytes" in letter["reason"]
    shop.close()


def test_a_message_is_acknowledged_only_after_the_commit(
    tmp_path: Path, database_url: str, server: Nats, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(tmp_path, database_url, server)
    real, away = shop.ledger.receive, [True]

    def receive(arrivals: Any) -> Any:
        if away[0]:
            raise DatabaseAway(problem="it is away")
        return real(arrivals)

    monkeypatch.setattr(shop.ledger, "receive", receive)
    monkeypatch.setattr("openclaw_dagster.web.queues.AWAY", 0.3)

    async def play() -> None:
        async with listening(shop):
            await publish(server, {"order": {"id": "A-1"}})
            await asyncio.sleep(1.5)
            assert await unacknowledged(server) == 1
            away[0] = False
            await until(lambda: len(shop.ledger.find()) == 1)
            await asyncio.sleep(0.5)
            assert await unacknowledged(server) == 0

    asyncio.run(play())
    shop.close()


def test_a_server_that_dies_loses_nothing(
    tmp_path: Path, database_url: str, server: Nats, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = opened(tmp_path, database_url, server)
    monkeypatch.setattr("openclaw_dagster.web.queues.AWAY", 0.3)

    async def play() -> None:
        async with listening(shop):
            await publish(server, *({"order": {"id": f"A-{n}"}} for n in range(30)))
            server.kill()
            await asyncio.sleep(1)
            server.start()
            await publish(server, *({"order": {"id": f"B-{n}"}} for n in range(10)))
            await until(lambda: len(shop.ledger.find(limit=100)) == 40, 60)

    asyncio.run(play())
    shop.close()


def test_dead_letters_of_one_system_start_cases_of_another(tmp_path: Path, database_url: str) -> None:
    dispatch = """
system: dispatch
version: 1.0.0
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: book}], emits: picked}
execution:
  - book: {on: picked, action: carrier.book, dead_letter: "queue://ops.dlq"}
"""
    desk = """
system: desk
version: 1.0.0
triggers:
  - given_up: {source: queue, queue: "queue://ops.dlq"}
decisions:
  - look: {inputs: [dead_letter], table: [{else: true, then: note}], emits: looked}
execution:
  - tell: {on: looked, action: crm.note, with: {customer: "${dead_letter.key}", text: "${dead_letter.reason}"}}
"""
    shop = build(
        tmp_path, database_url, dispatch, desk, faults={"carrier": ["{operation: book, answer: refuse}"]}
    )
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    (other,) = shop.ledger.find(system="desk")
    assert case(shop, other.id).state == "completed"
    (note,) = outside(shop, "crm", "note")
    assert note.args["customer"] == "A-1"
    assert bodies(shop, one, Kind.DEAD_LETTERED)[0]["queue"] == "queue://ops.dlq"
    assert clock_of(shop).at > 0
    check_books(shop)
    shop.close()
