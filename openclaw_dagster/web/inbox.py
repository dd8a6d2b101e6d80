"""The pages on which people answer: what waits for them, one checkpoint with all it takes to decide, holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from openclaw_dagster.clock import span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.clearance import Answer, Counted, Refused, Settled, answer, refusal, refuse
from openclaw_dagster.runtime.people import members
from openclaw_dagster.runtime.skips import Granted, Skip, grant, policy_of
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.gates import GateFact
from openclaw_dagster.web import access
from openclaw_dagster.web.access import APPROVER, OPERATOR, Doing, may
from openclaw_dagster.web.forms import FormRefused, form_token, read_form
from openclaw_dagster.web.identity import Identity, identity_of
from openclaw_dagster.web.pages import Pages

#: What the fields of a checkpoint's own form are called on the page.
PREFIX = "f_"
#: Requests on one page.
MOST = 200


class Inbox:
    """Shows what waits for people, and takes their answers; deciding is left to the runtime's one function."""

    def __init__(self, shop: Workspace, pages: Pages, wake: Callable[[], None]) -> None:
        self.shop = shop
        self.pages = pages
        self.wake = wake

    def routes(self) -> list[Route]:
        """Return the addresses of the inbox."""
        page = "/claw/checkpoints/{case_id}/{step}"
        return [
            Route("/claw/inbox", self.inbox, methods=["GET"]),
            Route("/claw/inbox.json", self.count, methods=["GET"]),
            Route(page, self.checkpoint, methods=["GET"]),
            Route(f"{page}/answer", self.answer, methods=["POST"]),
            Route(f"{page}/skip", self.skip, methods=["POST"]),
            Route("/claw/holds", self.holds, methods=["GET"]),
            Route("/claw/holds/change", self.change_hold, methods=["POST"]),
        ]

    # ── what waits ──────────────────────────────────────────────────────────────────────────────────────────

    async def inbox(self, request: Request) -> Response:
        """Show the requests that wait for who asks, then those that wait for others."""
        who = identity_of(request)
        return await self.pages.page(lambda: self._inbox(who))

    def _inbox(self, who: Identity) -> tuple[str, dict[str, Any]]:
        waiting = self.shop.ledger.checkpoints(waiting=True, limit=MOST)
        mine = [one for one in waiting if who.roles & set(one.roles)]
        return "inbox.html", {
            "who": who, "mine": mine, "others": [one for one in waiting if one not in mine],
            "settled": [one for one in self.shop.ledger.checkpoints(limit=20) if one.settled_at is not None],
            "holds": self.shop.ledger.holds(), "now": self.shop.clock.now(), "more": len(waiting) == MOST,
        }  # fmt: skip

    async def count(self, request: Request) -> Response:
        """Tell how many requests wait, and how many of them for who asks."""
        who = identity_of(request)
        waiting = await asyncio.to_thread(lambda: self.shop.ledger.checkpoints(waiting=True, limit=MOST))
        mine = sum(bool(who.roles & set(one.roles)) for one in waiting)
        return JSONResponse({"waiting": len(waiting), "mine": mine}, headers={"Cache-Control": "no-store"})

    # ── one checkpoint ──────────────────────────────────────────────────────────────────────────────────────

    async def checkpoint(self, request: Request) -> Response:
        """Show one checkpoint; looking decides nothing."""
        return await self._show(request)

    async def _show(self, request: Request, problem: str = "", status: int = 200) -> Response:
        who, token = identity_of(request), form_token(request)
        case_id, step = request.path_params["case_id"], request.path_params["step"]
        said = request.query_params.get("said", "")
        return await self.pages.page(
            lambda: self._checkpoint(case_id, step, who, token, problem, said), status=status
        )

    def _checkpoint(
        self, case_id: str, name: str, who: Identity, token: str, problem: str, said: str
    ) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        case = ledger.case(case_id)
        gate = case.facts.gates.get(name) if case else None
        if case is None or gate is None:
            return "problem.html", {
                "title": "No such checkpoint", "text": f"Case {case_id} asks nobody about {name}."
            }  # fmt: skip
        step = self._step(case, name)
        policy = policy_of(self.shop.version(case.digest), step) if step else None
        event = ledger.events([case.event_id]).get(case.event_id)
        may_answer = self._why_not(case, gate, name, who) is None
        return "checkpoint.html", {
            "case": case, "gate": gate, "step": name, "who": who, "form": token, "problem": problem, "said": said,
            "fields": step.checkpoint.form if step and step.checkpoint else {}, "may_answer": may_answer,
            "why_not": self._why_not(case, gate, name, who), "policy": policy,
            "may_skip": policy is not None and gate.open and bool(who.roles & set(policy.approval)) and _level(who),
            "people": sorted(members(self.shop.environment, gate.roles)), "event": event,
            "journal": ledger.journal(case_id), "now": self.shop.clock.now(), "prefix": PREFIX,
            "requests": [one for one in ledger.checkpoints(case_id=case_id) if one.step == name],
        }  # fmt: skip

    def _step(self, case: Case, name: str) -> Step | None:
        try:
            return self.shop.version(case.digest).step(name)
        except (ClawError, KeyError):
            return None

    def _why_not(self, case: Case, gate: GateFact, name: str, who: Identity) -> str | None:
        """Return why the page offers no answer to who looks, or None when it does."""
        if not gate.open:
            return f"it is {gate.state}"
        if not _level(who):
            return "your level does not include answering: it takes approver"
        # as if it were a denial with a reason: what is filled in is judged when it is sent
        trial = Answer(case.id, name, gate.digest, who.person, "deny", "page", "a reason")
        return refusal(self.shop, case, gate, trial)

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────

    async def answer(self, request: Request) -> Response:
        """Take one answer."""
        return await self._take(request, self._answer)

    def _answer(self, who: Identity, case_id: str, step: str, fields: Mapping[str, str]) -> tuple[str, int]:
        form = {name.removeprefix(PREFIX): said for name, said in fields.items() if name.startswith(PREFIX)}
        verdict = fields.get("verdict", "")
        given = Answer(
            case_id, step, fields.get("digest", ""), who.person, verdict, _channel(who),  # type: ignore[arg-type]
            fields.get("reason", ""), {} if verdict == "deny" else form,
        )  # fmt: skip
        if not _level(who):
            refuse(self.shop, given, "their level does not include answering")
            return "Your level does not include answering: it takes approver.", 403
        match answer(self.shop, given):
            case Settled(_, state):
                return f"Recorded: {'cleared, it runs now' if state == 'cleared' else state}.", 200
            case Counted(_, missing):
                return (
                    f"Recorded. {missing} more {'person has' if missing == 1 else 'people have'} to answer.",
                    200,
                )
            case Refused(why):
                return f"Not counted: {why}.", 403

    async def skip(self, request: Request) -> Response:
        """Take the word of a person that a step may be left out."""
        return await self._take(request, self._skip)

    def _skip(self, who: Identity, case_id: str, step: str, fields: Mapping[str, str]) -> tuple[str, int]:
        person = who.person if _level(who) else ""
        given = grant(self.shop, Skip(case_id, step, person, _channel(who), fields.get("reason", "")))
        if isinstance(given, Granted):
            return (
                f"Recorded: {step} is left out, for {span(given.until - self.shop.clock.now())} at most.",
                200,
            )
        return f"Not left out: {given.why}.", 403

    async def _take(
        self, request: Request, do: Callable[[Identity, str, str, Mapping[str, str]], tuple[str, int]]
    ) -> Response:
        who = identity_of(request)
        case_id, step = request.path_params["case_id"], request.path_params["step"]
        try:
            fields = await read_form(request)
        except FormRefused as problem:
            text, status = str(problem), 403
            given = Answer(case_id, step, "", who.person, "deny", _channel(who))
            await asyncio.to_thread(refuse, self.shop, given, "the form was not made by this login")
        else:
            text, status = await asyncio.to_thread(do, who, case_id, step, fields)
            self.wake()
        if _wants_json(request):
            return JSONResponse(
                {"ok": status == 200, "said": text}, status, headers={"Cache-Control": "no-store"}
            )
        if status == 200:
            place = f"/claw/checkpoints/{quote(case_id)}/{quote(step)}?said={quote(text)}"
            return RedirectResponse(place, 303, headers={"Cache-Control": "no-store"})
        return await self._show(request, text, status)

    # ── holds ───────────────────────────────────────────────────────────────────────────────────────────────

    async def holds(self, request: Request) -> Response:
        """Show what is on hold, and what could be."""
        return await self._holds(request)

    async def _holds(self, request: Request, problem: str = "", status: int = 200) -> Response:
        who, token = identity_of(request), form_token(request)
        actions = sorted({step.action for one in self.shop.systems.values() for step in one.execution})
        return await self.pages.page(
            lambda: ("holds.html", {
                "holds": self.shop.ledger.holds(), "systems": sorted(self.shop.systems), "actions": actions,
                "who": who, "form": token, "problem": problem,
                "may_change": not isinstance(may(who, Doing("hold", OPERATOR)), access.Refused),
            }),
            status=status,
        )  # fmt: skip

    async def change_hold(self, request: Request) -> Response:
        """Put something on hold, or release it."""
        who = identity_of(request)
        try:
            fields = await read_form(request)
            scope, reason = fields.get("scope", ""), fields.get("reason", "")
            if fields.get("do") == "release":
                await asyncio.to_thread(lambda: holds.release(self.shop, scope, by=who.person, reason=reason))
            else:
                await asyncio.to_thread(lambda: holds.place(self.shop, scope, by=who.person, reason=reason))
        except FormRefused as problem:
            return await self._holds(request, str(problem), 403)
        except ClawError as problem:
            return await self._holds(request, str(problem), 422)
        self.wake()
        return RedirectResponse("/claw/holds", 303, headers={"Cache-Control": "no-store"})


def _level(who: Identity) -> bool:
    return not isinstance(may(who, Doing("answer a checkpoint", APPROVER)), access.Refused)


def _channel(who: Identity) -> str:
    return "api" if who.how == "token" else "page"


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
