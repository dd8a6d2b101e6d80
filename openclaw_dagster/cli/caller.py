"""Who sits at this terminal, as far as anybody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import variable

if TYPE_CHECKING:
    from openclaw_dagster.runtime.workspace import Workspace


class Nobody(ClawError):
    """Nobody knows who answers: {repair}."""

    code = "CLAW715"


def named(shop: Workspace, said: str | None, *, level: str | None = None) -> str | None:
    """Return whom the token of CLAW_TOKEN belongs to, or in development whoever says so; None for nobody; Nobody.

    `level` is what the token has to be good for, where that matters.
    """
    from openclaw_dagster.store.tokens import Tokens

    text = variable("CLAW_TOKEN")
    if text:
        token = Tokens(shop.ledger.database, shop.clock).find(text, "token")
        if token is None or (level is not None and level not in token.claims.get("levels", ())):
            good = f"live token with the level {level}" if level else "live token"
            raise Nobody(repair=f"CLAW_TOKEN is no {good}: `claw token create` makes one")
        return token.person
    if said and shop.settings.environment != "development":
        raise Nobody(repair="--as is for the environment development; set CLAW_TOKEN to a token of yours")
    return said
