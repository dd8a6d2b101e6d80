"""What a provider says is verified: each thing that can be wrong with it is, once, at a real address."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.spec.login import Oidc
from openclaw_dagster.web import oidc
from openclaw_dagster.web.oidc import Account, LoginRefused, Provider, ProviderAway

NOW = 1_800_000_000
BACK = "https://claw.example/claw/login/callback"
SECRET = "a secret of sixteen letters, and more of them"


def key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


def by_hand(header: dict[str, str], claims: dict[str, Any], secret: bytes) -> str:
    """Return a token whose signature is a keyed hash, or nothing at all."""
    parts = [_plain(json.dumps(one).encode()) for one in (header, claims)]
    made = hmac.digest(secret, ".".join(parts).encode(), "sha256") if secret else b""
    return ".".join((*parts, _plain(made)))


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """A provider that signs whatever it is told to say."""

    def __init__(self) -> None:
        self.keys = [key("first")]
        self.changes: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = self.by_first
        self.metadata: dict[str, Any] = {}
        self.status, self.asked, self.form = 200, [], {}  # type: ignore[var-annotated]
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                self._say(issuer.configuration() if "well-known" in self.path else issuer.jwks())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                issuer.form = {name: value[0] for name, value in parse_qs(body).items()}
                self._say(issuer.tokens())

            def _say(self, said: Any) -> None:
                text = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("Location", f"{issuer.url}/elsewhere")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def configuration(self) -> dict[str, Any]:
        places = {
            name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        }
        return {"issuer": self.url, **places, **self.metadata}

    def jwks(self) -> dict[str, Any]:
        return {"keys": [one.as_dict(private=False) for one in self.keys]}

    def tokens(self) -> dict[str, Any]:
        claims = {
            "iss": self.url, "aud": "claw", "sub": "00u1", "exp": NOW + 300, "iat": NOW, "nonce": "the nonce",
            "email": "Ann@Example.com", "email_verified": True, "name": "Ann", "groups": ["ops", 7, "staff"],
        }  # fmt: skip
        said = {name: value for name, value in {**claims, **self.changes}.items() if value is not None}
        return {"access_token": "an access token", "token_type": "Bearer", "id_token": self.sign(said)}

    def by_first(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "first"}, claims, self.keys[0])


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def provider(issuer: Issuer) -> Provider:
    return Provider(Oidc(issuer=issuer.url, client_id="claw"), lambda: SECRET, VirtualClock(NOW * 1000))


def finish(provider: Provider, nonce: str = "the nonce") -> Account:
    return provider.finish("the code", BACK, nonce=nonce, verifier="v" * 48)


def test_a_good_answer_says_who_it_is(issuer: Issuer, provider: Provider) -> None:
    assert finish(provider) == Account("00u1", "ann@example.com", "Ann", ("ops", "staff"))
    assert (issuer.form["code"], issuer.form["code_verifier"]) == ("the code", "v" * 48)
    assert (issuer.form["redirect_uri"], issuer.form["grant_type"]) == (BACK, "authorization_code")


def test_a_login_begins_with_three_things_nobody_can_guess(issuer: Issuer, provider: Provider) -> None:
    one, two = provider.begin(BACK), provider.begin(BACK)
    asked = {name: value[0] for name, value in parse_qs(urlsplit(one.url).query).items()}
    assert (asked["state"], asked["nonce"], asked["redirect_uri"]) == (one.state, one.nonce, BACK)
    assert asked["code_challenge"] == create_s256_code_challenge(one.verifier)
    assert one.verifier not in one.url
    assert SECRET not in one.url
    assert len({one.state, one.nonce, one.verifier, two.state, two.nonce, two.verifier}) == 6


WRONG = {
    "another issuer": {"iss": "https://evil.example"},
    "for another application": {"aud": "other"},
    "for another application, through this": {"aud": "other", "azp": "claw"},
    "for several, made for another": {"aud": ["claw", "other"], "azp": "other"},
    "over": {"exp": NOW - 61},
    "from the future": {"iat": NOW + 61},
    "not yet": {"nbf": NOW + 61},
    "another login's": {"nonce": "another nonce"},
    "no nonce": {"nonce": None},
    "nobody": {"sub": None},
    "no end": {"exp": None},
    "an end that is no number": {"exp": "tomorrow"},
    "another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_claim_is_refused(issuer: Issuer, provider: Provider, changes: dict[str, Any]) -> None:
    issuer.changes = changes
    with pytest.raises(LoginRefused, match="the id token is not valid"):
        finish(provider)


@pytest.mark.parametrize("changes", [{"exp": NOW - 59}, {"iat": NOW + 59}, {"aud": ["claw"]}])
def test_clocks_may_differ_by_a_minute(issuer: Issuer, provider: Provider, changes: dict[str, Any]) -> None:
    issuer.changes = changes
    assert finish(provider).sub == "00u1"


def test_a_signature_that_anybody_could_make_is_refused(issuer: Issuer, provider: Provider) -> None:
    other = key("first")
    public = issuer.keys[0].as_pem(private=False)
    for sign in (
        lambda claims: jwt.encode({"alg": "RS256", "kid": "first"}, claims, other),
        lambda claims: by_hand({"alg": "none"}, claims, b""),
        lambda claims: by_hand({"alg": "none", "kid": "first"}, claims, b""),
        lambda claims: by_hand({"alg": "HS256"}, claims, SECRET.encode()),
        lambda claims: by_hand({"alg": "HS256", "kid": "first"}, claims, public),
        lambda claims: by_hand({"alg": "HS256", "kid": "first"}, claims, public.strip()),
        lambda claims: issuer.by_first(claims)[:-8] + "AAAAAAAA",
        lambda claims: issuer.by_first(claims).rpartition(".")[0] + ".",
        lambda claims: "no.token.at-all",
        lambda claims: "",
    ):
        issuer.sign = sign
        with pytest.raises(LoginRefused):
            finish(provider)


def test_keys_are_asked_for_again_when_they_change(
    issuer: Issuer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finish(provider).sub == "00u1"
    second = key("second")
    issuer.keys.append(second)
    issuer.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "second"}, claims, second)
    with pytest.raises(LoginRefused):
        finish(provider)  # not for every made-up key, and not at once
    assert issuer.asked.count("/jwks_uri") == 1
    monkeypatch.setattr(oidc, "KEYS_AGAIN", 0)
    assert finish(provider).sub == "00u1"
    assert issuer.asked.count("/jwks_uri") == 2


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_counts_only_when_it_is_verified(
    issuer: Issuer, provider: Provider, verified: object
) -> None:
    issuer.changes = {"email_verified": verified}
    assert finish(provider).email is None


@pytest.mark.parametrize("said", ["fin_1", "fin_1@", "a b@example.org", 7, ""])
def test_what_is_no_address_is_nobodys(issuer: Issuer, provider: Provider, said: object) -> None:
    """It could be the id of somebody who is listed."""
    issuer.changes = {"email": said, "email_verified": True}
    assert finish(provider).email is None


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://evil.example"}, {"token_endpoint": None}, {"token_endpoint": 7}, {"token_endpoint": "ftp://x/y"}],
)  # fmt: skip
def test_a_provider_that_is_another_is_not_asked(
    issuer: Issuer, provider: Provider, metadata: dict[str, Any]
) -> None:
    issuer.metadata = metadata
    with pytest.raises(ProviderAway):
        finish(provider)
    assert issuer.form == {}


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_provider_that_does_not_answer_is_said(issuer: Issuer, provider: Provider, status: int) -> None:
    issuer.status = status
    with pytest.raises(ProviderAway, match="try again"):
        provider.begin(BACK)
    assert "/elsewhere" not in issuer.asked


def test_a_provider_that_is_down_is_said(issuer: Issuer, provider: Provider) -> None:
    issuer.server.shutdown()
    issuer.server.server_close()
    with pytest.raises(ProviderAway, match="ConnectionError"):
        provider.begin(BACK)
    assert provider.logout_url(BACK) is None
    down = Provider(Oidc(issuer="http://127.0.0.1:9", client_id="claw"), lambda: SECRET, VirtualClock(0))
    with pytest.raises(ProviderAway):
        finish(down)


def test_a_code_that_is_not_accepted_is_said(issuer: Issuer, provider: Provider) -> None:
    provider.begin(BACK)
    issuer.tokens = lambda: {"error": "invalid_grant", "error_description": SECRET}  # type: ignore[method-assign]
    with pytest.raises(LoginRefused) as refused:
        finish(provider)
    assert SECRET not in str(refused.value)
    for answer in ({"access_token": "a", "token_type": "Bearer"}, [], "x", b"no json"):
        issuer.tokens = lambda said=answer: said  # type: ignore[assignment]
        with pytest.raises((LoginRefused, ProviderAway)):
            finish(provider)
