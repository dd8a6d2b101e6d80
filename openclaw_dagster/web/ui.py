"""Dagster's webserver behind our guard: every document is judged by who sends it, where it is executed."""

from __future__ import annotations

import logging
from typing import Any

from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from openclaw_dagster.web.access import LAUNCHES, RELOADS, Refused
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.documents import BY_GET, BY_LINE, EVERY_KIND, Document, judge, read_document
from openclaw_dagster.web.guard import Guard
from openclaw_dagster.web.identity import SCOPE, identity_of
from openclaw_dagster.web.login import Login
from openclaw_dagster.web.reload import Reload
from openclaw_dagster.web.view import PersonContext, load_lazy_parts
from openclaw_dagster.web.visitors import Visitors, client_of

log = logging.getLogger(__name__)

#: Where a request leaves what Dagster's resolvers saw of it.
CONTEXT = "claw.context"


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """The Dagster UI for people who are known, with the login pages before its own."""

    def __init__(
        self, context: WorkspaceProcessContext, visitors: Visitors, reload: Reload | None = None
    ) -> None:
        super().__init__(context)
        self.visitors = visitors
        self.reload = reload  # none where no host keeps this process
        self.blotter = Blotter(visitors.shop)
        load_lazy_parts(context.instance)

    def build_routes(self) -> list[BaseRoute]:
        """Return the login's routes, then Dagster's, whose last one catches everything else."""
        return [*Login(self.visitors).routes(), *super().build_routes()]  # type: ignore[no-untyped-call]

    def build_middleware(self) -> list[Middleware]:
        """Return the guard, then Dagster's own."""
        return [Middleware(Guard, visitors=self.visitors, blotter=self.blotter), *super().build_middleware()]

    def _make_request_context(self, conn: HTTPConnection) -> PersonContext:
        context = PersonContext.of(self._process_context, conn, identity_of(conn))
        conn.scope[CONTEXT] = context
        return context

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Answer a document; several at once are not taken, so that none of them is overlooked."""
        if request.method == "POST" and "application/json" in request.headers.get("content-type", ""):
            try:
                said = await request.json()
            except (ValueError, RecursionError):
                return _refusal(Refused("the body is not JSON", 400))
            if not isinstance(said, dict):
                why = "the body is not one object: send one document at a time"
                await self._enter(request, "several documents at once", why)
                return _refusal(Refused(why, 400))
        answer: Response = await super().graphql_http_endpoint(request)
        return answer

    async def execute_graphql_request(
        self,
        request: Request,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> JSONResponse:
        """Execute a document if its sender may do all that it asks for."""
        document = await self._judged(request, query, EVERY_KIND if request.method == "POST" else BY_GET)
        if isinstance(document, Refused):
            return _refusal(document)
        if document.mutations:
            names = ", ".join(sorted(document.mutations))
            log.info("%s asks for %s", identity_of(request).person, names[:500])
        reload = self.reload if document.mutations & RELOADS else None
        if reload is not None and (why := await reload.trouble()) is not None:
            return _refusal(Refused(why, 422))
        answer = await super().execute_graphql_request(request, query, variables, operation_name)
        if (refused := request.scope[CONTEXT].refused) is not None:
            log.warning("refused a run of %s: %s", identity_of(request).person, refused)
            await self._enter(request, _named(document), str(refused))
            return _refusal(Refused(str(refused)))
        if document.mutations & LAUNCHES and not request.scope[CONTEXT].made:
            await self._enter(request, _named(document), "Dagster launched nothing for it")
        if reload is not None and answer.status_code == 200:
            reload.ask()
        return answer

    async def execute_graphql_subscription(
        self,
        websocket: WebSocket,
        operation_id: str,
        query: str,
        variables: dict[str, Any] | None,
        operation_name: str | None,
    ) -> tuple[Any, Any]:
        """Begin a subscription if who is at the other end may, now and not when the line was opened."""
        identity = (await self.visitors.visit(websocket.scope)).identity
        if identity is None:
            return None, {"message": "the login is over"}
        websocket.scope[SCOPE] = identity
        document = await self._judged(websocket, query, BY_LINE)
        if isinstance(document, Refused):
            return None, {"message": document.why}
        return await super().execute_graphql_subscription(
            websocket, operation_id, query, variables, operation_name
        )

    async def _judged(
        self, connection: HTTPConnection, query: object, takes: frozenset[str]
    ) -> Document | Refused:
        document = read_document(query)
        identity = identity_of(connection)
        verdict = document if isinstance(document, Refused) else judge(identity, document, takes=takes)
        if isinstance(verdict, Refused):
            log.warning("refused a document of %s: %s", identity.person, verdict.why)
            if isinstance(document, Document) and (document.mutations or document.looks):
                await self._enter(connection, _named(document), verdict.why)
            return verdict
        assert isinstance(document, Document)
        return document

    async def _enter(self, connection: HTTPConnection, what: str, why: str) -> None:
        """Write down that something was refused which would have changed something."""
        person, address = identity_of(connection).person, client_of(connection.scope)
        await self.blotter.enter(what, why, person=person, address=address)


def _named(document: Document) -> str:
    kind, names = ("mutation", document.mutations) if document.mutations else ("field", document.looks)
    return f"{kind} {', '.join(sorted(names))}"[:400]


def _refusal(refused: Refused) -> JSONResponse:
    """Return a refusal in the shape in which Dagster's pages look for errors."""
    said = {"data": None, "error": refused.why, "errors": [{"message": refused.why}]}
    return JSONResponse(said, refused.status, headers={"Cache-Control": "no-store"})
