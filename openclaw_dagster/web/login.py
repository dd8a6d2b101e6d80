"""The pages by which people log in and out."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from typing import Any
from urllib.parse import quote, urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from openclaw_dagster.clock import MINUTE
from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import NoSecret
from openclaw_dagster.web.forms import FormRefused, form_token, read_form
from openclaw_dagster.web.guard import POLICY
from openclaw_dagster.web.identity import SCOPE, describe, person_of
from openclaw_dagster.web.limits import Rate, RateLimit
from openclaw_dagster.web.oidc import LoginRefused, Provider
from openclaw_dagster.web.pages import render
from openclaw_dagster.web.visitors import Visitors, client_of, hostname

log = logging.getLogger(__name__)

#: Logins from one address: thirty at once, then one in two seconds.
ATTEMPTS = Rate(burst=30, refill=MINUTE // 30)
#: Seconds that somebody may take at the provider.
UNDER_WAY = 600
HEADERS = {"Cache-Control": "no-store", "Content-Security-Policy": POLICY}


class Login:
    """Begins and ends sessions."""

    def __init__(self, visitors: Visitors) -> None:
        self.visitors = visitors
        self.shop = visitors.shop
        self.says = self.shop.environment.login
        self.limit = RateLimit(self.shop.clock, ATTEMPTS)
        oidc = self.says.oidc if self.says else None
        self.provider = (
            Provider(oidc, lambda: self.shop.secret(oidc.client_secret), self.shop.clock) if oidc else None
        )

    def routes(self) -> list[Route]:
        """Return the addresses of login and logout."""
        return [
            Route("/claw/login", self.page, methods=["GET"]),
            Route("/claw/login", self.choose, methods=["POST"]),
            Route("/claw/login/oidc", self.begin, methods=["GET"]),
            Route("/claw/login/callback", self.finish, methods=["GET"]),
            Route("/claw/logout", self.logout, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show the ways to log in, and after a logout the way to the provider's own."""
        there = None
        if self.provider is not None and "out" in request.query_params:
            back = f"{self.shop.settings.public_url}/claw/login"
            there = await asyncio.to_thread(self.provider.logout_url, back)
        return self._page(request, there=there)

    def _page(
        self, request: Request, problem: str = "", status: int = 200, *, there: str | None = None
    ) -> Response:
        environment = self.shop.environment
        listed = sorted(environment.people) if self.says and self.says.local else []
        text = render(
            "login.html",
            environment=self.shop.settings.environment,
            problem=problem,
            who=request.scope.get(SCOPE),
            form=form_token(request),
            next=inside(request.query_params.get("next")),
            there=there,
            provider=self.provider.name if self.provider else None,
            proxy=bool(self.says and self.says.proxy),
            people=[describe(environment, person, "session") for person in listed],
        )
        return HTMLResponse(text, status, headers=HEADERS)

    async def choose(self, request: Request) -> Response:
        """Log in as somebody of the list: in development, on loopback."""
        if (refused := self._too_often(request)) is not None:
            return refused
        try:
            fields = await read_form(request)
        except FormRefused as error:
            return self._page(request, str(error), 403)
        person = fields.get("person", "")
        if self.says is None or not self.says.local or person not in self.shop.environment.people:
            return self._page(request, "Nobody of this name logs in here by choosing it.", 403)
        return await self._enter(request, person, fields.get("next"), by="local", name="", groups=())

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider."""
        if (refused := self._too_often(request)) is not None:
            return refused
        if self.provider is None:
            return self._page(request, "This environment has no login provider.", 404)
        public = self.shop.settings.public_url
        wanted = inside(request.query_params.get("next"))
        if hostname(request.headers["host"]) != urlsplit(public).hostname:
            # the provider sends people back to the public name, and a cookie of another one would not be there
            return RedirectResponse(f"{public}/claw/login/oidc?next={quote(wanted, safe='')}", 303)
        try:
            begun = await asyncio.to_thread(self.provider.begin, self._back)
        except (ClawError, NoSecret) as error:
            log.error("nobody can log in: %s", error)
            return self._page(request, str(error), 502)
        answer = RedirectResponse(begun.url, 303, headers={"Cache-Control": "no-store"})
        kept = {"state": begun.state, "nonce": begun.nonce, "verifier": begun.verifier, "next": wanted}
        self._set(answer, self._under_way, str(self._signer().dumps(kept)), UNDER_WAY)
        return answer

    async def finish(self, request: Request) -> Response:
        """Take what the provider sends back; begin the session when it is right."""
        if (refused := self._too_often(request)) is not None:
            return refused
        try:
            answer = await self._finish(request)
        except ClawError as error:
            log.warning("a login was not accepted: %s", error)
            answer = self._page(request, str(error), 401 if isinstance(error, LoginRefused) else 502)
        answer.delete_cookie(
            self._under_way, path="/", secure=self.visitors.secure, httponly=True, samesite="lax"
        )
        return answer

    async def _finish(self, request: Request) -> Response:
        if self.provider is None:
            raise LoginRefused(problem="this environment has no login provider")
        said = request.query_params
        try:
            kept: dict[str, str] = self._signer().loads(
                request.cookies.get(self._under_way, ""), max_age=UNDER_WAY
            )
        except BadSignature:
            raise LoginRefused(problem="it took too long, or was begun in another browser") from None
        if len(said.getlist("state")) != 1 or not hmac.compare_digest(
            said["state"].encode(), kept["state"].encode()
        ):
            raise LoginRefused(problem="it answers another login than the one that was begun here")
        if "error" in said or len(said.getlist("code")) != 1:
            raise LoginRefused(problem="the provider did not let you in")
        account = await asyncio.to_thread(
            self.provider.finish, said["code"], self._back, nonce=kept["nonce"], verifier=kept["verifier"]
        )
        person = person_of(self.shop.environment, email=account.email, sub=account.sub) or account.email
        if person is None:
            problem = (
                "the provider has not verified your address, and `people` does not have your account as `sub`"
            )
            raise LoginRefused(problem=problem)
        return await self._enter(
            request, person, kept["next"], by="oidc", name=account.name, groups=account.groups
        )

    async def logout(self, request: Request) -> Response:
        """End the session here; the page that follows leads to the provider's own logout."""
        try:
            await read_form(request)
        except FormRefused as error:
            return self._page(request, str(error), 403)
        who, session = request.scope.get(SCOPE), request.scope.get("claw.session")
        if session is not None and who is not None:
            await asyncio.to_thread(self.visitors.tokens.revoke, who.token)
            self.visitors.forget(session)
        answer = RedirectResponse("/claw/login?out=1", 303, headers={"Cache-Control": "no-store"})
        answer.delete_cookie(
            self.visitors.cookie, path="/", secure=self.visitors.secure, httponly=True, samesite="lax"
        )
        return answer

    async def _enter(
        self,
        request: Request,
        person: str,
        wanted: str | None,
        *,
        by: str,
        name: str,
        groups: tuple[str, ...],
    ) -> Response:
        """Begin a new session, and end the one there was: nobody can have planted it."""
        assert self.says is not None
        lasts = self.says.session
        before = request.scope.get("claw.session")
        if before is not None and (who := request.scope.get(SCOPE)) is not None:
            await asyncio.to_thread(self.visitors.tokens.revoke, who.token)
            self.visitors.forget(before)
        text, _ = await asyncio.to_thread(
            lambda: self.visitors.tokens.make(
                "session",
                person,
                lasts=lasts,
                by=by,
                claims={"name": name, "groups": list(groups)},
            )
        )
        log.info("%s logged in by %s", person, by)
        answer = RedirectResponse(inside(wanted), 303, headers={"Cache-Control": "no-store"})
        self._set(answer, self.visitors.cookie, text, lasts // 1000)
        return answer

    def _set(self, answer: Response, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(
            name, value, max_age=seconds, path="/", secure=self.visitors.secure, httponly=True, samesite="lax"
        )

    def _too_often(self, request: Request) -> Response | None:
        wait = self.limit.take(client_of(request.scope), "login")
        if wait is None:
            return None
        answer = self._page(request, f"Too many logins were tried from here: try again in {wait} s.", 429)
        answer.headers["Retry-After"] = str(wait)
        return answer

    @property
    def _back(self) -> str:
        return f"{self.shop.settings.public_url}/claw/login/callback"

    @property
    def _under_way(self) -> str:
        return ("__Host-" if self.visitors.secure else "") + "claw_login"

    def _signer(self) -> Any:
        """Return what signs a login under way: every process of this host has the provider's secret."""
        assert self.provider is not None
        key = hashlib.sha256(b"claw login " + self.provider.secret().encode()).digest()
        return URLSafeTimedSerializer(key, salt="claw login")


def inside(wanted: str | None) -> str:
    """Return an address of this host to go on to; nobody is sent anywhere else by a link."""
    text = wanted or ""
    safe = text.startswith("/") and not text.startswith(("//", "/\\", "/claw/log")) and len(text) <= 2_000
    return text if safe and text.isprintable() and "\\" not in text else "/claw"
