"""`/claw/slack/interactivity`: clicks of people in Slack, verified, judged like every answer, said back to them alone."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from openclaw_dagster.adapters.slack import Self, Slack
from openclaw_dagster.adapters.slack_blocks import FIELD, REASON, filled_in, form
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.clearance import Answer, Refused, answer, refusal
from openclaw_dagster.runtime.notify import page, questions, request, story_of
from openclaw_dagster.runtime.people import member_of
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import NoSecret
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.body import BodyRefused
from openclaw_dagster.web.inlet import read_body
from openclaw_dagster.web.limits import RateLimit
from openclaw_dagster.web.signatures import TOLERANCE, SignatureRefused, verify
from openclaw_dagster.web.slack_clicks import Click, read_click

log = logging.getLogger(__name__)

#: Where Slack sends clicks; an app is set up with it.
PATH = "/claw/slack/interactivity"
#: Seconds after which a form is closed although its answer is still being written; Slack gives up at three.
PATIENCE = 2.4
#: How many bodies are remembered that came lately, so that none counts twice.
MOST_SEEN = 10_000
AWAY = "the ledger is away, so nothing was decided: try again in a moment"
UNCERTAIN = "Slack cannot be asked which workspace is ours, so nothing was decided: try again in a moment"


class SlackDoor:
    """The door for what people click in Slack."""

    def __init__(self, shop: Workspace, on_answered: Callable[[], None], blotter: Blotter) -> None:
        self.shop = shop
        self.on_answered = on_answered
        self.blotter = blotter
        self.limit = RateLimit(shop.clock)
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._late: set[asyncio.Task[str | None]] = set()

    async def __call__(self, request: Request) -> Response:
        """Answer one click within Slack's three seconds; whatever it holds, the answer is never a 5xx."""
        slack = self.shop.ways.slack
        if slack is None:
            return _said(404, "this environment has no channel slack")
        if request.method != "POST":
            return _said(405, "clicks are posted", {"Allow": "POST"})
        address = request.client.host if request.client else "unknown"
        wait = self.limit.take(address, "slack")
        if wait is not None:
            return _said(429, "too many clicks at once from this sender", {"Retry-After": str(wait)})
        try:
            body = await read_body(request)
            headers = {name.lower(): value for name, value in request.headers.items()}
            self._verify(headers, body)
            click = read_click(body, headers.get("content-type"))
        except SignatureRefused as refused:
            log.warning("a click in Slack is refused: %s", refused)
            await self.blotter.enter("a click in Slack", str(refused), address=address)
            return _said(401, str(refused))
        except BodyRefused as refused:
            return _said(int(refused.status), str(refused))
        except ClientDisconnect:
            return _said(400, "the sender hung up before the body was complete")
        if click is None:
            return Response(status_code=200)
        if click.what == "button":
            return Response(status_code=200, background=BackgroundTask(self._press, slack, click))
        return await self._sent(slack, click)

    def _verify(self, headers: dict[str, str], body: bytes) -> None:
        """Refuse what Slack did not sign, did not sign lately, or has sent before."""
        binding = self.shop.environment.channels.slack
        assert binding is not None
        try:
            secrets = self.shop.secret(binding.signing_secret).split()
        except NoSecret as missing:
            raise SignatureRefused(scheme="slack", reason="the secret is not set any more") from missing
        now = self.shop.clock.now()
        verify("slack", secrets, headers, body, now)
        signature = headers["x-slack-signature"].lower()
        while self._seen and (
            len(self._seen) >= MOST_SEEN or next(iter(self._seen.values())) < now - 2 * TOLERANCE
        ):
            self._seen.popitem(last=False)
        if signature in self._seen:
            raise SignatureRefused(scheme="slack", reason="this very click came before")
        self._seen[signature] = now

    # ── a button ────────────────────────────────────────────────────────────────────────────────────────────

    async def _press(self, slack: Slack, click: Click) -> None:
        """Do what a button asks for, and tell whoever pressed it, alone, when it cannot be done."""
        why = await asyncio.to_thread(self._judged, self._pressed, slack, click)
        if why is not None:
            await asyncio.to_thread(self._whisper, slack, click, why)
            await self._enter(click, why)

    def _judged(self, judge: Callable[[Slack, Click], str | None], slack: Slack, click: Click) -> str | None:
        """Return why a click does not count, whatever came between; None when it does."""
        try:
            return judge(slack, click)
        except DatabaseAway:
            return AWAY
        except Exception:
            log.exception("a click in Slack could not be judged")
            return "a mistake of this software: answer on the page instead"

    async def _enter(self, click: Click, why: str) -> None:
        """Write a refusal down for which there is no journal of a case."""
        with suppress(DatabaseAway):
            if await asyncio.to_thread(self.shop.ledger.case, click.ticket.case) is None:
                what = f"an answer to a case that is not there: {click.ticket.case[:100]}"
                await self.blotter.enter(what, why, person=f"slack:{click.team}/{click.member}"[:100])

    def _pressed(self, slack: Slack, click: Click) -> str | None:
        given = self._given(slack, click)
        if given is None:
            return UNCERTAIN
        case = self.shop.ledger.case(given.case_id)
        asked = questions(self.shop, case, given.step) if case else ()
        if click.verdict != "deny" and not asked:
            return self._answer(given)
        # a form is opened only for somebody whose answer would count; an empty one never counts by itself
        gate = case.facts.gates.get(given.step) if case else None
        judged = replace(given, verdict="deny", reason="?")
        if case is None or refusal(self.shop, case, gate, judged) is not None:
            return self._answer(given)
        story = story_of(self.shop.ledger.journal(case.id), given.step, click.ticket.request)
        if story is None:
            return "the journal does not tell this request any more"
        message = self.shop.ways.quiet(request(self.shop, case, given.step, story))
        trouble = slack.show_form(click.trigger, form(click.verdict, message, click.ticket.text()))
        if trouble is None:
            return None
        return f"the form could not be opened; answer at {page(self.shop, case.id, given.step)}"

    # ── a form ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _sent(self, slack: Slack, click: Click) -> Response:
        """Judge a form; what is wrong is said in the form itself."""
        task = asyncio.create_task(asyncio.to_thread(self._judged, self._filled_in, slack, click))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done:  # it is written all the same, and what is wrong is said in the channel
            self._late.add(task)
            task.add_done_callback(lambda late: self._came_late(slack, click, late))
            return Response(status_code=200)
        why = task.result()
        if why is None:
            return Response(status_code=200)
        await self._enter(click, why)
        return JSONResponse({"response_action": "errors", "errors": {_block(click, why): why}})

    def _came_late(self, slack: Slack, click: Click, task: asyncio.Task[str | None]) -> None:
        self._late.discard(task)
        if (why := task.result()) is not None:
            asyncio.get_running_loop().run_in_executor(None, self._whisper, slack, click, why)

    def _filled_in(self, slack: Slack, click: Click) -> str | None:
        given = self._given(slack, click)
        if given is None:
            return UNCERTAIN
        case = self.shop.ledger.case(given.case_id)
        asked = questions(self.shop, case, given.step) if case and click.verdict != "deny" else ()
        reason, fields = filled_in(click.values or {}, asked)
        return self._answer(replace(given, reason=reason, form=fields))

    # ── both ────────────────────────────────────────────────────────────────────────────────────────────────

    def _given(self, slack: Slack, click: Click) -> Answer | None:
        """Return the answer of a click; None while it cannot be told whose workspace it comes from."""
        binding = self.shop.environment.channels.slack
        ours = binding.team if binding else None
        if ours is None:
            who = slack.whoami()
            if not isinstance(who, Self) or not who.team:
                return None
            ours = who.team
        person = member_of(self.shop.environment, click.team, click.member, ours)
        ticket = click.ticket
        return Answer(
            ticket.case, ticket.step, ticket.digest, person, click.verdict, "slack", request=ticket.request
        )

    def _answer(self, given: Answer) -> str | None:
        """Hand an answer to the one function that judges; return why it does not count, or None when it does."""
        try:
            outcome = answer(self.shop, given)
        except DatabaseAway:
            raise
        except ClawError as problem:  # such as that its version cannot be loaded any more
            return str(problem)
        if isinstance(outcome, Refused):
            return outcome.why
        self.on_answered()
        return None

    @staticmethod
    def _whisper(slack: Slack, click: Click, why: str) -> None:
        if not click.channel or not click.member:
            return
        text = f"Your answer does not count: {why}."
        if (trouble := slack.whisper(click.channel, click.member, text)) is not None:
            log.warning("a refusal could not be said: %s", trouble.reason)


def _block(click: Click, why: str) -> str:
    """Return the field of a form that a refusal stands at: the one it names, or the first."""
    blocks = list(click.values or {}) or [REASON]
    named = FIELD + why.partition(":")[0]
    return named if named in blocks else blocks[0]


def _said(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return JSONResponse({"error": why}, status, headers={**safe, **(headers or {})})
