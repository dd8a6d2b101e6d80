"""Whatever a payload contains reaches people literally: no mention, no link, no markup, no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from slack_sdk.models.blocks import Block

from openclaw_dagster.adapters.channel import Message, Question
from openclaw_dagster.adapters.slack_blocks import blocks, escape, fallback, form

from .conftest import Open
from .workspace import TOKEN, Slack, words

NASTY = [
    "<!channel> <!here> <@U000LEAD1> @channel @everyone",
    "<https://example.org|Approve> & <mailto:x@example.org> https://example.org",
    "*bold* _it_ ~no~ `code` ```fence``` :boom: > quote\n• item",
    "</pre><script>alert(1)</script>\r\nBcc: someone@example.org",
    "\u202e08 \u2066evil\u2069\x07\x00",
    "x" * 50_000,
    "ünï 😀 \ud83d",
]


def message(text: str) -> Message:
    return Message(
        title=f"Approval wanted: {text}", about=text, link="http://127.0.0.1/claw", standing=text,
        lines=(("Will run", text), ("Empty", "")), texts=(("With", text), ("Empty", "")), verdicts=("approve", "deny"),
        ticket=json.dumps({"case": "c"}), questions=(Question("why", ("a", text)), Question("more", longest=4_000)),
    )  # fmt: skip


def check(block: dict[str, Any]) -> None:
    """Nothing of a block is text in which Slack reads markup, and it is as long as Slack takes at most."""
    assert "mrkdwn" not in json.dumps(block)
    parsed = Block.parse(block)
    assert parsed is not None
    parsed.validate_json()


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_blocks_have_no_place_for_markup(text: str) -> None:
    made = [*blocks(message(text)), *form("approve", message(text), "{}")["blocks"]]
    made += form("deny", message(text), "{}")["blocks"]
    for block in made:
        check(block)
    json.dumps(made, ensure_ascii=False).encode()
    assert len(made) < 50
    for unseen in "\u202e\u2066\x07\x00":
        assert unseen not in words(made)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_what_stands_in_a_notification_is_escaped(text: str) -> None:
    said = fallback(message(text))
    assert "<" not in said
    assert ">" not in said
    assert len(said.encode()) < 4_000
    assert escape("a < b & c > d") == "a &lt; b &amp; c &gt; d"


def test_a_payload_stands_in_slack_as_it_came(offices: Open, slack: Slack, database_url: str) -> None:
    office = offices(database_url, slack)
    name = "A-1 <!channel> *now* & <https://example.org|here>"
    office.refund(name)
    office.refund(f"A-2 {TOKEN}")
    office.tell()
    second, first = sorted(slack.messages("finance"), key=lambda one: name in words(one["blocks"]))
    assert f"dispatch · {name}" in words(first["blocks"])
    assert "<" not in first["text"]
    assert (first["mrkdwn"], first["link_names"], first["parse"], first["unfurl_links"]) == (
        False,
        False,
        "none",
        False,
    )
    assert TOKEN not in json.dumps(second)
    assert "[secret]" in words(second["blocks"])
