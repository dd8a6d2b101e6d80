"""A far side that misbehaves on purpose: a raw TCP server on loopback that keeps its own books."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FarSide:
    """Every connection is handed to `behave`; `received` is what arrived, in order."""

    behave: Callable[[FarSide, socket.socket], None]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def read(self, connection: socket.socket) -> Received | None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
        method, target, _ = first.split(" ")
        request = Received(method, target, headers, body)
        self.received.append(request)
        return request


@contextlib.contextmanager
def far_side(behave: Callable[[FarSide, socket.socket], None]) -> Iterator[FarSide]:
    side = FarSide(behave)
    listener = socket.create_server(("127.0.0.1", 0))
    side.port = listener.getsockname()[1]

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            side.behave(side, connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                side.connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield side
    finally:
        side.closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Word",
        f"Content-Length: {len(body)}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(data: bytes) -> Callable[[FarSide, socket.socket], None]:
    """Answer every request on a kept connection with the same bytes."""

    def behave(side: FarSide, connection: socket.socket) -> None:
        while side.read(connection) is not None:
            connection.sendall(data)

    return behave


def once(data: bytes) -> Callable[[FarSide, socket.socket], None]:
    """Answer one request, then close without saying so beforehand."""

    def behave(side: FarSide, connection: socket.socket) -> None:
        if side.read(connection) is not None:
            connection.sendall(data)

    return behave


def dripping(first: bytes, drop: bytes) -> Callable[[FarSide, socket.socket], None]:
    """Send `first`, then one drop every 20 ms for ever."""

    def behave(side: FarSide, connection: socket.socket) -> None:
        if side.read(connection) is None:
            return
        connection.sendall(first)
        while not side.closing.wait(0.02):
            connection.sendall(drop)

    return behave


def silent(side: FarSide, connection: socket.socket) -> None:
    if side.read(connection) is not None:
        side.closing.wait(10)
