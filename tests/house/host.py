"""A host for pages that are tried out: webhooks and pages over HTTP, and cases that move, without Dagster's start.

`python host.py PORT`; settings come from the environment, and changed files are loaded as `claw dev` loads them.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.web.host import own_routes


class Host:
    """The newest files, served and moved."""

    def __init__(self) -> None:
        self.settings = read_settings()
        self.seen: dict[Path, int] = {}
        self.load()

    def load(self) -> None:
        marks = {path: path.stat().st_mtime_ns for path in self.settings.specs.rglob("*") if path.is_file()}
        if marks != self.seen:
            self.shop = Workspace(self.settings)
            self.app = Starlette(routes=own_routes(self.shop, lambda: None))
            self.seen = marks

    def move(self) -> None:
        number = 0
        while True:
            self.load()
            for due in self.shop.ledger.due(self.shop.systems).systems:
                claim = self.shop.ledger.claim(due.system, limit=10, lease=45_000, by="host")
                if claim is not None:
                    number += 1
                    advance(hold(self.shop, claim.id, run_id=f"run-{number}", host="here"))
            time.sleep(0.1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


if __name__ == "__main__":
    host = Host()
    threading.Thread(target=host.move, daemon=True).start()
    uvicorn.run(host, port=int(sys.argv[1]), log_level="warning", lifespan="off")
