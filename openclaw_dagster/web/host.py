"""One ASGI app: the Dagster UI, the webhooks, the pages, the health checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.version import __version__ as dagster_version
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.warm.express import Express
from openclaw_dagster.web import slack
from openclaw_dagster.web.badge import with_badge
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.health import Health
from openclaw_dagster.web.inbox import Inbox
from openclaw_dagster.web.inlet import Inlet
from openclaw_dagster.web.metrics import Metrics
from openclaw_dagster.web.pages import Pages
from openclaw_dagster.web.queues import Queues
from openclaw_dagster.web.secrets import check_door
from openclaw_dagster.web.teller import Teller
from openclaw_dagster.web.ui import GuardedWebserver
from openclaw_dagster.web.visitors import Visitors
from openclaw_dagster.web.webhooks import Webhooks


class OpenClawWebserver(GuardedWebserver):
    """The Dagster webserver with this product's routes before its own."""

    def __init__(
        self,
        context: WorkspaceProcessContext,
        shop: Workspace,
        express: Express,
        on_committed: Callable[[], None],
    ) -> None:
        super().__init__(context, Visitors(shop))
        self.shop = shop
        self.express = express
        self.on_committed = on_committed

    def build_routes(self) -> list[BaseRoute]:
        """Return our routes, then Dagster's, whose last one catches everything else."""
        own = own_routes(self.shop, self.on_committed, self.express.launched, self.blotter)
        return [*own, *super().build_routes()]

    def index_html_endpoint(self, request: Request) -> Response:
        """Return Dagster's page with a link to the inbox on it."""
        return with_badge(super().index_html_endpoint(request))


def own_routes(
    shop: Workspace,
    on_committed: Callable[[], None],
    launched: Callable[[], Mapping[str, int]] = dict,
    blotter: Blotter | None = None,
) -> list[BaseRoute]:
    """Return the routes of webhooks, pages, clicks, health checks and metrics.

    `on_committed` hears of what was written; `launched` says how many runs went to which launcher.
    """
    webhooks = Webhooks(shop, Inlet(shop.ledger, lambda _receipts: on_committed()))
    pages, health, blotter = Pages(shop), Health(shop), blotter or Blotter(shop)
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [
        Route("/hooks/{system}/{trigger}", webhooks.__call__, methods=every),
        Route("/hooks/{rest:path}", webhooks.unknown, methods=every),
        Route(slack.PATH, slack.SlackDoor(shop, on_committed, blotter).__call__, methods=every),
        Route("/healthz", health.live, methods=["GET"]),
        Route("/readyz", health.ready, methods=["GET"]),
        Route("/metrics", Metrics(shop, launched).answer, methods=["GET"]),
        Route("/claw", pages.overview, methods=["GET"]),
        Route("/claw/", pages.overview, methods=["GET"]),
        Route("/claw/style.css", pages.file, methods=["GET"]),
        Route("/claw/badge.js", pages.file, methods=["GET"]),
        Route("/claw/dead-letters", pages.dead_letters, methods=["GET"]),
        Route("/claw/cases/{case_id}", pages.case, methods=["GET"]),
        *Inbox(shop, pages, blotter, on_committed).routes(),
    ]


def app_of(shop: Workspace, workspace_file: Path) -> Starlette:
    """Return the app; it refuses to be made when it would fall open."""
    check_door(shop)
    shop.ledger.database.schema()  # the first use migrates: an unreachable ledger is said now
    instance = DagsterInstance.get()
    if type(instance.run_storage).__module__.startswith("dagster_postgres"):
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
    context = WorkspaceProcessContext(
        instance, WorkspaceFileTarget([str(workspace_file)]), version=dagster_version
    )

    express, teller = Express(shop, context), Teller(shop)

    def on_committed() -> None:
        express.wake()
        teller.wake()

    queues = Queues(shop, Inlet(shop.ledger, lambda _receipts: on_committed()))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with context:
            express.start()
            teller.start()
            queues.start()
            yield
            await queues.stop()
            teller.stop()
            express.stop()
        shop.close()

    return OpenClawWebserver(context, shop, express, on_committed).create_asgi_app(lifespan=lifespan)


def serve(shop: Workspace, workspace_file: Path, *, on_ready: Callable[[], None] | None = None) -> None:
    """Serve until the process is told to stop."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if on_ready and not self.should_exit:
                on_ready()

    config = uvicorn.Config(
        app_of(shop, workspace_file), host=shop.settings.host, port=shop.settings.port, log_level="warning",
        access_log=False, timeout_graceful_shutdown=5, server_header=False, proxy_headers=False,
        ws_max_size=1024 * 1024, h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    Server(config).run()
