"""How an environment knows who is there, and what each may do with the host: its `login:` and `access:`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.units import Duration, Name, check_secret, distinct, problem

Level = Literal["viewer", "operator", "approver", "auditor", "admin"]

_HEADER = r"^[A-Za-z][A-Za-z0-9-]{0,63}$"
_HOST = r"^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$"


def _issuer(value: str) -> str:
    """Return the address of a provider; plain http is for one on this very machine."""
    parts = urlsplit(value)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not (local or parts.scheme == "https") or not parts.hostname or "?" in value or "#" in value:
        raise problem("CLAW014", f"{value!r} is not the address of a provider: write https://…")
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise problem("CLAW014", f"{value!r} is no address and no network: {error}") from None
    return values


class Oidc(Frozen):
    """People log in at a provider of OpenID Connect, such as Okta, Entra ID, Google or Keycloak."""

    issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        max_length=500,
        description="The provider's issuer, exactly as its own `/.well-known/openid-configuration` says it.",
    )
    client_id: str = Field(
        min_length=1, max_length=200, description="What the provider calls this application."
    )
    client_secret: Annotated[str, AfterValidator(check_secret)] = Field(
        default="CLAW_OIDC_SECRET", description="The name of the secret that the provider gave with it."
    )
    scopes: tuple[str, ...] = Field(
        default=("openid", "email", "profile"),
        strict=False,
        min_length=1,
        max_length=20,
        description="What is asked for; add `groups` when `access` names groups and the provider wants it.",
    )
    groups: str = Field(
        default="groups", max_length=100, description="The claim that lists the groups of a person."
    )


class Proxy(Frozen):
    """A proxy in front of the host has logged people in already, and says in a header who it is."""

    addresses: Annotated[tuple[str, ...], AfterValidator(_networks)] = Field(
        strict=False,
        min_length=1,
        max_length=50,
        description="Addresses or networks of the proxy, such as 10.0.4.7 or 10.0.4.0/28; of others the header is ignored.",
    )
    header: str = Field(
        default="X-Forwarded-Email",
        pattern=_HEADER,
        description="The header with the e-mail address of the person, or the id under which `people` has them.",
    )
    groups: str | None = Field(
        default=None, pattern=_HEADER, description="The header with the person's groups, between commas."
    )


class Login(Frozen):
    """How people log in; at least one of oidc, proxy and local."""

    oidc: Oidc | None = Field(default=None, description="At a provider of OpenID Connect.")
    proxy: Proxy | None = Field(default=None, description="At a proxy in front of this host.")
    local: bool = Field(
        default=False,
        description="By choosing a name from `people`, without a password: only in development, on loopback.",
    )
    hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field(
        default=(),
        strict=False,
        max_length=20,
        description="Further names under which people reach this host, beside that of its public url.",
    )
    session: Duration = Field(default=43_200_000, description="How long a login holds at most.")
    idle: Duration = Field(default=7_200_000, description="After how long without a request it ends.")

    @model_validator(mode="after")
    def _some_way(self) -> Login:
        if not (self.oidc or self.proxy or self.local):
            raise problem("CLAW013", "nobody could log in: say oidc, proxy or local")
        return self


class Holders(Frozen):
    """Who has one level."""

    people: Annotated[tuple[Name, ...], AfterValidator(distinct)] = Field(
        default=(), strict=False, max_length=1_000, description="Ids of people."
    )
    groups: Annotated[tuple[str, ...], AfterValidator(distinct)] = Field(
        default=(),
        strict=False,
        max_length=200,
        description="Groups, as the provider or the proxy says them.",
    )
    everyone: bool = Field(default=False, description="Everybody who is logged in.")


class Access(Frozen):
    """What people may see and do with the host; who answers checkpoints, `roles` says and nothing else."""

    viewer: Holders = Field(default=Holders(), description="See systems, cases and runs.")
    operator: Holders = Field(
        default=Holders(),
        description="See; launch, repeat and end runs; start and stop schedules and sensors.",
    )
    approver: Holders = Field(
        default=Holders(),
        description="See. Who answers for a role, `roles` says; a token answers only with this level.",
    )
    auditor: Holders = Field(
        default=Holders(), description="See everything, logs and debug files too; change nothing."
    )
    admin: Holders = Field(
        default=Holders(),
        description="See and operate; delete and wipe as well. Approving is not part of it.",
    )

    def levels(self, person: str, groups: frozenset[str]) -> frozenset[Level]:
        """Return the levels that name the person, one of the groups, or everyone."""
        return frozenset(
            level
            for level, held in self.held().items()
            if held.everyone or person in held.people or not groups.isdisjoint(held.groups)
        )

    def held(self) -> dict[Level, Holders]:
        """Return who has each level."""
        return {
            "viewer": self.viewer,
            "operator": self.operator,
            "approver": self.approver,
            "auditor": self.auditor,
            "admin": self.admin,
        }
