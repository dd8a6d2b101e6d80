"""The whole host: an event, a run, a message in Slack, a click, and the run goes on; nobody logs in for it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from web import hosted

from .clicks import PATH, Hand
from .faulty import Faulty
from .workspace import SIGNING, TOKEN, Slack, buttons, channels_of, words

ORDER = {
    "ticket": {"id": "T-1", "taken_by": "care_9", "text": "late"},
    "order": {"id": "O-1", "customer": "C-1", "value": 50},
}


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something is there, and return it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.1)
    return found


def environment(slack: Slack, url: str) -> str:
    care = slack.members["fin_1"]
    return (
        f"people:\n  care_1: {{email: care_1@example.org, slack: {care}, name: Customer care}}\n"
        "  care_9: {email: care_9@example.org}\n  ada: {email: ada@example.org}\n"
        "roles:\n  care_agent: {people: [care_1], notify: 'slack://finance'}\n"
        + "".join(
            f"  {role}: {{people: [care_1, ada]}}\n"
            for role in (
                "ops_agent",
                "ops_lead",
                "ops_head",
                "finance",
                "stock_agent",
                "stock_lead",
                "buyer",
                "care_lead",
            )
        )
        + "login: {local: true}\naccess: {admin: {people: [ada]}}\n"
        + channels_of(url)
    )


def test_a_message_is_answered_in_slack_and_the_run_goes_on(tmp_path: Path, slack: Slack) -> None:
    faulty = Faulty(slack.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SLACK_TOKEN", TOKEN)
        patch.setenv("TEST_SLACK_SIGNING", SIGNING)
        patch.setattr(hosted, "copy_sample", lambda specs: shutil.copytree(hosted.ROOT / "claw_specs", specs))
        host = hosted.Hosted(tmp_path, patch, environment(slack, faulty.url))
        try:
            clock = SimpleNamespace()
            office: Any = SimpleNamespace(clock=clock, faulty=faulty)
            hand = Hand(office, slack, host.port)
            answer = host.browser().send(
                "POST",
                "/hooks/customer_escalation/complaint",
                json.dumps(ORDER).encode(),
                {"Content-Type": "application/json"},
            )
            assert answer.status == 202, answer.text
            one = answer.json["case"]
            (message,) = until(lambda: slack.messages("finance"))
            assert "Acknowledgement wanted: call_customer" in words(message["blocks"])
            clock.at = host.clock.now()
            forged = hand.post(hand.pressed("fin_1", "acknowledge", message), secret="f" * 32)
            assert forged[0] == 401
            assert host.browser().get(PATH).status == 405
            clock.at = host.clock.now()
            pressed = hand.press("fin_1", "acknowledge", message, trigger=hand.trigger("fin_1"))
            assert pressed == 200
            until(lambda: faulty.said("views.open"), 10)
            clock.at = host.clock.now()
            assert hand.fill_in("fin_1", hand.view(), spoke_to="the customer") == (200, None)
            until(lambda: host.shop.ledger.case(one).state == "completed")
            until(lambda: not buttons(slack.messages("finance")[0]), 10)
            (after,) = slack.messages("finance")
            assert "Acknowledged by Customer care." in words(after["blocks"])
        finally:
            host.close()
            faulty.close()
