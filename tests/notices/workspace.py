"""A workspace of Slack with its people and channels, and a project whose environment names it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from runtime import kit
from runtime.test_checkpoints import REFUNDS
from services.emulate import Emulator

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.runtime.outbox import Sender
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.outbox import Outbox

from .faulty import Faulty

TOKEN = "xoxb-not-a-real-token-1"
SIGNING = "0123456789abcdef0123456789abcdef"
PEOPLE = ("fin_1", "fin_2", "lead_1", "stranger")
#: What docs/notices.md says an app needs; the emulator refuses calls that need more.
SCOPES = [
    "chat:write", "channels:read", "channels:history", "groups:read", "groups:history", "im:write", "im:history",
    "im:read",
]  # fmt: skip
ESCALATE = REFUNDS.replace("OVERDUE", "escalate\n        escalate_to: ops_agent")
DENY = REFUNDS.replace("OVERDUE", "deny")
HOLD = REFUNDS.replace("OVERDUE", "hold")
Blocks = list[dict[str, Any]]


class Slack:
    """The emulator, seen by people: members, channels, messages, what only one of them sees."""

    def __init__(self, folder: Path) -> None:
        seed = {
            "users": [{"name": name, "email": f"{name}@example.org"} for name in PEOPLE],
            "channels": [{"name": "finance"}, {"name": "leads"}, {"name": "agents"}],
            "oauth_apps": [{
                "client_id": "1.2", "client_secret": "not-a-secret", "app_id": "A000CLAW1", "name": "claw",
                "redirect_uris": [], "scopes": SCOPES, "bot_id": "B000CLAW1", "bot_user_id": "U000CLAW1",
                "bot_name": "claw",
            }],
            "tokens": [
                {"token": TOKEN, "type": "bot", "user_id": "U000CLAW1", "app_id": "A000CLAW1", "scopes": SCOPES},
                {"token": "xoxp-someone", "user_id": "lead_1", "scopes": [*SCOPES, "users:read", "chat:write"]},
            ],
            "strict_scopes": True,
        }  # fmt: skip
        self.emulator = Emulator("slack", seed, folder)
        self.url = self.emulator.url
        listed = self.call("users.list", token="xoxp-someone")["members"]
        self.members = {one["name"]: one["id"] for one in listed}
        self.channels = {one["name"]: one["id"] for one in self.call("conversations.list")["channels"]}
        self.team = self.call("auth.test")["team_id"]

    def call(self, method: str, /, *, token: str = TOKEN, **args: str) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/{method}", urlencode(args).encode(), {"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = json.load(answer)
        assert said["ok"], said
        return said

    def messages(self, channel: str) -> list[dict[str, Any]]:
        """Return what stands in a channel, oldest first."""
        found: list[dict[str, Any]] = self.call("conversations.history", channel=self.channels[channel])[
            "messages"
        ]
        return sorted(found, key=lambda one: one["ts"])

    def thread(self, channel: str, ts: str) -> list[dict[str, Any]]:
        found = self.call("conversations.replies", channel=self.channels[channel], ts=ts)["messages"]
        return [one for one in found if one["ts"] != ts]

    def close(self) -> None:
        self.emulator.close()


def buttons(message: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the buttons of a message by the end of their id."""
    return {
        one["action_id"].removeprefix("claw_"): one
        for block in message["blocks"] if block["type"] == "actions"
        for one in block["elements"]
    }  # fmt: skip


def words(value: Any) -> str:
    """Return all text of blocks, as a reader sees it."""
    return "\n".join(_words(value))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def channels_of(url: str) -> str:
    return (
        "channels:\n"
        f"  slack: {{token: TEST_SLACK_TOKEN, signing_secret: TEST_SLACK_SIGNING, url: '{url}/api'}}\n"
    )


class Office:
    """A project with waiting refunds, its senders, and Slack behind a server that may go wrong."""

    def __init__(
        self, folder: Path, database: str, slack: Slack | None, text: str = DENY, more: str = ""
    ) -> None:
        self.folder, self.database, self.slack = folder, database, slack
        self.faulty = Faulty(slack.url) if slack else None
        self.clock = VirtualClock(kit.START)
        kit.build(folder, database, text, constants="{limit: 80}", clock=self.clock).close()
        self.file = folder / "specs" / "environments" / "test.yaml"
        channels = channels_of(self.faulty.url) if self.faulty else more
        said = self.file.read_text() + channels
        for name, member in (slack.members if slack else {}).items():
            said = said.replace(
                {"fin_1": "U0000FIN1", "fin_2": "U0000FIN2", "lead_1": "U000LEAD1"}.get(name, "?"), member
            )
        said = said.replace(
            "ops_agent: {people: [agent_1, fin_1]}",
            "ops_agent: {people: [agent_1, fin_1], notify: 'slack://agents'}",
        )
        self.file.write_text(said)
        self.opened: list[Workspace] = []
        self.shop = self.open()
        self.woken = 0

    def open(self) -> Workspace:
        """Open the project as a process of its own would."""
        shop = kit.reopen(self.folder, self.database, clock=self.clock)
        if shop.ways.slack is not None:
            shop.ways.slack.seconds = 1.0
        self.opened.append(shop)
        return shop

    def refund(self, name: str = "A-1", **fields: Any) -> str:
        """Send an order whose refund waits for people."""
        one = kit.order(self.shop, name, **{"value": 50, "asked_by": "somebody", **fields})
        kit.pump(self.shop)
        assert kit.case(self.shop, one).state == "awaiting_human"
        return one

    def tell(self, scheme: str = "slack", *, until: int = 0) -> int:
        """Say what is due, and what becomes due until so many ms later; return how many turns it took."""
        sender, count, begun = Sender(self.shop), 0, self.clock.at
        end = begun + until
        for _ in range(2_000):
            at = sender.next(scheme)
            if at is None or at > end:
                self.clock.at = max(self.clock.at, end)
                return count
            if self.faulty and at > begun + 20_000:
                self.faulty.settle()  # what comes late comes within seconds
            self.clock.at = max(self.clock.at, at)
            count += sender.step(scheme)
        raise AssertionError("it does not come to an end")

    @property
    def outbox(self) -> Outbox:
        return self.shop.outbox

    def close(self) -> None:
        for shop in self.opened:
            shop.close()
        if self.faulty:
            self.faulty.close()
