"""A login at a provider that nobody here wrote, from the first page to the logout, and a program with a token."""

from __future__ import annotations

import html
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from http.cookiejar import CookieJar
from typing import Any

import pytest

from ..services.emulate import Emulator
from .carrier import Carrier
from .project import make_project
from .stack import Stack

pytestmark = [pytest.mark.xdist_group("e2e_login"), pytest.mark.timeout(420)]

PEOPLE = {"april": ("April", "Approver"), "olga": ("Olga", "Operator"), "guest": ("A", "Guest")}
LOGIN = """
people:
  april: {{name: April, email: April@example.com}}
  olga: {{name: Olga, email: olga@example.com}}
  ci: {{name: The nightly build}}
roles:
  finance: {{people: [april]}}
login:
  oidc: {{issuer: "{issuer}", client_id: claw, client_secret: SSO_SECRET}}
access:
  approver: {{people: [april]}}
  operator: {{people: [olga]}}
"""
SECRET = "a-secret-of-this-test"
RELOAD = "mutation { reloadWorkspace { __typename } }"


class Stay(urllib.request.HTTPRedirectHandler):
    """Shows a redirect instead of following it."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Browser:
    """Keeps cookies by host, fills in forms, and follows no redirect unasked."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(Stay, urllib.request.HTTPCookieProcessor(self.cookies))

    def ask(self, url: str, body: bytes | None = None, **headers: str) -> tuple[int, HTTPMessage, str]:
        said = {"Accept": "text/html", **headers}
        if body is not None:
            said.setdefault("Origin", self.host)
        request = urllib.request.Request(urllib.parse.urljoin(self.host, url), body, said)
        try:
            with self.opener.open(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers, answer.read().decode()

    def to_the_provider(self, wanted: str = "/claw") -> str:
        """Begin a login; return where the host sends the browser."""
        status, headers, text = self.ask(f"/claw/login/oidc?next={urllib.parse.quote(wanted)}")
        assert status == 303, text
        return str(headers["Location"])

    def choose(self, place: str, email: str) -> str:
        """Choose somebody at the provider; return where it sends the browser."""
        page = self.ask(place)[2]
        (form,) = (one for one in re.findall(r"<form.*?</form>", page, re.S) if f">{email}<" in one)
        fields = {
            name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)
        }
        action = urllib.parse.urljoin(place, re.findall(r'action="([^"]+)"', form)[0])
        status, headers, text = self.ask(action, urllib.parse.urlencode(fields).encode(), Origin=action)
        assert status in (302, 303), text
        return str(headers["Location"])

    def log_in(self, email: str, wanted: str = "/claw") -> tuple[int, HTTPMessage, str]:
        return self.ask(self.choose(self.to_the_provider(wanted), email))

    def graphql(self, query: str) -> int:
        body = json.dumps({"query": query}).encode()
        return self.ask("/graphql", body, **{"Content-Type": "application/json"})[0]


def seed(url: str) -> dict[str, Any]:
    """Return an Okta with three people and one application, which is reached at `url`."""
    users = [
        {
            "login": f"{name}@example.com",
            "email": f"{name}@example.com",
            "first_name": first,
            "last_name": last,
        }
        for name, (first, last) in PEOPLE.items()
    ]
    client = {"client_id": "claw", "client_secret": SECRET, "name": "claw"}
    return {"users": users, "oauth_clients": [{**client, "redirect_uris": [f"{url}/claw/login/callback"]}]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, carrier: Carrier) -> Iterator[Stack]:
    """Give a running host whose people log in at an Okta."""
    folder = tmp_path_factory.mktemp("login")
    specs = make_project(folder, carrier.url)
    stack = Stack(folder, specs)
    stack.environment["SSO_SECRET"] = SECRET
    okta = Emulator("okta", seed(stack.url), folder)
    try:
        with (specs / "environments" / "staging.yaml").open("a") as file:
            file.write(LOGIN.format(issuer=okta.url))
        stack.launch()
        stack.until(lambda: stack.get("/readyz")[0] == 200, 90, "the host was not ready")
        yield stack
    finally:
        stack.close()
        okta.close()


def test_a_login_at_the_provider(stack: Stack) -> None:
    browser = Browser(stack.url)
    status, headers, _ = browser.ask("/runs?view=queued")
    assert (status, headers["Location"]) == (303, "/claw/login?next=%2Fruns%3Fview%3Dqueued")
    assert "Log in at 127.0.0.1" in browser.ask(headers["Location"])[2]
    place = urllib.parse.urlsplit(browser.to_the_provider("/runs?view=queued"))
    asked = urllib.parse.parse_qs(place.query)
    assert asked["code_challenge_method"] == ["S256"]
    assert all(len(asked[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))
    status, headers, text = browser.log_in("olga@example.com", "/runs?view=queued")
    assert (status, headers["Location"]) == (303, "/runs?view=queued"), text
    assert browser.ask("/runs")[0] == 200
    assert browser.graphql(RELOAD) == 200
    april = Browser(stack.url)
    assert april.log_in("april@example.com")[0] == 303
    assert (april.graphql("{ version }"), april.graphql(RELOAD)) == (200, 403)
    guest = Browser(stack.url)
    assert guest.log_in("guest@example.com")[0] == 303
    status, _, text = guest.ask("/claw")
    assert (status, "needs the level viewer; A Guest has none" in text) == (403, True)


def test_what_comes_back_is_taken_once_and_only_where_it_began(stack: Stack) -> None:
    browser, victim = Browser(stack.url), Browser(stack.url)
    back = browser.choose(browser.to_the_provider(), "olga@example.com")
    assert victim.ask(back)[0] == 401  # nobody is logged in as somebody else by a link
    victim.to_the_provider()
    assert victim.ask(back)[0] == 401
    swapped = re.sub(r"state=[^&]*", "state=" + "x" * 48, back)
    assert browser.ask(swapped)[0] == 401
    assert browser.ask(back)[0] == 401  # one answer to one question, a wrong one too
    back = browser.choose(browser.to_the_provider(), "olga@example.com")
    kept = list(browser.cookies)
    assert browser.ask(back)[0] == 303
    for cookie in kept:
        browser.cookies.set_cookie(cookie)
    assert browser.ask(back)[0] == 401  # the provider takes its code once
    assert browser.ask("/claw/login/callback?error=access_denied&state=x")[0] == 401


def test_a_logout_leads_to_the_providers_own(stack: Stack) -> None:
    browser = Browser(stack.url)
    assert browser.log_in("olga@example.com")[0] == 303
    page = browser.ask("/claw/login")[2]
    token = re.findall(r'name="form" value="(\w+)"', page)[0]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = browser.ask("/claw/logout", f"form={token}".encode(), **form)
    assert status == 303
    assert browser.graphql("{ version }") == 401
    page = browser.ask(headers["Location"])[2]
    place = html.unescape(re.findall(r'href="([^"]*/oauth2/v1/logout[^"]*)"', page)[0])
    assert browser.ask(place)[0] in (200, 302, 303)


def test_a_program_shows_a_token(stack: Stack) -> None:
    made = stack.claw("token", "create", "ci", "--level", "operator", "--for", "nightly", "--json")
    assert made.returncode == 0, made.stderr
    text, name = (json.loads(made.stdout)[key] for key in ("token", "id"))
    bearer = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
    body = json.dumps({"query": RELOAD}).encode()
    assert Browser(stack.url).ask("/graphql", body, **bearer)[0] == 200
    listed = stack.claw("token", "list")
    assert ("nightly" in listed.stdout, text in listed.stdout) == (True, False)
    assert stack.claw("token", "revoke", name).returncode == 0
    stack.until(lambda: Browser(stack.url).ask("/graphql", body, **bearer)[0] == 401, 5, "it was not refused")
    refused = stack.claw("token", "create", "nobody", "--level", "viewer", "--for", "x")
    assert (refused.returncode, "it has: april, ci, olga" in refused.stderr) == (1, True)
    assert text not in stack.output()
    assert SECRET not in stack.output()
