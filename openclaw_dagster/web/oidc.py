"""Login at a provider of OpenID Connect: code flow with PKCE, state and nonce; what the provider says is verified."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from urllib3.exceptions import HTTPError

from openclaw_dagster.clock import Clock
from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.login import Oidc
from openclaw_dagster.web.identity import is_address

#: Seconds that the provider has for one answer.
PATIENCE = 10
#: By how many seconds its clock may differ from ours.
SKEW = 60
#: Seconds for which what it says of itself is believed, and before its keys are asked for again.
BELIEVED = 3600
KEYS_AGAIN = 10
#: Longest answer that is read, in bytes.
MOST_BYTES = 1024 * 1024
#: Signatures that are accepted: only those that nobody but the provider can make.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class ProviderAway(ClawError):
    """The login provider does not answer as it should ({problem}): try again, or see that {issuer} can be reached."""

    code = "CLAW532"


class LoginRefused(ClawError):
    """The login was not accepted: {problem}. Begin again."""

    code = "CLAW533"


@dataclass(frozen=True, slots=True)
class Begun:
    """A login on its way: where the browser goes, and what has to come back."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Account:
    """Who the provider says it is."""

    sub: str
    email: str | None  # only an address that the provider has verified
    name: str
    groups: tuple[str, ...]


class Provider:
    """One provider; its calls block, so they belong into a thread."""

    def __init__(self, oidc: Oidc, secret: Callable[[], str], clock: Clock) -> None:
        self.oidc = oidc
        self.secret = secret
        self.clock = clock
        self._said: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    @property
    def name(self) -> str:
        """How people know it."""
        return urlsplit(self.oidc.issuer).hostname or self.oidc.issuer

    def begin(self, back: str) -> Begun:
        """Return where to send a browser that shall come back to the address `back`."""
        state, nonce, verifier = (generate_token(48) for _ in range(3))
        with self._session(back) as session:
            url, _ = session.create_authorization_url(
                self._endpoint("authorization_endpoint"), state=state, nonce=nonce, code_verifier=verifier
            )
        return Begun(str(url), state, nonce, verifier)

    def finish(self, code: str, back: str, *, nonce: str, verifier: str) -> Account:
        """Exchange a code for who it is; LoginRefused when anything of it is not right, ProviderAway."""
        try:
            with self._session(back) as session:
                answer = session.fetch_token(
                    self._endpoint("token_endpoint"), code=code, code_verifier=verifier, timeout=PATIENCE,
                    allow_redirects=False,
                )  # fmt: skip
        except (requests.RequestException, ValueError) as error:
            raise self._away(error) from error
        except AuthlibBaseError as error:
            raise LoginRefused(problem="the provider did not accept its own code") from error
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise LoginRefused(problem="the provider sent no id token; ask for the scope openid")
        return self._account(self._claims(token, nonce, answer.get("access_token")))

    def logout_url(self, back: str) -> str | None:
        """Return where a browser goes to log out at the provider too; None when it has no such place."""
        try:
            place = self._metadata().get("end_session_endpoint")
        except ProviderAway:
            return None
        if not isinstance(place, str):
            return None
        return f"{place}?{urlencode({'client_id': self.oidc.client_id, 'post_logout_redirect_uri': back})}"

    def _claims(self, token: str, nonce: str, access_token: object) -> Mapping[str, Any]:
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            try:
                decoded = jwt.decode(token, self._key_set(), registry=registry)
            except InvalidKeyIdError:
                decoded = jwt.decode(token, self._key_set(again=True), registry=registry)
            options = {
                "iss": {"essential": True, "value": self.oidc.issuer},
                "aud": {"essential": True, "value": self.oidc.client_id},
                "sub": {"essential": True},
            }
            params = {"nonce": nonce, "client_id": self.oidc.client_id}
            if isinstance(access_token, str):
                params["access_token"] = access_token
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(now=self.clock.now() // 1000, leeway=SKEW)
        except (JoseError, AuthlibBaseError, ValueError, TypeError) as error:
            raise LoginRefused(problem=f"the id token is not valid ({type(error).__name__})") from error
        return dict(claims)

    def _account(self, claims: Mapping[str, Any]) -> Account:
        said = claims.get("email") if claims.get("email_verified") is True else None
        email = said.strip().lower() if isinstance(said, str) else ""
        groups = claims.get(self.oidc.groups) or ()
        named = groups.split() if isinstance(groups, str) else groups if isinstance(groups, list) else ()
        return Account(
            sub=str(claims["sub"]),
            # by its address somebody is known who is not listed: what is none could be the id of somebody who is
            email=email if is_address(email) else None,
            name=str(claims.get("name") or "")[:100],
            groups=tuple(one for one in named if isinstance(one, str))[:500],
        )

    def _session(self, back: str) -> OAuth2Session:
        return OAuth2Session(
            self.oidc.client_id, self.secret(), scope=" ".join(self.oidc.scopes), redirect_uri=back,
            code_challenge_method="S256",
        )  # fmt: skip

    def _endpoint(self, name: str) -> str:
        place = self._metadata().get(name)
        # the provider's word is not enough to send a secret over a line that others can read
        if not isinstance(place, str) or urlsplit(place).scheme not in (
            "https",
            urlsplit(self.oidc.issuer).scheme,
        ):
            raise ProviderAway(problem=f"it names no {name}", issuer=self.oidc.issuer)
        return place

    def _metadata(self) -> Mapping[str, Any]:
        now = time.monotonic()
        if self._said is None or now - self._said[0] > BELIEVED:
            said = self._get(f"{self.oidc.issuer.rstrip('/')}/.well-known/openid-configuration")
            if said.get("issuer") != self.oidc.issuer:
                problem = f"it calls itself {str(said.get('issuer'))[:200]!r}"
                raise ProviderAway(problem=problem, issuer=self.oidc.issuer)
            self._said = (now, said)
        return self._said[1]

    def _key_set(self, *, again: bool = False) -> KeySet:
        now = time.monotonic()
        age = None if self._keys is None else now - self._keys[0]
        if self._keys is None or age is None or age > BELIEVED or (again and age > KEYS_AGAIN):
            try:
                found = KeySet.import_key_set(self._get(self._endpoint("jwks_uri")))  # type: ignore[arg-type]
            except (JoseError, ValueError, TypeError, KeyError) as error:
                raise self._away(error) from error
            self._keys = (now, found)
        return self._keys[1]

    def _get(self, url: str) -> dict[str, Any]:
        try:
            with requests.get(url, timeout=PATIENCE, allow_redirects=False, stream=True) as answer:
                answer.raise_for_status()
                said = json.loads(answer.raw.read(MOST_BYTES, decode_content=True))
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise self._away(error) from error
        if answer.status_code != 200 or not isinstance(said, dict):
            raise ProviderAway(problem=f"status {answer.status_code}, and no object", issuer=self.oidc.issuer)
        return said

    def _away(self, error: Exception) -> ProviderAway:
        return ProviderAway(problem=type(error).__name__, issuer=self.oidc.issuer)
