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
from openclaw_dagster.runtime.clearance import Answer, Counted, Refused, Settled, answer, objection, refuse
from openclaw_dagster.runtime.people import members
from openclaw_dagster.runtime.skips import Granted, Skip, grant, policy_of
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.gates import GateFact
from openclaw_dagster.web import access
from openclaw_dagster.web.access import OPERATOR, Doing, may
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.forms import FormRefused, read_form
from openclaw_dagster.web.identity import Identity, identity_of
from openclaw_dagster.web.pages import Pages
from openclaw_dagster.web.visitors import client_of
from openclaw_dagster.web.waiting import waiting_for

#: What the fields of a checkpoint's own form are called on the page.
PREFIX = "f_"

#: What somebody does on a page: who, the case, the step, the fields; it gives the words for them and the status.
Deed = Callable[[Identity, str, str, Mapping[str, str]], tuple[str, int]]


class Inbox:
    """Shows what waits for people, and takes their answers; deciding is left to the runtime's one function."""

    def __init__(self, shop: Workspace, pages: Pages, blotter: Blotter, wake: Callable[[], None]) -> None:
        self.shop = shop
        self.pages = pages
        self.blotter = blotter
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
            Route(f"{page}/answer", self.back, methods=["GET"]),
            Route(f"{page}/skip", self.back, methods=["GET"]),
            Route("/claw/holds", self.holds, methods=["GET"]),
            Route("/claw/holds/change", self.change_hold, methods=["POST"]),
        ]

    # ── what waits ──────────────────────────────────────────────────────────────────────────────────────────

    async def inbox(self, request: Request) -> Response:
        """Show the requests that wait for who asks, then those that wait for others."""
        return await self.pages.page(request, self._inbox)

    def _inbox(self) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        settled = [one for one in ledger.checkpoints(limit=20) if one.settled_at is not None]
        return "inbox.html", {
            "settled": settled, "holds": ledger.holds(), "doubts": ledger.in_doubt(), "now": self.shop.clock.now()
        }  # fmt: skip

    async def count(self, request: Request) -> Response:
        """Tell how many requests wait, and how many of them for who asks."""
        found = await asyncio.to_thread(waiting_for, self.shop, identity_of(request))
        mine, every = len(found.mine), len(found.mine) + len(found.others)
        said = {"waiting": every, "mine": mine, "more": found.more}
        return JSONResponse(said, headers={"Cache-Control": "no-store"})

    # ── one checkpoint ──────────────────────────────────────────────────────────────────────────────────────

    async def checkpoint(self, request: Request) -> Response:
        """Show one checkpoint; looking decides nothing."""
        return await self._show(request)

    async def back(self, request: Request) -> Response:
        """Send whoever opens the address of a form to its page: opening an address answers nothing."""
        return RedirectResponse(request.url.path.rpartition("/")[0], 303)

    async def _show(self, request: Request, problem: str = "", status: int = 200) -> Response:
        who, recorded = identity_of(request), "recorded" in request.query_params
        case_id, step = request.path_params["case_id"], request.path_params["step"]
        return await self.pages.page(
            request, lambda: self._checkpoint(case_id, step, who, problem, recorded=recorded), status=status
        )

    def _checkpoint(
        self, case_id: str, name: str, who: Identity, problem: str, *, recorded: bool
    ) -> tuple[str, dict[str, Any]]:
        ledger = self.shop.ledger
        case = ledger.case(case_id)
        gate = case.facts.gates.get(name) if case else None
        if case is None or gate is None:
            return "problem.html", {
                "title": "No such checkpoint", "text": f"Case {case_id} asks nobody about {name}."
            }  # fmt: skip
        step, why_not = self._step(case, name), self._why_not(case, gate, name, who)
        policy = policy_of(self.shop.version(case.digest), step) if step else None
        return "checkpoint.html", {
            "case": case, "gate": gate, "step": name, "problem": problem, "why_not": why_not, "policy": policy,
            "fields": step.checkpoint.form if step and step.checkpoint else {}, "prefix": PREFIX,
            "may_skip": policy is not None and gate.open and bool(who.roles & set(policy.approval)),
            "people": sorted(members(self.shop.environment, gate.roles)), "names": self.shop.environment.people,
            "event": ledger.events([case.event_id]).get(case.event_id),
            "told": [one for one in self.shop.outbox.of_case(case_id) if one.step == name],
            "journal": ledger.journal(case_id), "now": self.shop.clock.now(),
            "recorded": _recorded(case, gate, name, who) if recorded else "",
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
        if who.how == "local":
            return "this host has no `login:`, so that it does not know who you are"
        return objection(self.shop, case, name, who.person, who.token_levels)

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────

    async def answer(self, request: Request) -> Response:
        """Take one answer."""
        return await self._take(request, "answer", self._answer)

    def _answer(self, who: Identity, case_id: str, step: str, fields: Mapping[str, str]) -> tuple[str, int]:
        form = {name.removeprefix(PREFIX): said for name, said in fields.items() if name.startswith(PREFIX)}
        verdict = fields.get("verdict", "")[:40]
        given = Answer(
            case_id, step, fields.get("digest", ""), who.person, verdict, _channel(who),  # type: ignore[arg-type]
            fields.get("reason", ""), {} if verdict == "deny" else form, token=who.token_levels,
        )  # fmt: skip
        match answer(self.shop, given):
            case Settled(_, state):
                return f"Recorded: {'cleared, it runs now' if state == 'cleared' else state}.", 200
            case Counted(_, missing):
                return _missing(missing), 200
            case Refused(why):
                return f"Not counted: {why}.", 403

    async def skip(self, request: Request) -> Response:
        """Take the word of a person that a step may be left out."""
        return await self._take(request, "skip", self._skip)

    def _skip(self, who: Identity, case_id: str, step: str, fields: Mapping[str, str]) -> tuple[str, int]:
        reason = fields.get("reason", "")
        given = grant(self.shop, Skip(case_id, step, who.person, _channel(who), reason, who.token_levels))
        if isinstance(given, Granted):
            left = span(given.until - self.shop.clock.now())
            return f"Recorded: {step} is left out, for {left} at most.", 200
        return f"Not left out: {given.why}.", 403

    async def _take(self, request: Request, what: str, do: Deed) -> Response:
        who = identity_of(request)
        case_id, step = request.path_params["case_id"], request.path_params["step"]
        try:
            fields = await read_form(request)
        except FormRefused as problem:
            text, status = str(problem), 403
            wish = _wish(who, case_id, step, what)
            await asyncio.to_thread(refuse, self.shop, wish, "the form was not made by this login")
        else:
            try:
                text, status = await asyncio.to_thread(do, who, case_id, step, fields)
            except DatabaseAway:
                raise
            except ClawError as problem:  # such as that its version cannot be loaded any more
                text, status = f"Not recorded: {problem}", 422
            self.wake()
        if status != 200 and await asyncio.to_thread(self.shop.ledger.case, case_id) is None:
            await self._enter(request, f"{what} to a case that is not there: {case_id[:100]}", text)
        if "application/json" in request.headers.get("accept", ""):
            said = {"ok": status == 200, "said": text}
            return JSONResponse(said, status, headers={"Cache-Control": "no-store"})
        if status == 200:
            place = f"/claw/checkpoints/{quote(case_id)}/{quote(step)}?recorded"
            return RedirectResponse(place, 303, headers={"Cache-Control": "no-store"})
        return await self._show(request, text, status)

    async def _enter(self, request: Request, what: str, why: str) -> None:
        """Write a refusal down for which there is no journal of a case."""
        person, address = identity_of(request).person, client_of(request.scope)
        await self.blotter.enter(what, why, person=person, address=address)

    # ── holds ───────────────────────────────────────────────────────────────────────────────────────────────

    async def holds(self, request: Request) -> Response:
        """Show what is on hold, and what could be."""
        return await self._holds(request)

    async def _holds(self, request: Request, problem: str = "", status: int = 200) -> Response:
        who = identity_of(request)
        actions = sorted({step.action for one in self.shop.systems.values() for step in one.execution})
        return await self.pages.page(
            request,
            lambda: ("holds.html", {
                "holds": self.shop.ledger.holds(), "systems": sorted(self.shop.systems), "actions": actions,
                "problem": problem,
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
            change = holds.release if fields.get("do") == "release" else holds.place
            await asyncio.to_thread(lambda: change(self.shop, scope, by=who.person, reason=reason))
        except FormRefused as problem:
            await self._enter(request, "change a hold", str(problem))
            return await self._holds(request, str(problem), 403)
        except ClawError as problem:
            return await self._holds(request, str(problem), 422)
        self.wake()
        return RedirectResponse("/claw/holds", 303, headers={"Cache-Control": "no-store"})


def _recorded(case: Case, gate: GateFact, step: str, who: Identity) -> str:
    """Return what is said to somebody who has just answered; nothing to somebody who has not."""
    skip = case.facts.skips.get(step)
    if skip is not None and skip.by == who.person:
        return f"Recorded: {step} is left out."
    if who.person not in {one["person"] for one in gate.answers}:
        return ""
    if gate.open:
        return _missing(gate.missing)
    return f"Recorded: {gate.state}."


def _missing(people: int) -> str:
    return f"Recorded. {people} more {'person has' if people == 1 else 'people have'} to answer."


def _wish(who: Identity, case_id: str, step: str, verdict: Any) -> Answer:
    """Return what somebody tried, for the journal that keeps that it was refused."""
    return Answer(case_id, step, "", who.person, verdict, _channel(who))


def _channel(who: Identity) -> str:
    return "api" if who.how == "token" else "page"
