"""What stands before everything the host serves: who asks, from where, and whether they may."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.web.access import Refused, may
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.forms import KEY, form_token, new_key
from openclaw_dagster.web.identity import SCOPE
from openclaw_dagster.web.pages import render
from openclaw_dagster.web.surface import place_of
from openclaw_dagster.web.visitors import Visit, Visitors, client_of, hostname

log = logging.getLogger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Longest body of what is not a webhook, in bytes: a launch with a large config.
MOST_BYTES = 2 * 1024 * 1024

#: What every answer says, whoever made it.
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: The policy of a page that has none of its own; one that has gets the rule about frames.
FRAMES = "frame-ancestors 'none'"
#: The policy of pages that the guard renders itself.
POLICY = (
    f"default-src 'none'; style-src 'self'; img-src 'self'; {FRAMES}; base-uri 'none'; form-action 'self'"
)


class Guard:
    """Middleware around the whole app, for HTTP and websockets."""

    def __init__(self, app: ASGIApp, visitors: Visitors, blotter: Blotter) -> None:
        self.app = app
        self.visitors = visitors
        self.blotter = blotter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what may pass; answer the rest."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        self.visitors.place(scope)
        place = place_of(scope["app"].routes, scope)
        if place.kind == "open":
            await self._serve(scope, receive, send)
            return
        try:
            visit = await self.visitors.visit(scope)
        except DatabaseAway as away:
            log.error("nobody can be known: %s", away)
            await self._refuse(scope, receive, send, Refused("the ledger is away: try again", 503))
            return
        self._bind(scope, visit)
        refused = _unreadable(scope) or self._from_elsewhere(scope, visit)
        if refused is None and place.kind == "known":
            refused = self._unknown(visit)
            if refused is None and visit.identity is not None:
                scope[SCOPE] = visit.identity
                verdict = may(visit.identity, place.doing)
                refused = verdict if isinstance(verdict, Refused) else None
        elif visit.identity is not None:
            scope[SCOPE] = visit.identity
        if refused is None and not place.taken:  # the router answers 405
            await self._enter(scope, "this address takes no such method")
        if refused is not None:
            await self._refuse(scope, receive, send, refused)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, self._watched(scope, send))
        else:
            await self._serve(scope, _bounded(receive), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer; where the ledger is away in the middle of it, say that."""
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, self._dressed(scope, watch))
        except DatabaseAway as away:
            if begun or scope["type"] != "http":
                raise
            log.error("%s %r cannot be answered: %s", scope["method"], scope["path"][:200], away)
            refused, headers = Refused("the ledger is away: try again", 503), {"Retry-After": "5"}
            asked = HTTPConnection(scope).headers.get("accept", "")
            page = KEY in scope and "text/html" in asked  # also what a form of ours was sent to
            answer = _page(scope, refused, headers) if page else self.answer(scope, refused)
            await answer(scope, receive, self._dressed(scope, send))

    def _bind(self, scope: Scope, visit: Visit) -> None:
        """Leave for the pages what this visitor's forms are bound to."""
        made = HTTPConnection(scope).cookies.get(self._form_cookie)
        scope["claw.form.new"] = visit.session is None and made is None
        scope[KEY] = visit.session or made or new_key()
        scope["claw.session"] = visit.session

    @property
    def _form_cookie(self) -> str:
        return ("__Host-" if self.visitors.secure else "") + "claw_form"

    @staticmethod
    def _unknown(visit: Visit) -> Refused | None:
        if visit.identity is not None:
            return None
        return Refused(visit.problem, 401 if visit.retry is None else 429)

    def _from_elsewhere(self, scope: Scope, visit: Visit) -> Refused | None:
        """Return why a request cannot come from our own pages, or from a program of its own; None when it can."""
        headers = HTTPConnection(scope).headers
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hostname(hosts[0]) not in self.visitors.names:
            return Refused(
                "this host is not known by that name: say it as CLAW_PUBLIC_URL, or under `hosts` of `login:`",
                421,
            )
        if scope["type"] == "http" and scope["method"] in SAFE:
            return None
        site, origins = headers.get("sec-fetch-site"), headers.getlist("origin")
        if site not in (None, "same-origin", "none"):
            return Refused("this was sent by a page of another site")
        if any(not self._is_ours(origin, hosts[0]) for origin in origins):
            return Refused("this was sent by a page of another origin")
        if not origins and visit.session is not None:
            return Refused("a browser says where a request comes from, and this one does not")
        return None

    def _is_ours(self, origin: str, host: str) -> bool:
        ours = urlsplit(self.visitors.shop.settings.public_url)
        if origin.lower() == f"{ours.scheme}://{ours.netloc}".lower():
            return True
        schemes = (
            ("https",) if self.visitors.secure and hostname(host) == ours.hostname else ("http", "https")
        )
        return origin.lower() in {f"{scheme}://{host}".lower() for scheme in schemes}

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
        who = scope.get(SCOPE)
        # everybody who comes to log in is nobody at first
        level = logging.INFO if refused.status == 401 and scope.get("method") in SAFE else logging.WARNING
        log.log(
            level, "refused %s %r by %s: %s", scope.get("method", "websocket"), scope["path"][:200],
            who.person if who else "nobody", refused.why,
        )  # fmt: skip
        await self._enter(scope, refused.why)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused.why[:100]})
            return
        answer = self.answer(scope, refused)
        await answer(scope, receive, self._dressed(scope, send))

    async def _enter(self, scope: Scope, why: str) -> None:
        """Write down what is not done for somebody, if it would have changed something."""
        if scope.get("method") in SAFE:
            return
        who, what = scope.get(SCOPE), f"{scope.get('method', 'websocket')} {scope['path'][:300]}"
        await self.blotter.enter(what, why, person=who.person if who else "", address=client_of(scope))

    def answer(self, scope: Scope, refused: Refused) -> Response:
        """Return a refusal as its reader understands it: a page for people, JSON for programs."""
        headers = {"Cache-Control": "no-store", "Vary": "Accept, Cookie"}
        connection = HTTPConnection(scope)
        reads = scope["method"] in ("GET", "HEAD") and "text/html" in connection.headers.get("accept", "")
        if reads and refused.status == 401:
            wanted = scope["path"] + (
                f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
            )
            return RedirectResponse(f"/claw/login?next={quote(wanted, safe='')}", 303, headers=headers)
        if refused.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="claw"'
        if refused.status in (429, 503):
            headers["Retry-After"] = "5"
        if not reads:
            # Dagster's pages show the `errors` of an answer
            said = {"error": refused.why, "errors": [{"message": refused.why}]}
            return JSONResponse(said, refused.status, headers=headers)
        return _page(scope, refused, headers)

    def _dressed(self, scope: Scope, send: Send) -> Send:
        """Return `send`, with our headers on whatever is answered."""

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(scope, message)
            await send(message)

        return dressed

    def _dress(self, scope: Scope, message: MutableMapping[str, Any]) -> None:
        headers = MutableHeaders(raw=message.setdefault("headers", []))
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        policy = headers.get("content-security-policy")
        if policy is None:
            headers["Content-Security-Policy"] = FRAMES
        elif "frame-ancestors" not in policy:
            headers["Content-Security-Policy"] = f"{policy.rstrip('; ')}; {FRAMES}"
        if self.visitors.secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if scope.get("claw.form.new") and headers.get("content-type", "").startswith("text/html"):
            rest = "; Secure" if self.visitors.secure else ""
            headers.append(
                "Set-Cookie", f"{self._form_cookie}={scope[KEY]}; Path=/; HttpOnly; SameSite=Lax{rest}"
            )

    def _watched(self, scope: Scope, send: Send) -> Send:
        """Return `send` of a websocket, which ends when its visitor is not who they were any more."""
        over = False

        async def watched(message: Message) -> None:
            nonlocal over
            if over:
                return
            if message["type"] == "websocket.send" and not await self._still(scope):
                over = True
                await send({"type": "websocket.close", "code": 1008, "reason": "the login is over"})
                return
            await send(message)

        return watched

    async def _still(self, scope: Scope) -> bool:
        try:
            visit = await self.visitors.visit(scope)
        except DatabaseAway:
            return False
        scope[SCOPE] = visit.identity
        return visit.identity is not None and "viewer" in visit.identity.levels


def _page(scope: Scope, refused: Refused, headers: Mapping[str, str]) -> Response:
    form = form_token(HTTPConnection(scope)) if KEY in scope else ""
    about = {"who": scope.get(SCOPE), "form": form}
    if refused.status == 503:
        text = render("problem.html", title="Not now", text=f"{refused.why}.", **about)
    else:
        text = render("refused.html", why=refused.why, **about)
    return HTMLResponse(text, refused.status, headers={**headers, "Content-Security-Policy": POLICY})


def _bounded(receive: Receive) -> Receive:
    """Return `receive`, which ends a request whose body is too long."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MOST_BYTES:
            raise HTTPException(413, f"the body is longer than {MOST_BYTES // 1024 // 1024} MiB")
        return message

    return bounded


def _unreadable(scope: Scope) -> Refused | None:
    """Refuse an address with a NUL, which no name has and Postgres does not take as a text."""
    if "\x00" in scope["path"] or "\x00" in unquote_to_bytes(scope["query_string"]).decode("latin-1"):
        return Refused("an address has no NUL character", 400)
    return None
