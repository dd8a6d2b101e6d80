"""What the host refused, written into the event log where an auditor finds it; bounded, so that no flood fills a disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from openclaw_dagster.clock import MINUTE
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.refusals import note
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.web.limits import Rate, RateLimit

log = logging.getLogger(__name__)

#: Refusals written down of one person, or of one address that nobody is known by.
EACH = Rate(burst=100, refill=MINUTE)
#: And of all people together, and of all strangers together: at most 1,440 a day of either, under 1 MB.
ALL = Rate(burst=1_000, refill=MINUTE)


class Blotter:
    """Writes refusals down. Made for one event loop."""

    def __init__(self, shop: Workspace, each: Rate = EACH, every: Rate = ALL) -> None:
        self.shop = shop
        self._each = RateLimit(shop.clock, each)
        self._all = RateLimit(shop.clock, every)
        #: Refusals since the last one that was written down, which came too fast.
        self.left_out = 0

    async def enter(
        self,
        what: str,
        why: str,
        *,
        person: str = "",
        address: str = "",
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Write a refusal down unless too many came before it; what is left out is counted in the next one."""
        group = "people" if person else "strangers"
        if self._each.take(person or address, group) is not None or self._all.take(group, "") is not None:
            self.left_out += 1
            return
        told = {name: text[:400] for name, text in (about or {}).items()}
        if address:
            told["address"] = address
        if self.left_out:
            told["left_out_before"] = str(self.left_out)
            self.left_out = 0
        try:
            await asyncio.to_thread(note, self.shop, what, why, person=person, about=told)
        except ClawError as error:
            log.error(
                "a refusal is in this log alone (%s): %s by %s: %s", error, what, person or address, why
            )
