"""One HTTP exchange: a request over judged connections, a bounded answer, and what its absence means."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import httpcore2
import httpx2

from openclaw_dagster.adapters.answer import Answer
from openclaw_dagster.adapters.guard import Blocked, Resolver, Unresolved
from openclaw_dagster.adapters.limits import MAX_ANSWER
from openclaw_dagster.adapters.outcome import Failed, Outcome, Refused, unclear
from openclaw_dagster.adapters.request import Request
from openclaw_dagster.adapters.wire import Attempt, Wire, begin

MAX_CONNECTIONS = 64


@dataclass(frozen=True)
class Base:
    """The url of a service, taken apart."""

    scheme: bytes
    host: bytes
    port: int | None
    path: str


class Line:
    """Connections to services, shared by all threads; `keep` is how many seconds an idle one is kept."""

    def __init__(self, resolver: Resolver, allow_private: bool, *, keep: float) -> None:
        # The engine's debug lines show the headers of answers, in which a credential may be echoed.
        logging.getLogger("httpcore2").setLevel(logging.INFO)
        self._pool = httpcore2.ConnectionPool(
            # Proxies and certificate files of the process environment are not for these calls.
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS if keep else 0,
            keepalive_expiry=keep,
            network_backend=Wire(resolver, allow_private),
        )

    def exchange(self, base: Base, request: Request, attempt: Attempt) -> Answer | Exception:
        """Return the answer, or the exception that stood in its place."""
        begin(attempt)
        target = (base.path + request.target).encode("ascii")
        url = httpcore2.URL(scheme=base.scheme, host=base.host, port=base.port, target=target)
        try:
            with self._pool.stream(
                request.method,
                url,
                headers=list(request.headers.items()),
                content=request.body,
                extensions={"timeout": {"pool": max(attempt.left(), 0.001)}},
            ) as response:
                body = bytearray()
                for chunk in response.iter_stream():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        return Answer(response.status, response.headers, None)
                return Answer(response.status, response.headers, bytes(body))
        except Exception as error:  # whatever went wrong, the caller must learn how far the request came
            return error

    def close(self) -> None:
        """Close every kept connection."""
        self._pool.close()


@dataclass(frozen=True)
class Missing:
    """What a missing answer is about, for its words: the action, the host, its effect, its time in ms."""

    action: str
    host: str
    effect: str
    timeout: int


def no_answer(call: Missing, error: Exception, attempt: Attempt) -> Outcome:
    """Return what it means that no answer came: whether the request had left decides."""
    who = f"{call.action}: {call.host}"
    match error:
        case Blocked():
            return Refused(f"{call.action}: {error}")
        case Unresolved():
            return Failed(f"{call.action}: {error}")
        case httpcore2.TimeoutException():
            reason = f"{who} did not answer within {call.timeout} ms"
        case httpcore2.ConnectError():
            reason = f"{who} cannot be reached: {error}"
        case httpcore2.RemoteProtocolError() if attempt.received:
            reason = f"{who} gave an answer that is not HTTP, or only part of one"
        case _:
            # The text of other exceptions is not shown: it may quote what was sent.
            reason = f"{who} broke the connection off ({type(error).__name__})"
    return unclear(call.effect, reason) if attempt.sent else Failed(reason)


def read_base(url: str) -> tuple[Base | None, str]:
    """Return the parts of a url below which something is called, or None and what is wrong with it."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        return None, "its `url` is not an address that can be called"
    if parsed.userinfo:
        return None, "its `url` holds a user or password: put them under `auth` as secrets"
    if parsed.query or parsed.fragment or "?" in url or "#" in url:
        return None, "its `url` ends in a query or fragment: only a path can have something added below it"
    # A trailing dot is the same host to DNS and another one to certificates.
    host = parsed.raw_host.rstrip(b".")
    if not host:
        return None, "its `url` has no host"
    path = parsed.raw_path.decode("ascii").rstrip("/")
    return Base(parsed.raw_scheme, host, parsed.port, path), ""
