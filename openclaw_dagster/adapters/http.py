"""The `http` adapter: one JSON request, one bounded answer, an honest outcome for everything in between."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore2
import httpx2

from openclaw_dagster.adapters.answer import Answer, read_answer
from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.guard import Blocked, Resolver, Unresolved, system_resolver
from openclaw_dagster.adapters.limits import MAX_ANSWER
from openclaw_dagster.adapters.outcome import Failed, Outcome, Refused, unclear
from openclaw_dagster.adapters.request import BadArguments, Request, build_request
from openclaw_dagster.adapters.secrets import NoSecret, Secrets
from openclaw_dagster.adapters.wire import Attempt, Wire, begin
from openclaw_dagster.clock import Clock
from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.environment import HttpBinding

#: Seconds an idle connection is kept: less than the five after which common servers close theirs.
KEEP_ALIVE = 4.0
MAX_CONNECTIONS = 64
#: How often a call that met a connection the far side had closed meanwhile is begun anew.
STALE_RETRIES = 3

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")  # RFC 9110, 5.6.2
_FRAMING = frozenset(("host", "content-length", "content-type", "transfer-encoding", "connection"))
_RESERVED = _FRAMING | {"idempotency-key", "traceparent"}


@dataclass(frozen=True)
class Base:
    """The binding's url, taken apart."""

    scheme: bytes
    host: bytes
    port: int | None
    path: str


class HttpAdapter:
    """Calls one service over HTTP/1.1. Its connections are kept and shared by all threads."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        binding: HttpBinding,
        secrets: Secrets,
        clock: Clock,
        resolver: Resolver = system_resolver,
    ) -> None:
        self._name = name
        self._contract = contract
        self._binding = binding
        self._secrets = secrets
        self._clock = clock
        self._base, self._base_problem = _base(binding.url)
        # The engine's debug lines show the headers of answers, in which a credential may be echoed.
        logging.getLogger("httpcore2").setLevel(logging.INFO)
        self._pool = httpcore2.ConnectionPool(
            # Proxies and certificate files of the process environment are not for these calls.
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=Wire(resolver, binding.allow_private),
        )

    def call(self, call: Call) -> Outcome:
        """Make the call within `call.timeout`, everything counted. Nothing the far side does raises."""
        http = call.operation.http
        if http is None:
            return Refused(f"{call.action} has no `http:` in its contract")
        if self._base is None:
            return Refused(f"{self._name}: {self._base_problem}")
        try:
            request = build_request(call, http)
            request.headers.update(self._credentials())
        except BadArguments as error:
            return Refused(f"{call.action}: {error}")
        except NoSecret as error:
            return Failed(f"{call.action}: {error}")
        return self._send(call, self._base, request, Attempt(call.timeout / 1000))

    def _send(self, call: Call, base: Base, request: Request, attempt: Attempt, stale: int = 0) -> Outcome:
        begin(attempt)
        answer = self._exchange(base, request, attempt)
        if isinstance(answer, Answer):
            return read_answer(call, answer, self._clock.now())
        closed_meanwhile = not attempt.connected and not attempt.received
        # RFC 9110, 9.2.2: begin anew only where nothing can happen twice.
        harmless = call.is_read or not attempt.sent
        if closed_meanwhile and harmless and stale < STALE_RETRIES and attempt.left() > 0:
            return self._send(call, base, request, Attempt(attempt.left()), stale + 1)
        return self._no_answer(call, answer, attempt)

    def _exchange(self, base: Base, request: Request, attempt: Attempt) -> Answer | Exception:
        """Return the answer, or the exception that stood in its place."""
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

    def _no_answer(self, call: Call, error: Exception, attempt: Attempt) -> Outcome:
        who = f"{call.action}: {self._binding_host()}"
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
        return unclear(call.operation.effect, reason) if attempt.sent else Failed(reason)

    def _binding_host(self) -> str:
        return self._base.host.decode("ascii") if self._base else ""

    def _credentials(self) -> Mapping[str, str]:
        headers = {}
        for name, secret in self._binding.auth.header.items():
            if not _may_set(name):
                raise BadArguments(f"`auth.header` cannot set {name}")
            headers[name] = self._secrets.value(secret)
        if self._binding.auth.bearer is not None:
            headers["Authorization"] = f"Bearer {self._secrets.value(self._binding.auth.bearer)}"
        return headers

    def problems(self) -> list[str]:
        """Return what keeps the binding from working: its url, its secrets, operations without `http:`."""
        found = [self._base_problem] if self._base_problem else []
        auth = self._binding.auth
        for secret in {*auth.header.values(), *([auth.bearer] if auth.bearer else [])}:
            try:
                self._secrets.value(secret)
            except NoSecret as error:
                found.append(str(error))
        in_the_open = self._binding.url.startswith("http:") and not self._binding.allow_private
        if in_the_open and (auth.bearer or auth.header):
            found.append("its credentials would travel in the open: write https in its `url`")
        found += [f"`auth.header` cannot set {name}" for name in auth.header if not _may_set(name)]
        without = [name for name, operation in self._contract.operations.items() if operation.http is None]
        found += [f"{self._name}.{name} has no `http:` in its contract" for name in without]
        return found

    def close(self) -> None:
        """Close every kept connection."""
        self._pool.close()


def _may_set(name: str) -> bool:
    return _TOKEN.match(name) is not None and name.lower() not in _RESERVED


def _base(url: str) -> tuple[Base | None, str]:
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
