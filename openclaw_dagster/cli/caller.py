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


def named(shop: Workspace, said: str | None) -> tuple[str, frozenset[str] | None] | None:
    """Return whom the token of CLAW_TOKEN belongs to, with its levels, or in development whoever says so; Nobody.

    None when neither says anything.
    """
    from openclaw_dagster.store.tokens import Tokens

    text = variable("CLAW_TOKEN")
    if text:
        token = Tokens(shop.ledger.database, shop.clock).find(text, "token")
        if token is None:
            raise Nobody(repair="CLAW_TOKEN is no live token: `claw token create --level approver` makes one")
        return token.person, frozenset(token.claims.get("levels", ()))
    if said and shop.settings.environment != "development":
        raise Nobody(repair="--as is for the environment development; set CLAW_TOKEN to a token of yours")
    return (said, None) if said else None
