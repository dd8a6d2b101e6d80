"""The `http` adapter: one JSON request, one bounded answer, an honest outcome for everything in between."""

from __future__ import annotations

import re
from collections.abc import Mapping

from openclaw_dagster.adapters.answer import Answer, read_answer
from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.exchange import Base, Line, Missing, no_answer, read_base
from openclaw_dagster.adapters.guard import Resolver, system_resolver
from openclaw_dagster.adapters.outcome import Failed, Outcome, Refused
from openclaw_dagster.adapters.request import BadArguments, Request, build_request
from openclaw_dagster.adapters.secrets import NoSecret, Secrets
from openclaw_dagster.adapters.wire import Attempt
from openclaw_dagster.clock import Clock
from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.environment import HttpBinding

#: Seconds an idle connection is kept: less than the five after which common servers close theirs.
KEEP_ALIVE = 4.0
#: How often a call that met a connection the far side had closed meanwhile is begun anew.
STALE_RETRIES = 3

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")  # RFC 9110, 5.6.2
_FRAMING = frozenset(("host", "content-length", "content-type", "transfer-encoding", "connection"))
_RESERVED = _FRAMING | {"idempotency-key", "traceparent"}


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
        self._base, self._base_problem = read_base(binding.url)
        self._line = Line(resolver, binding.allow_private, keep=KEEP_ALIVE)

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
        answer = self._line.exchange(base, request, attempt)
        if isinstance(answer, Answer):
            return read_answer(call, answer, self._clock.now())
        closed_meanwhile = not attempt.connected and not attempt.received
        # RFC 9110, 9.2.2: begin anew only where nothing can happen twice.
        harmless = call.is_read or not attempt.sent
        if closed_meanwhile and harmless and stale < STALE_RETRIES and attempt.left() > 0:
            return self._send(call, base, request, Attempt(attempt.left()), stale + 1)
        said = Missing(call.action, self._binding_host(), call.operation.effect, call.timeout)
        return no_answer(said, answer, attempt)

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
        self._line.close()


def _may_set(name: str) -> bool:
    return _TOKEN.match(name) is not None and name.lower() not in _RESERVED
