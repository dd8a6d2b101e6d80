"""Requests in Slack: one message each, with what is needed to answer, kept current until nobody waits."""

from __future__ import annotations

from typing import Any

from runtime.kit import case, drain, pump, write_environment

from openclaw_dagster.runtime.clearance import Answer, Outcome, answer
from openclaw_dagster.runtime.operations import cancel
from openclaw_dagster.runtime.outbox import Sender

from .conftest import Open
from .workspace import ESCALATE, HOLD, Office, Slack, buttons, words

MINUTE = 60_000


def say(office: Office, one: str, person: str, verdict: Any = "approve", **more: Any) -> Outcome:
    digest = case(office.shop, one).facts.gates["refund"].digest
    given = {"form": {"reason": "lost"}, "reason": "seen", "channel": "page", **more}
    return answer(office.shop, Answer(one, "refund", digest, person, verdict, **given))


def test_a_request_is_posted_with_what_is_needed_to_answer(office: Office, slack: Slack) -> None:
    one = office.refund(asked_by="agent_1")
    office.tell()
    for channel in ("finance", "leads"):
        (message,) = slack.messages(channel)
        said = words(message["blocks"])
        assert "Approval wanted: refund" in said
        assert "dispatch · A-1" in said
        assert "erp.refund" in said
        assert '"amount": 80' in said
        assert "finance or ops_lead, 2 different people; never who asked for it" in said
        assert "2023-11-15 00:13 UTC (2 h 0 min left; then it is denied)" in said
        assert set(buttons(message)) == {"approve", "deny", "open"}
        assert buttons(message)["open"]["url"].endswith(f"/claw/checkpoints/{one}/refund")
    assert office.tell() == 0


def test_it_is_kept_current_and_locked_once_answered(office: Office, slack: Slack) -> None:
    one = office.refund()
    office.tell()
    say(office, one, "fin_1")
    office.tell()
    (message,) = slack.messages("finance")
    assert "fin_1 said yes; 1 more to go" in words(message["blocks"])
    assert "approve" in buttons(message)
    say(office, one, "lead_1")
    office.tell()
    for channel in ("finance", "leads"):
        (message,) = slack.messages(channel)
        assert "Approved by fin_1 and lead_1." in words(message["blocks"])
        assert not buttons(message)


def test_whatever_ends_a_request_takes_its_buttons_away(
    offices: Open, slack: Slack, database_url: str
) -> None:
    office = offices(database_url, slack)
    denied, cancelled, late = (office.refund(name) for name in ("A-1", "A-2", "A-3"))
    office.tell()
    assert sum(len(buttons(one)) > 0 for one in slack.messages("finance")) == 3
    say(office, denied, "fin_1", "deny", reason="not <this> one & that")
    cancel(office.shop, cancelled, by="ann", reason="not wanted")
    drain(office.shop, until=lambda: case(office.shop, late).ended)
    office.tell()
    said = {words(one["blocks"]).splitlines()[0]: words(one["blocks"]) for one in slack.messages("leads")}
    messages = slack.messages("finance")
    assert not any(buttons(one) for one in messages)
    every = "\n".join(words(one["blocks"]) for one in messages)
    assert "Denied by fin_1: not <this> one & that" in every
    assert "The case was cancelled by ann: not wanted." in every
    assert "Nobody answered in time, so it is not done." in every
    assert "Handed to ops_lead: refund" in said


def test_what_changed_is_asked_in_a_new_message_and_the_old_one_is_void(office: Office, slack: Slack) -> None:
    one = office.refund()
    office.tell()
    environment = office.file.read_text()
    office.file.write_text(environment.replace("{limit: 80}", "{limit: 95}"))
    office.shop = office.open()
    office.clock.at += 15 * MINUTE
    pump(office.shop)
    assert case(office.shop, one).facts.gates["refund"].request == 2
    office.tell()
    old, new = slack.messages("finance")
    assert not buttons(old)
    assert "no answer to this counts" in words(old["blocks"])
    assert "args.amount: 80 → 95" in words(new["blocks"])
    assert "approve" in buttons(new)
    assert buttons(new)["approve"]["value"] != environment


def test_reminders_stand_below_the_request(offices: Open, slack: Slack, database_url: str) -> None:
    office = offices(database_url, slack, HOLD)
    one = office.refund()
    office.tell()

    def reminded(times: int) -> None:
        drain(office.shop, until=lambda: case(office.shop, one).facts.gates["refund"].reminded == times)

    reminded(1)
    office.tell()
    reminded(2)
    office.tell()
    (message,) = slack.messages("finance")
    said = [words(reply["blocks"]).splitlines()[0] for reply in slack.thread("finance", message["ts"])]
    assert said == [
        "refund still waits for an answer, asked 15 min 0 s ago",
        "refund still waits for an answer, asked 30 min 0 s ago",
    ]
    assert "approve" in buttons(message)
    reminded(5)
    office.tell()
    assert len(slack.thread("finance", message["ts"])) == 3, (
        "reminders that could not be said are one reminder"
    )


def test_an_escalation_asks_others_and_tells_who_was_asked(
    offices: Open, slack: Slack, database_url: str
) -> None:
    office = offices(database_url, slack, ESCALATE)
    one = office.refund()
    office.tell()
    assert not slack.messages("agents")
    drain(office.shop, until=lambda: case(office.shop, one).facts.gates["refund"].escalated)
    office.tell()
    (first,), (new,) = slack.messages("finance"), slack.messages("agents")
    assert "others are asked too" in words(first["blocks"])
    assert any(
        "ops_agent may answer too" in words(reply["blocks"]) for reply in slack.thread("finance", first["ts"])
    )
    assert "approve" in buttons(new)
    say(office, one, "agent_1")
    say(office, one, "fin_2")
    office.tell()
    assert not any(buttons(slack.messages(name)[0]) for name in ("finance", "agents", "leads"))


def test_nothing_is_said_of_what_is_over_before_anybody_was_told(office: Office, slack: Slack) -> None:
    one = office.refund()
    cancel(office.shop, one, by="ann", reason="not wanted")
    office.tell()
    assert not slack.messages("finance")
    assert {notice.state for notice in office.outbox.of_case(one)} == {"moot"}


def test_without_a_channel_requests_are_nowhere_until_there_is_one(
    offices: Open, slack: Slack, database_url: str
) -> None:
    office = offices(database_url, slack)
    before = office.file.read_text()
    write_environment(office.folder, constants="{limit: 80}")
    office.shop = office.open()
    one = office.refund()
    office.tell()
    assert {notice.state for notice in office.outbox.of_case(one)} == {"nowhere"}
    assert office.outbox.stuck() == []
    office.file.write_text(before)
    office.shop = office.open()
    Sender(office.shop).begin()
    office.tell()
    assert len(slack.messages("finance")) == 1


def test_a_member_and_an_id_are_places_too(offices: Open, slack: Slack, database_url: str) -> None:
    office = offices(database_url, slack)
    text = office.file.read_text()
    member, channel = slack.members["fin_1"], slack.channels["agents"]
    text = text.replace("slack://finance", f"slack://{member}").replace("slack://leads", f"slack://{channel}")
    office.file.write_text(text)
    office.shop = office.open()
    one = office.refund()
    office.tell()
    assert len(slack.messages("agents")) == 1
    assert {notice.state for notice in office.outbox.of_case(one)} == {"shown"}
