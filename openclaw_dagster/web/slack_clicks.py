"""What Slack sends when somebody clicks: the signed body, taken apart before anything is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import parse_qs

from openclaw_dagster.adapters.slack_blocks import PREFIX
from openclaw_dagster.runtime.clearance import Verdict
from openclaw_dagster.web.body import BodyRefused, parse_body

_VERDICTS: Mapping[str, Verdict] = {
    f"{PREFIX}approve": "approve",
    f"{PREFIX}acknowledge": "acknowledge",
    f"{PREFIX}deny": "deny",
}


@dataclass(frozen=True)
class Ticket:
    """Which request a click is about, and what was shown: as we wrote it into the button or the form."""

    case: str
    step: str
    request: int
    digest: str
    channel: str = ""  # where the request stands, for words to whoever filled in its form

    def text(self) -> str:
        """Return it as it goes into a form."""
        return json.dumps({
            "case": self.case, "step": self.step, "request": self.request, "digest": self.digest,
            "channel": self.channel,
        })  # fmt: skip


@dataclass(frozen=True)
class Click:
    """One press of a button, or one form that was sent."""

    what: Literal["button", "form"]
    verdict: Verdict
    team: str
    member: str
    ticket: Ticket
    trigger: str = ""
    values: Mapping[str, Any] | None = None

    @property
    def channel(self) -> str:
        """Where the request stands."""
        return self.ticket.channel


def read_click(body: bytes, content_type: str | None) -> Click | None:
    """Return what was clicked; None for what needs no more than a nod. BodyRefused for what Slack never sends."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BodyRefused(status=415, problem="its content type is not application/x-www-form-urlencoded")
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=4, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise BodyRefused(status=400, problem="it is not a form") from None
    payloads = fields.get("payload", [])
    if len(payloads) != 1:
        raise BodyRefused(status=400, problem="it has no payload")
    said = parse_body(payloads[0].encode("utf-8", "surrogatepass"), "application/json", None)
    match said.get("type"):
        case "block_actions":
            return _button(said)
        case "view_submission":
            return _form(said)
        case _:
            return None


def _button(said: Mapping[str, Any]) -> Click | None:
    actions = said.get("actions")
    action = actions[0] if isinstance(actions, list) and len(actions) == 1 else None
    verdict = _VERDICTS.get(_text(action, "action_id"))
    if verdict is None:
        return None
    channel = _text(said.get("channel"), "id") or _text(said.get("container"), "channel_id")
    ticket = _ticket(_text(action, "value"), channel)
    return Click(
        "button", verdict, _team(said), _text(said.get("user"), "id"), ticket, _text(said, "trigger_id")
    )


def _form(said: Mapping[str, Any]) -> Click | None:
    view = said.get("view")
    verdict = _VERDICTS.get(_text(view, "callback_id"))
    if verdict is None or not isinstance(view, dict):
        return None
    ticket = _ticket(_text(view, "private_metadata"), None)
    state = view.get("state")
    values = state.get("values") if isinstance(state, dict) else None
    found = values if isinstance(values, dict) else {}
    return Click("form", verdict, _team(said), _text(said.get("user"), "id"), ticket, values=found)


def _team(said: Mapping[str, Any]) -> str:
    """Return the workspace of whoever clicked: in a shared channel it is another than that of the channel."""
    team, own = _text(said.get("team"), "id"), _text(said.get("user"), "team_id")
    return own if own and own != team else team


def _ticket(text: str, channel: str | None) -> Ticket:
    try:
        found = json.loads(text)
        ticket = Ticket(
            found["case"], found["step"], found["request"], found["digest"],
            found["channel"] if channel is None else channel,
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BodyRefused(status=400, problem="its button is none of ours") from None
    texts = (ticket.case, ticket.step, ticket.digest, ticket.channel)
    if type(ticket.request) is not int or not all(isinstance(one, str) and len(one) <= 512 for one in texts):
        raise BodyRefused(status=400, problem="its button is none of ours")
    return ticket


def _text(inside: object, name: str) -> str:
    found = cast("Mapping[str, Any]", inside).get(name) if isinstance(inside, Mapping) else None
    return found if isinstance(found, str) else ""
