"""Whatever goes wrong on the way, there is one message for one request in the end, never two."""

from __future__ import annotations

import json
import threading

import pytest

from openclaw_dagster.runtime.operations import cancel
from openclaw_dagster.runtime.outbox import LEASE, LONG, Sender
from openclaw_dagster.store.outbox import MAYBE

from .conftest import Open
from .workspace import Office, Slack, buttons

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000

#: What may become of a call, alone and one after the other.
FAULTS = [
    ("500",), ("hang",), ("drop",), ("late",), ("never",), ("garbage",), ("broken",), ("big",), ("endless",), ("429:7",),
    ("drop", "drop"), ("hang", "drop", "500"), ("late", "never", "429:1", "drop"), ("broken", "late"),
]  # fmt: skip


def once(office: Office, slack: Slack) -> None:
    """Everything settles, and each place has one message with its buttons."""
    assert office.faulty is not None
    for _ in range(3):
        office.tell(until=HOUR)
        office.faulty.settle()
    for channel in ("finance", "leads"):
        (message,) = slack.messages(channel)
        assert "approve" in buttons(message)
    every = office.outbox.of_case(office.shop.ledger.find(limit=1)[0].id)
    assert {(one.state, one.due_at, one.shows == one.wants) for one in every} == {("shown", None, True)}


@pytest.mark.parametrize("faults", FAULTS, ids=" ".join)
def test_one_message_whatever_happens_to_the_post(
    office: Office, slack: Slack, faults: tuple[str, ...]
) -> None:
    assert office.faulty is not None
    office.faulty.plan("chat.postMessage", *faults)
    office.refund()
    once(office, slack)


@pytest.mark.parametrize(
    "method", ["conversations.list", "conversations.history", "auth.test", "chat.update"]
)
@pytest.mark.parametrize("fault", ["500", "drop", "garbage", "429:3"])
def test_one_message_whatever_happens_to_the_rest(
    offices: Open, slack: Slack, tmp_path: object, method: str, fault: str
) -> None:
    office = offices(f"sqlite:///{tmp_path}/ledger.db", slack)
    assert office.faulty is not None
    office.faulty.plan("chat.postMessage", "drop")
    office.faulty.plan(method, fault, fault)
    office.refund()
    once(office, slack)


def test_a_channel_that_asks_to_be_left_alone_is_left_alone(office: Office, slack: Slack) -> None:
    assert office.faulty is not None
    for name in ("A-1", "A-2", "A-3"):
        office.refund(name)
    office.faulty.plan("chat.postMessage", "", "429:90")
    office.tell()
    calls = office.faulty.calls["chat.postMessage"]
    assert calls == 2
    office.refund("A-4")
    office.tell(until=89 * SECOND)
    assert office.faulty.calls["chat.postMessage"] == calls, "it was told to wait 90 seconds"
    second = office.open().outbox
    assert second.claim("slack", lease=LEASE) is None, "another process knows of it too"
    office.tell(until=SECOND)
    assert len(slack.messages("finance")) == 4
    assert len(slack.messages("leads")) == 4


def test_two_senders_at_once_post_once(office: Office, slack: Slack) -> None:
    for number in range(6):
        office.refund(f"A-{number}")
    senders = [Sender(office.open()) for _ in range(3)]
    threads = [
        threading.Thread(target=sender.drain, args=("slack",), kwargs={"seconds": 20}) for sender in senders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    office.tell()
    assert len(slack.messages("finance")) == 6
    assert len(slack.messages("leads")) == 6


def test_a_sender_that_dies_after_the_post_is_followed_by_one_that_asks(office: Office, slack: Slack) -> None:
    office.refund()
    sender = Sender(office.shop)
    held = sender.outbox.claim("slack", lease=LEASE)
    assert held is not None
    channel = office.shop.ways.by_scheme["slack"]
    from openclaw_dagster.runtime.notify import told

    message = told(office.shop, held)
    assert message is not None
    channel.post(held.place, held.id, message, None)  # and nothing is written down
    office.tell(until=LEASE - SECOND)
    row = office.outbox.get(held.id)
    assert row is not None
    assert (row.message, row.doubt) == (None, MAYBE)
    office.tell(until=HOUR)
    once(office, slack)


def test_only_our_own_message_counts_as_said(office: Office, slack: Slack) -> None:
    assert office.faulty is not None
    one = office.refund()
    for notice in office.outbox.of_case(one):
        metadata = {"event_type": "openclaw_notice", "event_payload": {"key": notice.id}}
        where = slack.channels[notice.place.removeprefix("slack://")]
        slack.call(
            "chat.postMessage", token="xoxp-someone", channel=where, text="me", metadata=json.dumps(metadata)
        )
    office.faulty.plan("chat.postMessage", "never", "never")
    office.tell(until=HOUR)
    for channel in ("finance", "leads"):
        (message,) = (one for one in slack.messages(channel) if one["text"] != "me")
        assert "approve" in buttons(message)


def test_a_sender_that_wakes_up_too_late_takes_its_message_back(office: Office, slack: Slack) -> None:
    office.refund()
    late, quick = Sender(office.shop), Sender(office.open())
    channel = late.shop.ways.by_scheme["slack"]
    posting = channel.post

    def slowly(*given: object) -> object:
        office.clock.at += LEASE
        while quick.step("slack"):
            pass
        return posting(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "post", slowly)
        late.step("slack")
    once(office, slack)


def test_a_message_somebody_deleted_is_posted_again_while_it_is_wanted(office: Office, slack: Slack) -> None:
    one = office.refund()
    office.tell()
    (message,) = slack.messages("finance")
    slack.call("chat.delete", channel=slack.channels["finance"], ts=message["ts"])
    from .test_slack import say

    say(office, one, "fin_1")
    office.tell()
    (again,) = slack.messages("finance")
    assert "approve" in buttons(again)
    slack.call("chat.delete", channel=slack.channels["finance"], ts=again["ts"])
    cancel(office.shop, one, by="ann", reason="enough")
    office.tell()
    assert not slack.messages("finance")


def test_what_nobody_takes_is_given_up_after_a_day_with_its_reason(office: Office, slack: Slack) -> None:
    assert office.faulty is not None
    text = office.file.read_text().replace("slack://finance", "slack://no-such-place")
    office.file.write_text(text)
    office.shop = office.open()
    one = office.refund()
    office.tell(until=10 * MINUTE)
    (stuck,) = office.outbox.stuck()
    assert (
        stuck.problem
        == "there is no channel no-such-place that the app can see: invite it there, or name the channel's id"
    )
    office.tell(until=LONG + HOUR)
    (stuck,) = office.outbox.stuck()
    assert (stuck.state, stuck.due_at) == ("given_up", None)
    assert office.faulty.calls["conversations.list"] < 100
    assert {notice.state for notice in office.outbox.of_case(one)} == {"shown", "given_up"}


def test_a_host_that_was_down_for_longer_tries_on(office: Office, slack: Slack) -> None:
    assert office.faulty is not None
    one = office.refund()
    office.shop.clock.advance(LONG + HOUR)
    office.faulty.plan("chat.postMessage", "500")
    office.tell(until=2 * HOUR)
    assert {notice.state for notice in office.outbox.of_case(one)} == {"shown"}
    assert slack.messages("finance")


def test_a_request_that_ends_in_doubt_leaves_no_button_behind(office: Office, slack: Slack) -> None:
    assert office.faulty is not None
    office.faulty.plan("chat.postMessage", "late", "late")
    one = office.refund()
    office.tell()
    cancel(office.shop, one, by="ann", reason="enough")
    office.faulty.settle()
    office.tell(until=HOUR)
    for channel in ("finance", "leads"):
        assert not any(buttons(message) for message in slack.messages(channel))
