"""The refusal to start a host that anybody could use, or into which nobody could log in."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.login import Access, Login

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
#: What a host listens on to be reached under any of its addresses, and what is no name to reach it by.
ANYWHERE = frozenset({"0.0.0.0", "::", ""})


class Exposed(ClawError):
    """
    The host would listen on {host}, and the environment says no `login:`, so anybody could use it: say how people
    log in (docs/login.md), or listen on loopback (127.0.0.1 or ::1).
    """

    code = "CLAW521"


class LoginWrong(ClawError):
    """Nobody could log in as the environment {environment} says it: {problem}."""

    code = "CLAW522"


def check_login(shop: Workspace) -> None:
    """Refuse a login that falls open or cannot work; Exposed, LoginWrong or NoSecret say what to set."""
    settings, login = shop.settings, shop.environment.login
    if login is None:
        if settings.host not in LOOPBACK:
            raise Exposed(host=settings.host)
        return
    problem = _of_place(shop, login) or _of_people(shop) or _of_proxy(login)
    if problem is not None:
        raise LoginWrong(environment=settings.environment, problem=problem)
    if login.oidc is not None:
        shop.secret(login.oidc.client_secret)


def _of_place(shop: Workspace, login: Login) -> str | None:
    settings = shop.settings
    if login.local and (settings.environment != "development" or settings.host not in LOOPBACK):
        return "`local: true` lets everybody be anybody; it is for the environment development, on loopback"
    if (urlsplit(settings.public_url).hostname or "") in ANYWHERE:
        return f"{settings.public_url} is no address that people reach it by: set CLAW_PUBLIC_URL"
    return None


def _of_people(shop: Workspace) -> str | None:
    if shop.environment.access == Access():
        return "`access` gives nobody any level: give at least one person the level admin"
    return None


def _of_proxy(login: Login) -> str | None:
    for one in login.proxy.addresses if login.proxy else ():
        if ipaddress.ip_network(one).prefixlen == 0:
            return f"{one} is everybody, and the word of `proxy` is taken: name the addresses of the proxy"
    return None
