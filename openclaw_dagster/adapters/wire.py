"""Sockets that keep one deadline for a whole call, go only where the guard lets them, and know what left."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpcore2

from openclaw_dagster.adapters.guard import Address, Resolver, resolve


@dataclass
class Attempt:
    """One request on its way: how long it may last, and how far it came."""

    #: Seconds for everything: name, connection, TLS, request, answer. A stopwatch, not the time of day.
    seconds: float
    started: float = field(default_factory=monotonic)
    #: A connection was made for it; otherwise it went over one that was kept from an earlier call.
    connected: bool = False
    #: At least one byte of the request left this process.
    sent: bool = False
    #: At least one byte of the answer came.
    received: bool = False

    def left(self) -> float:
        """Return the seconds left; zero or less when the time is over."""
        return self.seconds - (monotonic() - self.started)


_current = threading.local()


def begin(attempt: Attempt) -> None:
    """Make `attempt` the one this thread's sockets obey; the pool moves bytes only in the caller's thread."""
    _current.attempt = attempt


def _attempt() -> Attempt:
    attempt: Attempt = _current.attempt
    return attempt


class Wire(httpcore2.NetworkBackend):
    """Opens connections to judged addresses only, whatever the name may resolve to a moment later."""

    def __init__(self, resolver: Resolver, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of `host` that answers; Blocked, Unresolved or ConnectError."""
        attempt = _attempt()
        attempt.connected = True
        addresses = resolve(host, self._resolver, allow_private=self._allow_private, timeout=attempt.left())
        for position, address in enumerate(addresses):
            share = attempt.left() / (len(addresses) - position)
            if share > 0 and (connection := _connect(address, port, share)) is not None:
                return Stream(connection)
        raise httpcore2.ConnectError("no address took the connection")


def _connect(address: Address, port: int, seconds: float) -> socket.socket | None:
    try:
        # The address is numeric: no name is looked up again here.
        connection = socket.create_connection((str(address), port), seconds)
    except OSError:
        return None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Stream(httpcore2.NetworkStream):
    """One connection. Every wait is bounded by what is left of the attempt, so a trickle ends with it too."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Return what came, at most `max_bytes`; ReadTimeout or ReadError."""
        attempt = _attempt()
        try:
            self._wait_at_most(attempt.left())
            data = self._socket.recv(max_bytes)
        except TimeoutError:
            raise httpcore2.ReadTimeout("no answer in time") from None
        except OSError:
            raise httpcore2.ReadError("the connection broke") from None
        attempt.received = attempt.received or bool(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send all of `buffer`; WriteTimeout or WriteError."""
        attempt = _attempt()
        view = memoryview(buffer)
        # A TLS record may have left although its write failed; a plain send that failed sent nothing.
        attempt.sent = attempt.sent or (bool(buffer) and isinstance(self._socket, ssl.SSLSocket))
        try:
            while view:
                self._wait_at_most(attempt.left())
                view = view[self._socket.send(view) :]
                attempt.sent = True
        except TimeoutError:
            raise httpcore2.WriteTimeout("the request could not be sent in time") from None
        except OSError:
            raise httpcore2.WriteError("the connection broke") from None

    def _wait_at_most(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """Return the stream inside TLS, the certificate checked against `server_hostname`; ConnectError."""
        try:
            self._wait_at_most(_attempt().left())
            return Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise httpcore2.ConnectError(f"its certificate is not valid: {error.verify_message}") from None
        except OSError:
            self.close()
            raise httpcore2.ConnectError("TLS could not be agreed on") from None

    def get_extra_info(self, info: str) -> Any:
        """Tell the pool whether the far side has closed an idle connection, and which protocol TLS chose."""
        if info == "is_readable":
            return _readable(self._socket)
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None


def _readable(connection: socket.socket) -> bool:
    """Return whether something, an end most likely, waits on a connection where nothing is expected."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
