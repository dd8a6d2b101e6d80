"""`/healthz`: the process lives. `/readyz`: it can do its work."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse

from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.database import DatabaseAway


class Health:
    """Answers orchestrators' questions about one host."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop

    async def live(self, _request: Request) -> JSONResponse:
        """Answer 200 as long as the process answers at all."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> JSONResponse:
        """Answer 200 when events can be taken, which means written; else 503 with what is missing."""
        problems = [f"{refused.file} is not loaded" for refused in self.shop.project.refused]
        broken = False
        try:
            await asyncio.to_thread(self.shop.ledger.database.writable)
        except DatabaseAway as away:
            problems.append(str(away))
            broken = True
        if not self.shop.systems:
            problems.append("no system is loaded")
            broken = True
        said = {
            "status": "not ready" if broken else "ok",
            "systems": sorted(self.shop.systems),
            "problems": problems,
        }
        return JSONResponse(said, 503 if broken else 200, headers={"Retry-After": "5"} if broken else {})
