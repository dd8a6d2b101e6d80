"""Slack's Web API: messages posted, found again, changed; forms opened; words for one person only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, assert_never
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from openclaw_dagster.adapters.answer import Answer, retry_after
from openclaw_dagster.adapters.channel import Gone, Message, Sent, Trouble
from openclaw_dagster.adapters.exchange import Line, Missing, no_answer, read_base
from openclaw_dagster.adapters.guard import Resolver, system_resolver
from openclaw_dagster.adapters.limits import NotJson, parse_json
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown, unclear
from openclaw_dagster.adapters.request import AGENT, Request
from openclaw_dagster.adapters.secrets import NoSecret, Secrets
from openclaw_dagster.adapters.slack_blocks import blocks, escape, fallback
from openclaw_dagster.adapters.wire import Attempt
from openclaw_dagster.clock import SECOND, Clock
from openclaw_dagster.spec.channels import SlackChannel

API = "https://slack.com/api"
#: What a message of ours is marked with, beside its key.
EVENT = "openclaw_notice"
#: How far Slack's clock may be from ours (ms), when a message is looked for by its time.
SKEW = 300 * SECOND
#: How many pages of a list are read at most, and how long each is.
PAGES, PAGE = 10, 200
#: How long (ms) it is left alone that asks for it without saying how long.
A_WHILE = 30 * SECOND

#: Errors after which the call may have taken place all the same, or may work a moment later.
_MAYBE = frozenset(
    {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}
)
_HUSH = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_ID = re.compile(r"[CGD][A-Z0-9]{6,30}\Z")
_MEMBER = re.compile(r"[UW][A-Z0-9]{6,30}\Z")

JSON = dict[str, Any]


@dataclass(frozen=True)
class Self:
    """Who we are there."""

    team: str
    user: str


class Slack:
    """One app in one workspace. Retries are not made here: the ledger decides whether and when."""

    keeps = True

    def __init__(
        self, binding: SlackChannel, secrets: Secrets, clock: Clock, *, seconds: float = 10.0,
        resolver: Resolver = system_resolver,
    ) -> None:  # fmt: skip
        self.seconds = seconds
        self._binding = binding
        self._secrets = secrets
        self._clock = clock
        base, problem = read_base(binding.url or API)
        assert base is not None, problem
        self._base = base
        # a kept connection may be closed while a message is on its way, and then nobody knows whether it arrived
        self._line = Line(resolver, binding.url is not None, keep=0)
        self._known: dict[str, str] = {}
        self._self: Self | None = None
        self._lock = Lock()

    # ── what a channel does ─────────────────────────────────────────────────────────────────────────────────

    def post(self, place: str, key: str, message: Message, below: Sent | None) -> Sent | Trouble:
        """Post a message; Slack is told an id for it, by which it may refuse the same one again."""
        where = below.channel if below else self._conversation(place)
        if not isinstance(where, str):
            return where
        said = {
            **_content(message, key), "channel": where, "client_msg_id": str(uuid5(NAMESPACE_URL, key)),
            "unfurl_links": False, "unfurl_media": False, "link_names": False, "mrkdwn": False, "parse": "none",
            **({"thread_ts": below.message} if below else {}),
        }  # fmt: skip
        answer = self._call("chat.postMessage", said, write=True)
        if not isinstance(answer, dict):
            return answer
        sent = Sent(str(answer.get("channel") or where), str(answer.get("ts") or ""))
        return (
            sent
            if sent.message
            else Unknown("chat.postMessage: the answer does not say where the message is")
        )

    def find(self, place: str, key: str, since: int, below: Sent | None) -> list[Sent] | Trouble:
        """Return our messages with a key, oldest first."""
        where = below.channel if below else self._conversation(place)
        if not isinstance(where, str):
            return where
        who = self.whoami()
        if not isinstance(who, Self):
            return who
        asked = {
            "channel": where,
            "oldest": f"{max(0, since - SKEW) / SECOND:.6f}",
            "include_all_metadata": True,
        }
        method = "conversations.history"
        if below is not None:
            asked, method = {**asked, "ts": below.message}, "conversations.replies"
        found = []
        for page in self._pages(method, asked):
            if not isinstance(page, dict):
                return page
            ours = (one for one in page.get("messages", ()) if isinstance(one, dict) and _key(one) == key)
            found += [Sent(where, str(one["ts"])) for one in ours if one.get("user") == who.user]
        return sorted(found, key=lambda one: one.message)

    def change(self, sent: Sent, key: str, message: Message) -> Sent | Gone | Trouble:
        """Let a message say something else."""
        said = {**_content(message, key), "channel": sent.channel, "ts": sent.message}
        answer = self._call("chat.update", {**said, "link_names": False, "parse": "none"}, write=False)
        if isinstance(answer, Refused) and answer.reason.endswith(": message_not_found"):
            return Gone()
        return sent if isinstance(answer, dict) else answer

    def remove(self, sent: Sent) -> Trouble | None:
        """Take a message away."""
        answer = self._call("chat.delete", {"channel": sent.channel, "ts": sent.message}, write=False)
        return None if isinstance(answer, dict) else answer

    # ── what goes with a click ──────────────────────────────────────────────────────────────────────────────

    def whisper(self, channel: str, member: str, text: str) -> Trouble | None:
        """Say something in a channel that one member sees and nobody else."""
        said = {"channel": channel, "user": member, "text": escape(text), "mrkdwn": False, "parse": "none"}
        answer = self._call("chat.postEphemeral", said, write=True)
        return None if isinstance(answer, dict) else answer

    def show_form(self, trigger: str, view: Mapping[str, Any]) -> Trouble | None:
        """Open a form for whoever clicked, within the three seconds a click is good for."""
        answer = self._call("views.open", {"trigger_id": trigger, "view": dict(view)}, write=True)
        return None if isinstance(answer, dict) else answer

    def whoami(self) -> Self | Trouble:
        """Return the workspace that the token belongs to, and our own member id; asked once."""
        if self._self is None:
            answer = self._call("auth.test", {}, write=False)
            if not isinstance(answer, dict):
                return answer
            self._self = Self(str(answer.get("team_id") or ""), str(answer.get("user_id") or ""))
        return self._self

    def close(self) -> None:
        """Give back connections."""
        self._line.close()

    # ── the wire ────────────────────────────────────────────────────────────────────────────────────────────

    def _conversation(self, place: str) -> str | Trouble:
        """Return the id of a conversation by the name of its channel, the id of a member, or its own id."""
        name = place.partition("://")[2]
        if _ID.match(name):
            return name
        with self._lock:
            if name in self._known:
                return self._known[name]
        if _MEMBER.match(name):
            answer = self._call("conversations.open", {"users": name}, write=False)
            if not isinstance(answer, dict):
                return answer
            return self._know(name, answer.get("channel", {}).get("id"))
        asked = {"types": "public_channel,private_channel", "exclude_archived": True}
        for page in self._pages("conversations.list", asked):
            if not isinstance(page, dict):
                return page
            for one in page.get("channels", ()):
                if isinstance(one, dict) and one.get("name") == name:
                    return self._know(name, one.get("id"))
        return Refused(
            f"there is no channel {name} that the app can see: invite it there, or name the channel's id"
        )

    def _know(self, name: str, found: object) -> str | Trouble:
        if not isinstance(found, str) or not found:
            return Failed(f"Slack does not say where {name} is")
        with self._lock:
            self._known[name] = found
        return found

    def _pages(self, method: str, asked: Mapping[str, Any]) -> Iterator[JSON | Trouble]:
        cursor = ""
        for _ in range(PAGES):
            more = {"cursor": cursor} if cursor else {}
            page = self._call(method, {**asked, "limit": PAGE, **more}, write=False)
            yield page
            if not isinstance(page, dict):
                return
            cursor = str((page.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                return
        yield Failed(f"{method}: it goes on for more than {PAGES} pages")

    def _call(self, method: str, args: Mapping[str, Any], *, write: bool) -> JSON | Trouble:
        """Return what Slack answers; a `write` is one that must not be made twice."""
        try:
            token = self._secrets.value(self._binding.token)
        except NoSecret as error:
            return Failed(str(error))
        fields = {name: _field(value) for name, value in args.items()}
        headers = {
            "Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Encoding": "identity",
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": AGENT,
        }  # fmt: skip
        request = Request("POST", f"/{method}", headers, urlencode(fields).encode())
        attempt = Attempt(self.seconds)
        effect = "write" if write else "read"
        answer = self._line.exchange(self._base, request, attempt)
        if isinstance(answer, Answer):
            outcome: Outcome = _read(method, answer, effect, self._clock.now())
        else:
            about = Missing(method, self._base.host.decode("ascii"), effect, int(self.seconds * 1000))
            outcome = no_answer(about, answer, attempt)
        outcome = self._secrets.scrub_outcome(outcome)
        match outcome:
            case Answered(result):
                assert isinstance(result, dict)
                return result
            case Absent():
                return Refused(f"{method}: nothing came back")
            case Refused() | Failed() | Unknown():
                return outcome
            case _:
                assert_never(outcome)


def _read(method: str, answer: Answer, effect: str, now: int) -> Answered | Failed | Refused | Unknown:
    """Return what an answer means; Slack says most of it in the body, under status 200."""
    status = answer.status
    if status == 429:
        wait = retry_after(answer.header(b"retry-after"), now)
        return Failed(f"{method}: asked to wait", A_WHILE if wait is None else wait)
    if status >= 500:
        return unclear(effect, f"{method}: status {status}")
    if status != 200:
        return Refused(f"{method}: status {status}")
    try:
        said = parse_json(answer.body) if answer.body is not None else None
    except NotJson as error:
        return unclear(effect, f"{method}: the answer cannot be used: {error}")
    if not isinstance(said, dict):
        return unclear(effect, f"{method}: the answer is too large or no object")
    if said.get("ok") is True:
        return Answered(said)
    why = str(said.get("error") or "no reason")[:100]
    if why in _HUSH:
        return Failed(f"{method}: asked to wait", A_WHILE)
    return unclear(effect, f"{method}: {why}") if why in _MAYBE else Refused(f"{method}: {why}")


def _field(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _content(message: Message, key: str) -> JSON:
    metadata = {"event_type": EVENT, "event_payload": {"key": key}}
    return {"text": fallback(message), "blocks": blocks(message), "metadata": metadata}


def _key(message: Mapping[str, Any]) -> str | None:
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT:
        return None
    payload = metadata.get("event_payload")
    return payload.get("key") if isinstance(payload, dict) else None
