"""The host's door for Slack, and clicks as Slack sends them, signed by Slack's own library."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import uvicorn
from slack_sdk.signature import SignatureVerifier
from starlette.applications import Starlette

from openclaw_dagster.web.host import own_routes

from .workspace import SIGNING, Office, Slack, buttons

PATH = "/claw/slack/interactivity"


class Hand:
    """Presses buttons and sends forms, as a member of a workspace."""

    def __init__(self, office: Office, slack: Slack, port: int) -> None:
        self.office, self.slack, self.port = office, slack, port

    def press(self, person: str, verdict: str, message: dict[str, Any], **more: Any) -> int:
        """Press a button of a message, as Slack tells it."""
        return self.post(self.pressed(person, verdict, message, **more))[0]

    def pressed(
        self, person: str, verdict: str, message: dict[str, Any], *, channel: str = "finance", value: str | None = None,
        team: str | None = None, member: str | None = None, trigger: str = "1.2.ab",
    ) -> dict[str, Any]:  # fmt: skip
        team = team or self.slack.team
        user = {"id": member or self.slack.members[person], "username": person, "team_id": team}
        button = {**buttons(message)[verdict], "action_ts": "1.2"}
        if value is not None:
            button["value"] = value
        return {
            "type": "block_actions", "user": user, "api_app_id": "A000CLAW1", "team": {"id": team, "domain": "x"},
            "container": {"type": "message", "message_ts": message["ts"], "channel_id": self.slack.channels[channel]},
            "channel": {"id": self.slack.channels[channel], "name": channel}, "message": message,
            "trigger_id": trigger, "response_url": "https://hooks.slack.example/actions", "actions": [button],
        }  # fmt: skip

    def trigger(self, person: str) -> str:
        """Return what a click is good for opening a form with, within three seconds."""
        found: str = self.slack.call("views.generateTriggerId", user_id=self.slack.members[person])[
            "trigger_id"
        ]
        return found

    def fill_in(self, person: str, view: dict[str, Any], **fields: str) -> tuple[int, Any]:
        """Send a form; a choice is said by its words."""
        values: dict[str, Any] = {}
        for block in view["blocks"]:
            if block["type"] != "input":
                continue
            name = block["block_id"].partition(":")[2] or "reason"
            element, said = block["element"], fields.get(name, "")
            field: dict[str, Any] = {"type": element["type"], "value": said or None}
            if element["type"] == "static_select":
                chosen = [one for one in element["options"] if one["text"]["text"] == said]
                field = {"type": element["type"], "selected_option": chosen[0] if chosen else None}
            values[block["block_id"]] = {"said": field}
        said_view = {**view, "id": "V1", "state": {"values": values}}
        team = self.slack.team
        user = {"id": self.slack.members[person], "team_id": team}
        return self.post({"type": "view_submission", "team": {"id": team}, "user": user, "view": said_view})

    def post(
        self, payload: Any, *, secret: str = SIGNING, at: int | None = None, body: bytes | None = None,
        headers: dict[str, str] | None = None, method: str = "POST",
    ) -> tuple[int, Any]:  # fmt: skip
        sent = urlencode({"payload": json.dumps(payload)}).encode() if body is None else body
        stamp = str((self.office.clock.at if at is None else at) // 1000)
        signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=sent)
        said = {
            "Content-Type": "application/x-www-form-urlencoded", "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": str(signature), **(headers or {}),
        }  # fmt: skip
        line = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request(method, PATH, sent, {name: value for name, value in said.items() if value})
            answer = line.getresponse()
            text = answer.read()
        finally:
            line.close()
        return answer.status, json.loads(text) if text else None

    def whispers(self) -> list[tuple[str, str]]:
        """Return who was told something alone, and what."""
        assert self.office.faulty is not None
        names = {member: name for name, member in self.slack.members.items()}
        return [(names[one["user"]], one["text"]) for one in self.office.faulty.said("chat.postEphemeral")]

    def view(self) -> dict[str, Any]:
        """Return the form that was opened last."""
        assert self.office.faulty is not None
        found: dict[str, Any] = json.loads(self.office.faulty.said("views.open")[-1]["view"])
        return found


def soon(true: Callable[[], object]) -> None:
    """Wait until something is so: clicks are answered first and judged then."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


@contextmanager
def served(office: Office, slack: Slack) -> Iterator[Hand]:
    """Serve the host's own routes on a port."""
    office.woken = 0

    def wake() -> None:
        office.woken += 1

    listening = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=own_routes(office.shop, wake))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Hand(office, slack, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
