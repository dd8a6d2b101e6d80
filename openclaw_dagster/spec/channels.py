"""How an environment reaches people: its `channels:`, Slack and mail, with secrets by name."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.units import check_secret, problem

_LOCAL = ("127.0.0.1", "localhost", "::1")
SecretName = Annotated[str, AfterValidator(check_secret)]


def _base(value: str) -> str:
    """Return the address of an API; plain http is for one on this very machine."""
    try:
        parts = urlsplit(value)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    except ValueError:
        safe = False
    if not safe or not parts.hostname or any(mark in value for mark in "?#@"):
        raise problem("CLAW014", f"{value!r} is not the address of an API: write https://…")
    return value.rstrip("/")


class SlackChannel(Frozen):
    """An app in a workspace of Slack: it posts requests, and people answer by its buttons."""

    token: SecretName = Field(description="The name of the secret that is the app's bot token (xoxb-…).")
    signing_secret: SecretName = Field(
        description="The name of the secret by which Slack signs what it sends here."
    )
    team: str | None = Field(
        default=None,
        pattern=r"^T[A-Z0-9]{1,30}$",
        description="The workspace whose clicks count; without it, the one that the token belongs to.",
    )
    url: Annotated[str, AfterValidator(_base)] | None = Field(
        default=None,
        max_length=500,
        description="Where the Web API is, for one that is not Slack's own; without it https://slack.com/api.",
    )


class EmailChannel(Frozen):
    """A server that takes mail to people."""

    host: str = Field(min_length=1, max_length=255, description="The server's name or address.")
    port: int = Field(default=587, ge=1, le=65_535, description="Its port.")
    sender: str = Field(
        alias="from",
        pattern=r"^[^@\s<>]{1,64}@[^@\s<>]{1,190}$",
        description="The address that mail comes from.",
    )
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="starttls: made safe once connected; tls: from the first byte; none: in the open.",
    )
    user: SecretName | None = Field(
        default=None, description="The name of the secret that is the user; without it nobody logs in."
    )
    password: SecretName | None = Field(
        default=None, description="The name of the secret that is the password."
    )

    @model_validator(mode="after")
    def _both_and_safe(self) -> EmailChannel:
        if (self.user is None) != (self.password is None):
            raise problem("CLAW013", "whoever logs in has both: say user and password, or neither")
        if self.password and self.tls == "none" and self.host not in _LOCAL:
            raise problem("CLAW014", "the password would travel in the open: say tls: starttls or tls: tls")
        return self


class Channels(Frozen):
    """The ways to people; a place such as slack://finance is reached by the channel of its first word."""

    slack: SlackChannel | None = Field(default=None, description="For places that begin with slack://.")
    email: EmailChannel | None = Field(default=None, description="For places that begin with email://.")

    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that the channels use."""
        mail = self.email
        named = (
            *((self.slack.token, self.slack.signing_secret) if self.slack else ()),
            *((mail.user, mail.password) if mail else ()),
        )
        return tuple(name for name in named if name)
