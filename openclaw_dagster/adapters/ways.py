"""Every way to people that an environment names, ready to be used from many threads at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from openclaw_dagster.adapters.channel import Channel, Message
from openclaw_dagster.adapters.email import Email
from openclaw_dagster.adapters.guard import Resolver, system_resolver
from openclaw_dagster.adapters.registry import credentials
from openclaw_dagster.adapters.secrets import Secrets
from openclaw_dagster.clock import Clock
from openclaw_dagster.spec.environment import Environment

if TYPE_CHECKING:
    from openclaw_dagster.adapters.slack import Slack

#: The first words of places, each a channel of its own.
SCHEMES = ("slack", "email")


class Ways:
    """Channels by the first word of the places they lead to. Nothing is opened yet."""

    def __init__(
        self, environment: Environment, secret: Callable[[str], str], clock: Clock,
        resolver: Resolver = system_resolver,
    ) -> None:  # fmt: skip
        self._secrets = Secrets(secret)
        self._secrets.learn({*environment.secrets, *credentials(environment)})
        bound = environment.channels
        self.slack: Slack | None = None
        if bound.slack is not None:  # its library takes a while to load, and most commands need none of it
            from openclaw_dagster.adapters.slack import Slack

            self.slack = Slack(bound.slack, self._secrets, clock, resolver=resolver)
        self.email = Email(bound.email, self._secrets, clock) if bound.email else None
        found = {"slack": self.slack, "email": self.email}
        self.by_scheme: Mapping[str, Channel] = {name: one for name, one in found.items() if one is not None}

    def quiet(self, message: Message) -> Message:
        """Return a message without any secret value, whatever a payload has brought."""
        scrub = self._secrets.scrub
        return replace(
            message, title=scrub(message.title), about=scrub(message.about), standing=scrub(message.standing),
            lines=tuple((label, scrub(value)) for label, value in message.lines),
            texts=tuple((label, scrub(text)) for label, text in message.texts),
        )  # fmt: skip

    def close(self) -> None:
        """Give back connections."""
        for channel in self.by_scheme.values():
            channel.close()
