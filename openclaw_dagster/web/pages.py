"""The pages people read: systems and their cases, one case with its journal, dead letters. They only show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from openclaw_dagster.clock import iso
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.case import StepFact
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.journal import Record

FOLDER = Path(__file__).parent / "templates"
STATES = ("open", "running", "waiting_retry", "awaiting_human", "completed", "dead_lettered", "cancelled")

#: Nothing but this host's own style sheet is loaded, and nothing may frame a page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Pages:
    """Renders pages from the ledger; payload text is data everywhere."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        self.templates = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
        self.templates.filters |= {"moment": moment, "pretty": pretty, "gist": gist}
        self.style = (FOLDER / "style.css").read_text()

    async def overview(self, request: Request) -> Response:
        """Show the systems, their counts, and the newest cases."""
        chosen = request.query_params.get("system")
        return await self._page(lambda: self._overview(chosen))

    def _overview(self, chosen: str | None) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        return "overview.html", {
            "systems": list(self.shop.systems.values()), "states": STATES, "counts": ledger.counts(), "chosen": chosen,
            "cases": ledger.find(system=chosen, limit=50), "refused": self.shop.project.refused,
            "environment": self.shop.settings.environment,
        }  # fmt: skip

    async def case(self, request: Request) -> Response:
        """Show one case."""
        return await self._page(lambda: self._case(request.path_params["case_id"]))

    def _case(self, case_id: str) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        case = ledger.case(case_id)
        if case is None:
            return "problem.html", {"title": "No such case", "text": f"The ledger has no case {case_id}."}
        steps: list[tuple[str, StepFact]] = [(n, f) for n, f in case.facts.steps.items() if n not in case.facts.decisions]
        event = ledger.events([case.event_id])[case.event_id]
        return "case.html", {"case": case, "event": event, "steps": steps, "journal": ledger.journal(case_id)}

    async def dead_letters(self, _request: Request) -> Response:
        """Show what gave up."""
        return await self._page(lambda: ("dead_letters.html", {"letters": self.shop.ledger.dead_letters()}))

    async def stylesheet(self, _request: Request) -> Response:
        """Give the style sheet."""
        return Response(self.style, media_type="text/css", headers={"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"})

    async def _page(self, make: Callable[[], tuple[str, dict[str, Any]]]) -> Response:
        try:
            name, values = await asyncio.to_thread(make)
        except DatabaseAway as away:
            name, values = "problem.html", {"title": "The ledger is away", "text": str(away)}
        status = 200 if name != "problem.html" else 404 if "No such" in values["title"] else 503
        text = self.templates.get_template(name).render(root="", **values)
        return HTMLResponse(text, status, headers=HEADERS)


def moment(milliseconds: int) -> str:
    """Return a time as people read it, in UTC."""
    return iso(milliseconds).replace("T", " ").replace("Z", " UTC")


def pretty(value: Any) -> str:
    """Return JSON as people read it, cut at a length no page suffers from."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=dict)
    return text if len(text) <= 20_000 else text[:20_000] + "\n… cut"


def gist(record: Record) -> str:
    """Return the few words of a journal line that matter most."""
    body = record.body or {}
    parts = [str(body[name]) for name in ("decision", "step", "stage", "queue", "by") if body.get(name)]
    if "attempt" in body:
        parts.append(f"attempt {body['attempt']}")
    for name in ("reason", "error", "why"):
        if body.get(name):
            parts.append(str(body[name]))
    return " · ".join(parts)[:200] or "facts"
