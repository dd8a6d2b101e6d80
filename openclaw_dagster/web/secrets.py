"""Which secrets a webhook is verified with, and the refusal to start without them."""

from __future__ import annotations

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import NoSecret
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import WebhookTrigger
from openclaw_dagster.web.door import LOOPBACK, check_login
from openclaw_dagster.web.signatures import check_secret


class Unsigned(ClawError):
    """
    The webhook {trigger} has no secret: set {name} to it, or name its place under `secrets:` in the environment
    file. Calls without signature are taken only in the environment `development`, on loopback, when it says
    `unsigned_webhooks: true`.
    """

    code = "CLAW520"


def secret_name(system: System, trigger: WebhookTrigger) -> str:
    """Return the name of a webhook's secret, such as `DISPATCH_ORDER_CREATED_SECRET`."""
    return trigger.verify.secret if trigger.verify else f"{system.name}_{trigger.name}_secret".upper()


def secrets_of(shop: Workspace, system: System, trigger: WebhookTrigger) -> tuple[str, list[str]]:
    """Return the scheme and the live secrets: one, or two while it is changed; none where unsigned calls are taken.

    NoSecret when there is none and there should be.
    """
    scheme = trigger.verify.scheme if trigger.verify else "standard-webhooks"
    try:
        return scheme, shop.secret(secret_name(system, trigger)).split()
    except NoSecret:
        if may_be_unsigned(shop):
            return scheme, []
        raise


def may_be_unsigned(shop: Workspace) -> bool:
    """Decide whether a webhook without secret is taken: in development, on loopback, if the file says so."""
    settings = shop.settings
    return (
        shop.environment.unsigned_webhooks
        and settings.environment == "development"
        and settings.host in LOOPBACK
    )


def check_door(shop: Workspace) -> None:
    """Refuse to start a host that would fall open, or could tell nobody: Exposed, LoginWrong, Unsigned, NoSecret or
    SecretTooWeak say what to set.
    """
    check_login(shop)
    for name in shop.environment.channels.secrets():
        shop.secret(name)
    if (slack := shop.environment.channels.slack) is not None:
        for secret in shop.secret(slack.signing_secret).split():
            check_secret("slack", secret)
    for system in shop.systems.values():
        for trigger in system.triggers:
            if not isinstance(trigger, WebhookTrigger):
                continue
            name = secret_name(system, trigger)
            try:
                scheme, secrets = secrets_of(shop, system, trigger)
            except NoSecret as missing:
                raise Unsigned(trigger=f"{system.name}.{trigger.name}", name=name) from missing
            for secret in secrets:
                check_secret(scheme, secret)
