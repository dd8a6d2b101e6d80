"""The world outside, in one small process' worth of work: a carrier that keeps its own books, and a sender of orders."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field


@dataclass
class Carrier:
    """An HTTP service that books whatever is posted to it and remembers when, by order."""

    delay: tuple[float, float] = (0.0, 0.0)  # seconds it takes at least and at most; it books half-way
    booked: dict[str, list[float]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    port: int = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = (
                    int(head.split("content-length:")[1].split("\r\n")[0]) if "content-length:" in head else 0
                )
                body = await reader.readexactly(length) if length else b""
                takes = random.uniform(*self.delay) / 2
                await asyncio.sleep(takes)
                status, said = self._answer(head, body)
                await asyncio.sleep(takes)
                text = json.dumps(said).encode()
                writer.write(
                    b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (status, len(text), text)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, head: str, body: bytes) -> tuple[int, dict[str, str]]:
        now = time.time()
        if head.startswith("post"):
            order = str(json.loads(body)["order"]["id"])
            key = (
                head.split("idempotency-key:")[1].split("\r\n")[0].strip()
                if "idempotency-key:" in head
                else order
            )
            self.booked.setdefault(order, []).append(now)
            self.keys[key] = order
            return 201, {"id": f"BK-{len(self.booked)}", "status": "booked"}
        key = head.split(" ")[1].rsplit("/", 1)[-1].replace("%3a", ":")
        return (200, {"id": self.keys[key]}) if key in self.keys else (404, {"error": "no such booking"})


@dataclass
class Sent:
    """What became of the orders that were sent."""

    at: dict[str, float] = field(default_factory=dict)  # when the post began
    acknowledged: dict[str, float] = field(default_factory=dict)  # when the 2xx came
    refused: int = 0

    def accept_times(self) -> list[float]:
        return [self.acknowledged[order] - self.at[order] for order in self.acknowledged]


async def send(url: str, orders: list[str], *, rate: float | None, connections: int = 16) -> Sent:
    """Post orders, `rate` a second or as fast as the connections go; an order that gets no 2xx is sent again."""
    sent = Sent()
    host, port, path = _parts(url)
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def worker() -> None:
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        kept = False
        while (order := await queue.get()) is not None:
            body = json.dumps({"order": {"id": order, "weight_kg": 2, "service": "standard"}}).encode()
            sent.at.setdefault(order, time.time())
            for _ in range(400):
                kept = line is not None
                try:
                    line = line or await asyncio.open_connection(host, port)
                    if await asyncio.wait_for(_post(line, host, path, body), 30) < 300:
                        sent.acknowledged[order] = time.time()
                        break
                    sent.refused += 1
                    await asyncio.sleep(0.2)
                except (TimeoutError, OSError, EOFError):
                    if line:
                        line[1].close()
                    line = None
                    # a kept connection that the server has closed meanwhile says nothing about the server
                    await asyncio.sleep(0 if kept else 0.1)

    workers = [asyncio.create_task(worker()) for _ in range(connections)]
    begun = time.time()
    for index, order in enumerate(orders):
        if rate:
            await asyncio.sleep(max(0.0, begun + index / rate - time.time()))
        await queue.put(order)
    for _ in workers:
        await queue.put(None)
    await asyncio.gather(*workers)
    return sent


async def _post(
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter], host: str, path: str, body: bytes
) -> int:
    reader, writer = line
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n".encode()
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if "content-length:" in head:
        await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    return int(head.split(" ")[1])


def _parts(url: str) -> tuple[str, int, str]:
    rest = url.removeprefix("http://")
    place, _, path = rest.partition("/")
    host, _, port = place.partition(":")
    return host, int(port), "/" + path


async def settled(carrier: Carrier, orders: list[str], seconds: float) -> bool:
    """Wait until the carrier has booked every order."""
    end = time.time() + seconds
    while time.time() < end:
        if all(order in carrier.booked for order in orders):
            return True
        await asyncio.sleep(0.02)
    return False
