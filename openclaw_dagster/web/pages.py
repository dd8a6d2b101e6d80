"""The pages people read: systems and their cases, one case with its journal, dead letters. They only show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from openclaw_dagster.clock import iso, span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.canonical import plain
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.journal import Record

FOLDER = Path(__file__).parent / "templates"
#: Cases and dead letters on one page; a link leads to the next ones.
PAGE = 50
STATES = (
    "open",
    "running",
    "waiting_retry",
    "awaiting_human",
    "completed",
    "handed_off",
    "dead_lettered",
    "cancelled",
)

#: Nothing but this host's own style sheet is loaded, and nothing may frame a page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

#: How one attempt of a step ended, by the journal line that says it.
ENDINGS = {
    Kind.COMPLETED: "completed", Kind.RETRY: "failed", Kind.UNKNOWN: "unknown", Kind.PARKED: "unknown",
    Kind.FAILED: "failed", Kind.ANSWERED: "answered",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One stop on a case's way, as the page draws it."""

    kind: str
    name: str
    state: str
    note: str = ""


@dataclass(frozen=True)
class Attempt:
    """One call of a step, put together from the journal."""

    number: int
    at: int
    took: int | None  # ms; None while it is under way, or when nobody wrote down how it ended
    state: str
    note: str


class Pages:
    """Renders pages from the ledger; payload text is data everywhere."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        self.templates = templates()
        self.style = (FOLDER / "style.css").read_text()

    async def overview(self, request: Request) -> Response:
        """Show the systems, their counts, and the newest cases, or those before a case."""
        state = _asked(request, "state")
        system, before = _asked(request, "system"), _asked(request, "before")
        return await self.page(lambda: self._overview(system, state if state in STATES else None, before))

    def _overview(
        self, system: str | None, state: str | None, before: str | None
    ) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        cases = ledger.find(system=system, state=state, before=before, limit=PAGE + 1)
        return "overview.html", {
            "systems": list(self.shop.systems.values()), "states": STATES, "counts": ledger.counts(),
            "system": system, "state": state, "before": before, "cases": cases[:PAGE], "more": len(cases) > PAGE,
            "refused": self.shop.project.refused, "environment": self.shop.settings.environment,
        }  # fmt: skip

    async def case(self, request: Request) -> Response:
        """Show one case."""
        return await self.page(lambda: self._case(request.path_params["case_id"]))

    def _case(self, case_id: str) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        case = ledger.case(case_id)
        if case is None:
            return "problem.html", {"title": "No such case", "text": f"The ledger has no case {case_id}."}
        system, journal = self._version(case), ledger.journal(case_id)
        return "case.html", {
            "case": case, "event": ledger.events([case.event_id]).get(case.event_id), "journal": journal,
            "version": system.version if system else None, "way": way(system, case),
            "attempts": attempts(journal), "record": record_of(journal),
            "actions": {step.name: step.action for step in system.execution} if system else {},
        }  # fmt: skip

    def _version(self, case: Case) -> System | None:
        """Return the version a case runs under; None when it cannot be had, which hides no case."""
        try:
            return self.shop.version(case.digest)
        except DatabaseAway:
            raise
        except ClawError:
            return None

    async def dead_letters(self, request: Request) -> Response:
        """Show what gave up, or what gave up after a moment and a case of that moment."""
        at, _, case_id = (_asked(request, "after") or "").partition("-")
        after = (int(at), case_id) if at.isascii() and at.isdecimal() and len(at) < 16 else None
        return await self.page(lambda: self._letters(after))

    def _letters(self, after: tuple[int, str] | None) -> tuple[str, dict[str, Any]]:
        letters = self.shop.ledger.dead_letters(after=after, limit=PAGE + 1)
        return "dead_letters.html", {
            "letters": letters[:PAGE],
            "more": len(letters) > PAGE,
            "after": after,
        }

    async def stylesheet(self, _request: Request) -> Response:
        """Give the style sheet."""
        return Response(
            self.style,
            media_type="text/css",
            headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
        )

    async def page(self, make: Callable[[], tuple[str, dict[str, Any]]], *, status: int = 200) -> Response:
        """Return the page of a template and its values; what the ledger cannot tell is said, not raised."""
        try:
            name, values = await asyncio.to_thread(make)
        except DatabaseAway as away:
            name, values = "problem.html", {"title": "The ledger is away", "text": str(away)}
        if name == "problem.html":
            status = 404 if "No such" in values["title"] else 503
        text = self.templates.get_template(name).render(root="", **values)
        return HTMLResponse(text, status, headers=HEADERS)


def templates() -> Environment:
    """Return the templates of every page, with the filters they use."""
    made = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    made.filters |= {
        "moment": moment,
        "clock": clock,
        "span": span,
        "pretty": pretty,
        "gist": gist,
        "words": words,
    }
    return made


def render(name: str, **values: Any) -> str:
    """Return a page by the name of its template."""
    return templates().get_template(name).render(root="", **values)


def _asked(request: Request, name: str) -> str | None:
    """Return a parameter as a database can look it up."""
    value = request.query_params.get(name)
    return plain(value) if value else None


def record_of(journal: Sequence[Record]) -> Mapping[str, Any] | None:
    """Return the completion record of a case that people had a part in, or that left something to do."""
    last = next((one for one in reversed(journal) if one.kind in (Kind.CLOSED, Kind.HANDED_OFF)), None)
    body = last.body if last else None
    return body if body and ("clearances" in body or body.get("residual") or body.get("touches")) else None


def way(system: System | None, case: Case) -> list[Node]:
    """Return the stops of a case in order, from trigger to end; what it has not reached is `ahead`."""
    stages = [(stage.kind, stage.name) for stage in system.stages] if system else _reached(case)
    nodes = [Node("trigger", case.trigger, "completed", "received")]
    for kind, name in stages:
        made, fact = case.facts.decisions.get(name), case.facts.steps.get(name)
        if kind == "decision" and made:
            nodes.append(Node(kind, name, "completed", str(made.output.get("branch", "decided"))))
        elif kind == "step" and fact:
            tries = f" in {fact.attempt} attempts" if fact.attempt > 1 else ""
            nodes.append(Node(kind, name, fact.state, words(fact.state) + tries))
        elif (gate := case.facts.gates.get(name)) is not None and gate.open:
            nodes.append(Node("checkpoint", name, "waiting", f"waits for {' or '.join(gate.roles)}"))
        else:
            failed = name == case.facts.failing
            nodes.append(
                Node(kind, name, "failed" if failed else "ahead", "failed" if failed else "not reached")
            )
    last = case.state if case.closed_at else "ahead"
    nodes.append(Node("end", "close", last, words(case.state)))
    return nodes


def _reached(case: Case) -> list[tuple[str, str]]:
    decisions = [("decision", name) for name in case.facts.decisions]
    return decisions + [("step", name) for name in case.facts.steps if name not in case.facts.decisions]


def attempts(journal: Sequence[Record]) -> Mapping[str, list[Attempt]]:
    """Return every attempt of every step, in order, as the journal has them."""
    found: dict[str, list[Attempt]] = {}
    for line in journal:
        body = line.body or {}
        tried = found.setdefault(str(body.get("step") or body.get("stage") or ""), [])
        if line.kind is Kind.BEGUN:
            tried.append(Attempt(int(body["attempt"]), line.at, None, "begun", ""))
        elif line.kind in ENDINGS and tried and tried[-1].took is None:
            note = _note(line.kind, body)
            tried[-1] = Attempt(
                tried[-1].number, tried[-1].at, line.at - tried[-1].at, ENDINGS[line.kind], note
            )
    return {step: tried for step, tried in found.items() if tried}


def _note(kind: Kind, body: Mapping[str, Any]) -> str:
    if kind is Kind.ANSWERED:
        return f"{body['by']}: it {'took' if body['took_place'] else 'did not take'} place"
    if kind is Kind.COMPLETED and body.get("found_by"):
        return f"no answer came; {body['found_by']} says it took place"
    again = f"; again at {clock(body['due_at'])}" if body.get("due_at") else ""
    return f"{body['error']}{again}" if body.get("error") else ""


def moment(milliseconds: int) -> str:
    """Return a time as people read it, in UTC."""
    return iso(milliseconds)[:19].replace("T", " ") + " UTC"


def clock(milliseconds: int) -> str:
    """Return the time of day to the millisecond, in UTC."""
    return iso(milliseconds)[11:23]


def words(name: str) -> str:
    """Return a state as people say it."""
    return name.replace("_", " ")


def pretty(value: Any) -> str:
    """Return JSON as people read it, cut at a length no page suffers from."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=dict)
    return text if len(text) <= 20_000 else text[:20_000] + "\n… cut"


def gist(record: Record) -> str:
    """Return the few words of a journal line that matter most."""
    body = record.body or {}
    names = dict.fromkeys(
        str(body[name]) for name in ("decision", "step", "stage", "queue") if body.get(name)
    )
    parts = list(names)
    if record.kind is Kind.OPENED:
        parts.append("by its event")
    if body.get("person"):
        parts.append(f"{body['person']}: {body.get('verdict', '')}")
    if body.get("roles"):
        parts.append(f"asked of {' or '.join(body['roles'])}")
    if body.get("by"):
        parts.append(f"by {body['by']}")
    if body.get("run"):
        parts.append(f"in run {str(body['run'])[:8]}")
    if "attempt" in body:
        parts.append(f"attempt {body['attempt']}")
    parts += [str(body[name]) for name in ("reason", "error", "why") if body.get(name)]
    if body.get("emits"):
        parts.append(f"emits {body['emits']}")
    return " · ".join(parts)[:200]
