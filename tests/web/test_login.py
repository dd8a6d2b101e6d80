"""Logging in and out, sessions, proxies, hosts without login, and hosts that refuse to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services.postgres import Postgres

from openclaw_dagster.clock import HOUR, MINUTE, VirtualClock
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import NoSecret, read_settings
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.tokens import MOST_SESSIONS, Tokens
from openclaw_dagster.web.door import Exposed, LoginWrong
from openclaw_dagster.web.login import inside
from openclaw_dagster.web.secrets import check_door

from .hosted import PEOPLE, Browser, Hosted

pytestmark = pytest.mark.xdist_group("web_host")


# ── pages


def test_a_newcomer_is_led_to_the_login_and_back(hosted: Hosted) -> None:
    browser = hosted.browser()
    there = browser.get("/runs?view=queued&x=%22").header("location")
    assert there == "/claw/login?next=%2Fruns%3Fview%3Dqueued%26x%3D%2522"
    assert "Ada Admin" in browser.get(there).text
    answer = browser.form("/claw/login", there, person="ada", next="/runs?view=queued")
    assert (answer.status, answer.header("location")) == (303, "/runs?view=queued")
    cookie = next(value for name, value in answer.headers if value.startswith("claw_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=43200" in cookie
    assert browser.get("/runs").status == 200


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/a\\b", "javascript:alert(1)", "/a\r\nb", "", None,
     "/claw/login?next=/claw/login", "/" + "a" * 2_000],
)  # fmt: skip
def test_a_login_leads_nowhere_else(wanted: str | None) -> None:
    assert inside(wanted) == "/claw"


def test_only_people_of_the_environment_log_in(hosted: Hosted) -> None:
    for person in ("local", "root", "", "vic@example.com", "VIC"):
        answer = hosted.browser().form("/claw/login", person=person)
        assert answer.status == 403
        assert "claw_session" not in str(answer.headers)


def test_who_has_no_level_is_told_so(people: dict[str, Browser]) -> None:
    answer = people["nemo"].get("/")
    assert answer.status == 403
    assert "needs the level viewer; Nemo has none" in answer.text
    assert "Log out" in answer.text


def test_a_form_is_taken_only_from_its_own_page(hosted: Hosted) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    browser, other = hosted.browser(), hosted.browser()
    browser.get("/claw/login")
    other.get("/claw/login")
    for body in (
        b"person=ada",
        b"person=ada&form=",
        b"person=ada&form=" + b"0" * 64,
        b"form=%FF",
        b"a=1&a=2",
    ):
        assert browser.post("/claw/login", body, **form).status == 403
    assert (
        browser.post("/claw/login", b'{"person": "ada"}', **{"Content-Type": "application/json"}).status
        == 403
    )
    assert browser.post("/claw/login", b"x=" + b"y" * 70_000, **form).status == 403
    assert "claw_session" not in browser.cookies
    # the token of one visitor is of no use to another, whose cookie it does not fit
    stolen = other.get("/claw/login").text.split('name="form" value="')[1][:64]
    assert browser.post("/claw/login", f"person=ada&form={stolen}".encode(), **form).status == 403
    vic = hosted.browser().log_in("vic")
    assert vic.post("/claw/logout", f"form={stolen}".encode(), **form).status == 403
    assert vic.get("/claw").status == 200


# ── sessions


def test_a_session_ends_where_one_logs_out(hosted: Hosted) -> None:
    browser = hosted.browser().log_in("vic")
    kept = dict(browser.cookies)
    assert browser.form("/claw/logout").status == 303
    assert "claw_session" not in browser.cookies
    browser.cookies = kept  # a copy that somebody made is worth nothing
    assert browser.get("/claw").status == 303


def test_a_new_login_ends_the_one_before_and_is_another(hosted: Hosted) -> None:
    browser = hosted.browser().log_in("vic")
    before = dict(browser.cookies)
    browser.log_in("olga")
    assert browser.cookies["claw_session"] != before["claw_session"]
    browser.cookies = before
    assert browser.get("/claw").status == 303


def test_a_session_is_given_by_the_host(hosted: Hosted) -> None:
    for planted in ("claw_" + "A" * 43, "x", "", "claw_" + "A" * 5_000, "' OR 1=1 --"):
        browser = hosted.browser()
        browser.cookies["claw_session"] = planted
        assert browser.get("/claw").status == 303
    browser = hosted.browser()
    text, _ = hosted.tokens.make("token", "ada", lasts=HOUR, by="test", claims={"levels": ["admin"]})
    browser.cookies["claw_session"] = text  # an API token is no session, and a session is no API token
    assert browser.get("/claw").status == 303
    ada = hosted.browser().log_in("ada")
    bearer = {"Authorization": f"Bearer {ada.cookies['claw_session']}"}
    assert hosted.browser().send("GET", "/claw", headers=bearer).status == 401


def test_a_session_ends_when_it_is_not_used_and_at_last_in_any_case(hosted: Hosted) -> None:
    idle, busy = hosted.browser().log_in("vic"), hosted.browser().log_in("vic")
    hosted.clock.advance(119 * MINUTE)
    assert busy.get("/claw").status == 200
    hosted.clock.advance(2 * MINUTE)
    assert busy.get("/claw").status == 200
    assert idle.get("/claw").status == 303
    for _ in range(10):
        hosted.clock.advance(HOUR)
        busy.get("/claw")
    assert busy.get("/claw").status == 303


def test_somebody_who_left_is_out(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    vic = hosted.browser().log_in("vic")
    environment = hosted.shop.environment
    left = {name: person for name, person in environment.people.items() if name != "vic"}
    text, _ = hosted.tokens.make("token", "vic", lasts=HOUR, by="test", claims={"levels": ["viewer"]})
    bearer = {"Authorization": f"Bearer {text}"}
    assert hosted.browser().send("GET", "/claw", headers=bearer).status == 200
    monkeypatch.setattr(hosted.shop, "environment", environment.model_copy(update={"people": left}))
    assert vic.get("/claw").status == 303
    assert hosted.browser().send("GET", "/claw", headers=bearer).status == 401


def test_who_tries_too_often_waits(hosted: Hosted) -> None:
    """Each address for itself: a proxy on this machine says whose it is."""
    browser = hosted.browser()
    wrong = {"Authorization": "Bearer claw_wrong", "X-Forwarded-For": "203.0.113.7"}
    found = [browser.send("GET", "/claw", headers=wrong).status for _ in range(22)]
    assert found[:20] == [401] * 20
    assert found[-1] == 429
    other = {**wrong, "X-Forwarded-For": "203.0.113.7, 198.51.100.1"}  # only its last word is the proxy's own
    assert browser.send("GET", "/claw", headers=other).status == 401
    logins = [browser.get("/claw/login/oidc", **{"X-Forwarded-For": "203.0.113.8"}).status for _ in range(31)]
    assert logins[0] == 404
    assert logins[-1] == 429


# ── the store, on both databases


def test_tokens_are_kept_hashed_and_end(database_url: str) -> None:
    database, clock = Database(database_url), VirtualClock(1_000_000)
    database.migrate()
    tokens = Tokens(database, clock)
    text, made = tokens.make("token", "ci", lasts=HOUR, by="cli:ops", claims={"levels": ["viewer"]})
    with database.read() as connection:
        rows = str(connection.exec_driver_sql("SELECT * FROM claw_tokens").all())
    assert text not in rows
    assert text.removeprefix("claw_") not in rows
    assert tokens.find(text, "token") == made
    assert tokens.find(text, "session") is None
    clock.advance(MINUTE)
    assert tokens.find(text, "token") == made
    (listed,) = tokens.all()
    assert listed.seen_at == clock.now()
    clock.advance(58 * MINUTE)
    assert tokens.find(text, "token", idle=58 * MINUTE) is None
    assert tokens.find(text, "token", idle=59 * MINUTE) is not None
    clock.advance(MINUTE)
    assert tokens.find(text, "token") is None
    assert listed.state(clock.now()) == "expired"
    other, kept = tokens.make("token", "ci", lasts=HOUR, by="cli:ops")
    ended = tokens.revoke(kept.id)
    assert ended is not None
    assert ended.state(clock.now()) == "revoked"
    clock.advance(MINUTE)
    assert tokens.revoke(kept.id) == ended  # once is enough, and the first time stands
    assert tokens.find(other, "token") is None
    assert tokens.revoke("token_none") is None
    sessions = []
    for _ in range(MOST_SESSIONS + 2):
        clock.advance(1)
        sessions.append(tokens.make("session", "ann", lasts=HOUR, by="oidc")[0])
    alive = [tokens.find(one, "session") is not None for one in sessions]
    assert alive == [False, False] + [True] * MOST_SESSIONS
    database.close()


# ── without login, and behind a proxy


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with pytest.MonkeyPatch.context() as patch:
        host = Hosted(tmp_path_factory.mktemp("plain"), patch, "", public="https://claw.example")
        yield host
        host.close()


def test_without_login_this_machine_may_what_it_always_might(plain: Hosted) -> None:
    browser = plain.browser()
    reload_it = b'{"query": "mutation { reloadWorkspace { __typename } }"}'
    assert browser.get("/claw").status == 200
    assert browser.send("POST", "/graphql", reload_it, {"Content-Type": "application/json"}).status == 200
    assert "Nobody logs in here" in browser.get("/claw/login").text


def test_without_login_only_this_machine_is_served(plain: Hosted) -> None:
    """Under its public name, or through a proxy that listens elsewhere, everybody would be the administrator."""
    for headers in (
        {"Host": "claw.example"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
        {"X-Real-Ip": "203.0.113.7"},
    ):
        assert plain.browser().get("/claw", Accept="*/*", **headers).status == 401
        assert plain.browser().send("POST", "/graphql", b"{}", headers).status == 401
    evil = {"Origin": "https://evil.example", "Content-Type": "application/json"}
    assert plain.browser().send("POST", "/graphql", b"{}", evil).status == 403
    assert plain.browser().get("/healthz", **{"X-Forwarded-For": "203.0.113.7"}).status == 200


PROXY = """login:
  proxy: {addresses: [127.0.0.0/8], header: X-Auth-Email, groups: X-Auth-Groups}
  hosts: [claw.internal]
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """Give a host in production behind a proxy, once on each database."""
    database: str | None = None
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.fresh()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPATCH_ORDER_CREATED_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        host = Hosted(
            tmp_path_factory.mktemp("proxied"), patch, PEOPLE + PROXY, name="production", database=database,
            public="https://claw.example",
        )  # fmt: skip
        yield host
        host.close()


def test_a_proxy_says_who_it_is(proxied: Hosted) -> None:
    def said(**headers: str) -> Any:
        return proxied.browser().get("/claw", Accept="*/*", Host="claw.example", **headers)

    def who(email: str, groups: str = "") -> int:
        status: int = said(**{"X-Auth-Email": email, "X-Auth-Groups": groups}).status
        return status

    assert who("Vic@example.com") == 200
    assert who("ada") == 200
    assert who("new@example.com", "tennis, staff") == 200
    assert who("new@example.com", "tennis") == 403
    assert who("mallory") == 401
    assert who("") == 401
    assert said().status == 401
    assert said(**{"X-Auth-Email": "vic@example.com"}).header("strict-transport-security")
    assert proxied.browser().get("/claw", Host="claw.internal", **{"X-Auth-Email": "ada"}).status == 200


def test_a_header_from_elsewhere_is_nobodys_word(proxied: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches the host past its proxy can write headers too."""
    import ipaddress

    (guard,) = (one for one in proxied.app.user_middleware if one.cls.__name__ == "Guard")
    visitors = guard.kwargs["visitors"]
    monkeypatch.setattr(visitors, "_proxies", [ipaddress.ip_network("10.0.0.0/8")])
    forged = {"X-Auth-Email": "ada", "X-Forwarded-For": "10.0.0.1"}
    assert proxied.browser().get("/claw", Accept="*/*", **forged).status == 401


def test_a_post_through_the_proxy_names_our_origin(proxied: Hosted) -> None:
    body, vic = (
        b'{"query": "{ version }"}',
        {"X-Auth-Email": "vic@example.com", "Content-Type": "application/json"},
    )
    for origin, status in {
        "https://claw.example": 200,
        "http://claw.example": 403,
        "https://claw.example.evil": 403,
        "https://claw.example:444": 403,
        "null": 403,
    }.items():
        headers = {**vic, "Host": "claw.example", "Origin": origin}
        assert proxied.browser().send("POST", "/graphql", body, headers).status == status, origin
    # a proxy that keeps the inner name says it as Host, and the browser says the public one
    inner = {**vic, "Origin": "https://claw.example"}
    assert proxied.browser().send("POST", "/graphql", body, inner).status == 200


# ── what refuses to start


def shop_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, **settings: str
) -> Workspace:
    for variable in ("CLAW_PUBLIC_URL", "CLAW_PORT", "CLAW_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    specs = folder / "specs"
    (specs / "environments").mkdir(parents=True)
    (specs / "environments" / f"{name}.yaml").write_text(text + "\nlease: 45s\n")
    return Workspace(read_settings(home=str(folder), specs=str(specs), environment=name, **settings))


OIDC = "login: {oidc: {issuer: 'https://id.example', client_id: claw}}\n"
LOCAL = "login: {local: true}\n"


@pytest.mark.parametrize(
    ("text", "name", "settings", "problem"),
    [
        ("", "development", {"host": "0.0.0.0"}, "listen on 0.0.0.0, and the environment says no `login:`"),
        ("", "production", {"host": "10.0.0.1"}, "says no `login:`"),
        (PEOPLE + LOCAL, "production", {}, "lets everybody be anybody"),
        (PEOPLE + LOCAL, "development", {"host": "0.0.0.0"}, "lets everybody be anybody"),
        (PEOPLE + OIDC, "production", {"host": "0.0.0.0"}, "set CLAW_PUBLIC_URL"),
        (PEOPLE + OIDC + "", "production", {}, "CLAW_OIDC_SECRET is not set"),
        (OIDC, "production", {"public_url": "https://a.b"}, "gives nobody any level"),
        (PEOPLE + "login: {proxy: {addresses: [0.0.0.0/0]}}", "production", {}, "is everybody"),
    ],
)  # fmt: skip
def test_a_host_that_would_fall_open_does_not_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    name: str,
    settings: dict[str, str],
    problem: str,
) -> None:
    shop = shop_with(tmp_path, monkeypatch, text, name, **settings)
    with pytest.raises((Exposed, LoginWrong, NoSecret)) as refused:
        check_door(shop)
    assert problem in str(refused.value)


def test_with_login_a_host_listens_beyond_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAW_OIDC_SECRET", "a secret of the provider")
    settings = {"host": "0.0.0.0", "public_url": "https://claw.example"}
    check_door(shop_with(tmp_path, monkeypatch, PEOPLE + OIDC, "production", **settings))
