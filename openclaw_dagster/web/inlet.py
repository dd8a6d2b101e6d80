"""Events on their way into the ledger: those that arrive together are committed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from openclaw_dagster.store.events import Arrival, Receipt
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.web.body import DEFAULT_LIMITS, BodyRefused

#: Most events of one commit.
TOGETHER = 200

Waiting = tuple[Arrival, "asyncio.Future[Receipt]"]


@dataclass
class Inlet:
    """Commits arrivals one group after another; whoever handed one in hears of it after the commit, never before."""

    ledger: Ledger
    on_committed: Callable[[Sequence[Receipt]], None] = lambda _receipts: None
    _waiting: list[Waiting] = field(default_factory=list)
    _writer: asyncio.Task[None] | None = None

    async def put(self, arrival: Arrival) -> Receipt:
        """Return the receipt once the event is in the log; DatabaseAway when it is not."""
        told: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, told))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await told

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            try:
                receipts = await asyncio.to_thread(self.ledger.receive, [arrival for arrival, _ in group])
            except Exception as error:  # whoever waits decides what it means for the sender
                for _, told in group:
                    if not told.done():
                        told.set_exception(error)
                continue
            self.on_committed(receipts)
            for (_, told), receipt in zip(group, receipts, strict=True):
                if not told.done():
                    told.set_result(receipt)


async def read_body(request: Request) -> bytes:
    """Return the raw body, reading no more of it than may be taken; BodyRefused with 413 for more."""
    most = DEFAULT_LIMITS.max_bytes
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise BodyRefused(status=413, problem=f"the body is larger than {most // 1024} KiB")
        parts.append(part)
    return b"".join(parts)
