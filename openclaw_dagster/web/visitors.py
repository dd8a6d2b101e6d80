"""Finds out who asks: by session, API token, the proxy's header, or because everybody here is the same person."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import Scope

from openclaw_dagster.clock import MINUTE, SECOND
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.tokens import Kind, Token, Tokens
from openclaw_dagster.web.door import LOOPBACK
from openclaw_dagster.web.identity import LOCAL, Identity, describe, is_address, person_of
from openclaw_dagster.web.limits import Rate, RateLimit

#: Headers by which a proxy says that it passed somebody on.
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
#: For how long, in ms, what the ledger said of a token is believed: a revoked one opens nothing after that.
BELIEVED = 2 * SECOND
#: How many tokens are remembered for that time.
REMEMBERED = 2_000
#: Wrong tokens from one address: twenty at once, then one in three seconds.
WRONG = Rate(burst=20, refill=MINUTE // 20)


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, if that is known, and what is wrong with what they showed."""

    identity: Identity | None
    problem: str = "you are not logged in"
    session: str | None = None  # the text of a live session's cookie
    retry: int | None = None  # seconds to wait, for who tried too often


class Visitors:
    """Knows people by what their requests carry. Made for one event loop."""

    def __init__(self, shop: Workspace, tokens: Tokens | None = None) -> None:
        self.shop = shop
        self.tokens = tokens or Tokens(shop.ledger.database, shop.clock)
        self.wrong = RateLimit(shop.clock, WRONG)
        self._known: OrderedDict[tuple[Kind, str], tuple[int, Token | None]] = OrderedDict()
        proxy = shop.environment.login.proxy if shop.environment.login else None
        self._proxies = [ipaddress.ip_network(one) for one in proxy.addresses] if proxy else []

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; a browser takes one named `__Host-` only from this very host."""
        return ("__Host-" if self.secure else "") + "claw_session"

    @property
    def secure(self) -> bool:
        """Whether people reach this host by https."""
        return self.shop.settings.public_url.startswith("https://")

    @property
    def names(self) -> frozenset[str]:
        """The names under which people reach this host."""
        login = self.shop.environment.login
        own = urlsplit(self.shop.settings.public_url).hostname or ""
        return LOOPBACK | {own} | frozenset(login.hosts if login else ())

    async def visit(self, scope: Scope) -> Visit:
        """Return who asks; DatabaseAway when the ledger has to be asked and is not there."""
        connection = HTTPConnection(scope)
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._by_token(scope, text.strip())
        if session := connection.cookies.get(self.cookie):
            identity = await self._by_session(session)
            if identity is not None:
                return Visit(identity, session=session)
        login = self.shop.environment.login
        if login is None:
            return self._local(connection)
        if login.proxy is not None and self._is_proxy(scope.get("claw.peer")):
            return self._by_proxy(connection)
        return Visit(None)

    async def _by_token(self, scope: Scope, text: str) -> Visit:
        address = client_of(scope)
        token = await self._find("token", text)
        found = None
        if token is not None:
            levels = frozenset(token.claims.get("levels", ()))
            found = describe(self.shop.environment, token.person, "token", levels=levels, token=token.id)
        if found is None:
            wait = self.wrong.take(address, "token")
            return Visit(None, "the API token is not valid, not any more, or its person is gone", retry=wait)
        return Visit(found)

    async def _by_session(self, text: str) -> Identity | None:
        token = await self._find("session", text)
        if token is None or self.shop.environment.login is None:
            return None
        said = token.claims
        return describe(
            self.shop.environment, token.person, "session", name=str(said.get("name", "")),
            groups=frozenset(said.get("groups", ())), token=token.id,
        )  # fmt: skip

    async def _find(self, kind: Kind, text: str) -> Token | None:
        now, key = self.shop.clock.now(), (kind, text)
        if (known := self._known.get(key)) is not None and now - BELIEVED < known[0] <= now:
            return known[1]
        login = self.shop.environment.login
        idle = login.idle if login and kind == "session" else None
        token = await asyncio.to_thread(self.tokens.find, text, kind, idle=idle)
        if len(text) <= 100:
            self._known[key] = (now, token)
            self._known.move_to_end(key)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return token

    def forget(self, text: str) -> None:
        """Ask the ledger anew about a session: it was ended here."""
        self._known.pop(("session", text), None)

    def _by_proxy(self, connection: HTTPConnection) -> Visit:
        login = self.shop.environment.login
        assert login is not None
        assert login.proxy is not None
        said = connection.headers.getlist(login.proxy.header)
        if len(said) != 1 or not said[0].strip():
            return Visit(None, f"the proxy did not say who you are in one header {login.proxy.header}")
        value = said[0].strip()
        people = self.shop.environment.people
        person = value if value in people else person_of(self.shop.environment, email=value)
        if person is None and not is_address(value):
            return Visit(None, "the proxy names somebody whom this environment does not have")
        listed = connection.headers.getlist(login.proxy.groups) if login.proxy.groups else []
        groups = frozenset(one.strip() for line in listed for one in line.split(",") if one.strip())
        return Visit(describe(self.shop.environment, person or value.lower(), "proxy", groups=groups))

    def _local(self, connection: HTTPConnection) -> Visit:
        if any(name in connection.headers for name in FORWARDED):
            return Visit(None, "this came through a proxy, and the environment has no `login:` yet")
        if hostname(connection.headers.get("host", "")) not in LOOPBACK:
            return Visit(None, "without `login:` in the environment only this machine is served")
        return Visit(LOCAL)

    def _is_proxy(self, peer: object) -> bool:
        return _within(str(peer), self._proxies)

    def place(self, scope: Scope) -> None:
        """Note who is at the other end of the line, and whom a proxy at that end speaks for."""
        peer = scope["client"][0] if scope.get("client") else ""
        scope["claw.peer"] = peer
        headers = HTTPConnection(scope).headers
        if not (peer in LOOPBACK or self._is_proxy(peer)):
            return
        for said in reversed(
            [one.strip() for line in headers.getlist("x-forwarded-for") for one in line.split(",")]
        ):
            if not self._is_proxy(said):
                scope["client"] = (said[:64], 0)
                return


def client_of(scope: Scope) -> str:
    """Return the address of who asks, as far as the proxies in between are believed."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def hostname(host: str) -> str:
    """Return the name in a `Host` header without its port, in small letters."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _within(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in networks)
