"""One ASGI app: the Dagster UI, the webhooks, the pages, the health checks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

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
from openclaw_dagster.warm.instance import keep
from openclaw_dagster.web import slack
from openclaw_dagster.web.badge import with_badge
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.health import Health
from openclaw_dagster.web.inbox import Inbox
from openclaw_dagster.web.inlet import Inlet
from openclaw_dagster.web.metrics import Metrics
from openclaw_dagster.web.pages import Pages
from openclaw_dagster.web.queues import Queues
from openclaw_dagster.web.reload import Reload
from openclaw_dagster.web.secrets import check_door
from openclaw_dagster.web.teller import Teller
from openclaw_dagster.web.ui import GuardedWebserver
from openclaw_dagster.web.visitors import Visitors
from openclaw_dagster.web.webhooks import Webhooks

#: Seconds in which who had connected says what they want, when the next web process serves already.
FAREWELL = 1.0


class OpenClawWebserver(GuardedWebserver):
    """The Dagster webserver with this product's routes before its own."""

    def __init__(
        self,
        context: WorkspaceProcessContext,
        shop: Workspace,
        express: Express,
        on_committed: Callable[[], None],
        reload: Reload | None = None,
    ) -> None:
        super().__init__(context, Visitors(shop), reload)
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


def app_of(shop: Workspace, workspace_file: Path, reload: Reload | None = None) -> Starlette:
    """Return the app; it refuses to be made when it would fall open."""
    check_door(shop)
    shop.ledger.database.schema()  # the first use migrates: an unreachable ledger is said now
    instance = DagsterInstance.get()
    keep(instance, timeout=15_000, more=20)
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

    webserver = OpenClawWebserver(context, shop, express, on_committed, reload)
    return webserver.create_asgi_app(lifespan=lifespan)


class Server(uvicorn.Server):
    """Serves until told to stop; by SIGTERM it first answers everybody who had come by then."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_ready = on_ready
        self.gently = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note how it was told to stop."""
        self.gently = sig == signal.SIGTERM
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody more, answer who is there, and let them call the next one from now on."""
        if self.gently:
            for server in self.servers:
                server.close()
            self.server_state.default_headers = [
                *self.server_state.default_headers,
                (b"connection", b"close"),
            ]
            await asyncio.sleep(FAREWELL)
        await super().shutdown(sockets=sockets)


def serve(
    shop: Workspace,
    workspace_file: Path,
    *,
    listener: int | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the process is told to stop, at the socket with the descriptor `listener` if a host holds one."""
    reload = Reload(os.getppid()) if listener is not None else None
    config = uvicorn.Config(
        app_of(shop, workspace_file, reload), host=shop.settings.host, port=shop.settings.port, log_level="warning",
        access_log=False, timeout_graceful_shutdown=5, server_header=False, proxy_headers=False,
        ws_max_size=1024 * 1024, h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    Server(config, on_ready).run([socket.socket(fileno=listener)] if listener is not None else None)
