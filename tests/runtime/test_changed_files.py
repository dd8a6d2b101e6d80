"""A file is changed while cases of it wait: what was promised under the old one is not lost under the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_dagster.runtime import holds
from openclaw_dagster.runtime.clearance import Refused
from openclaw_dagster.runtime.operations import NoVersion, redrive
from openclaw_dagster.runtime.skips import Granted, Skip, grant

from .conftest import Open
from .kit import LAYERS, case, check_books, drain, grab, kinds, order, outside, pump, write_environment
from .test_checkpoints import DENY, HOLD, refunds, say

ONE = DENY.replace("quorum: 2", "quorum: 1")
BY_CHANNEL = ONE.replace("requester: order.asked_by", "requester: order.channel")


def test_who_asked_is_read_by_the_file_that_a_case_goes_by(shops: Open) -> None:
    """The path was corrected before the case began; who asked would clear their own refund otherwise."""
    shop = shops(BY_CHANNEL, constants="{limit: 80}")
    one = order(shop, "A-1", value=50, asked_by="fin_1", channel="web")
    (shop.settings.specs / "s0.claw").write_text(ONE + LAYERS)
    shop = shops(again=True, clock=shop.clock)
    pump(shop)
    assert case(shop, one).facts.requester == "fin_1"
    assert isinstance(say(shop, one, "fin_1"), Refused)
    say(shop, one, "fin_2")
    drain(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    check_books(shop)


def test_who_asked_is_read_again_when_a_case_is_redriven_under_a_mended_file(shops: Open) -> None:
    shop = shops(BY_CHANNEL, constants="{limit: 80}")
    one = order(shop, "A-1", value=50, asked_by="fin_1")  # it has no channel
    drain(shop)
    assert "channel is missing" in str(case(shop, one).reason)
    (shop.settings.specs / "s0.claw").write_text(ONE + LAYERS)
    shop = shops(again=True, clock=shop.clock)
    redrive(shop, one, by="lead_1", reason="the path is right now")
    pump(shop)
    assert (case(shop, one).state, case(shop, one).facts.requester) == ("awaiting_human", "fin_1")
    assert isinstance(say(shop, one, "fin_1"), Refused)
    check_books(shop)


@pytest.mark.parametrize("doubt", [False, True])
def test_a_step_that_stands_is_not_done_again_under_another_name(
    shops: Open, tmp_path: Path, doubt: bool
) -> None:
    text = """
system: dispatch
version: 1.0.0
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: go}], emits: picked}
execution:
  - close_box: {on: picked, action: depot.seal, undo: depot.unseal}
  - book: {on: picked, needs: [close_box], action: carrier.book, dead_letter: "queue://ops.dlq"}
"""
    if not doubt:
        text = text.replace(", undo: depot.unseal", "")
    shop = shops(
        text,
        faults={
            "carrier": ["{operation: book, answer: refuse}"],
            "depot": ["{operation: unseal, answer: refuse}"],
        },
    )
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "dead_lettered"
    (shop.settings.specs / "s0.claw").write_text(text.replace("close_box", "seal_box") + LAYERS)
    write_environment(tmp_path)
    shop = shops(again=True, clock=shop.clock)
    with pytest.raises(NoVersion, match="no step close_box, whose effect stands or may stand"):
        redrive(shop, one, by="ann", reason="mended")
    redrive(shop, one, by="ann", reason="mended", same_version=True)
    drain(shop)
    assert len(outside(shop, "depot", "seal")) == 1
    check_books(shop)


def test_a_skip_whose_policy_applies_no_more_leaves_the_case_at_its_checkpoint(
    shops: Open, tmp_path: Path
) -> None:
    """And does not send it round and round until the skip is over."""
    text = HOLD.replace('when: "order.value < 100"', 'when: "order.value < limit"')
    shop = shops(text, constants="{limit: 80}")
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    assert isinstance(grant(shop, Skip(one, "refund", "lead_1", "page", "the line is down")), Granted)
    write_environment(tmp_path, constants="{limit: 40}")
    shop = shops(again=True, clock=shop.clock)
    for _ in range(3):
        pump(shop)
    assert case(shop, one).state == "awaiting_human"
    assert not grab(shop).cases
    written = len(kinds(shop, one))
    write_environment(tmp_path, constants="{limit: 80}")
    shop = shops(again=True, clock=shop.clock)
    assert isinstance(grant(shop, Skip(one, "refund", "lead_1", "page", "it is down again")), Granted)
    drain(shop)
    assert case(shop, one).facts.steps["refund"].state == "skipped"
    assert (case(shop, one).state, refunds(shop)) == ("completed", 0)
    assert len(kinds(shop, one)) < written + 12
    check_books(shop)


def test_an_action_is_held_that_only_a_waiting_case_of_the_old_file_has(shops: Open) -> None:
    shop = shops(ONE, constants="{limit: 80}")
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    new = ONE.replace("action: erp.refund", "action: erp.post").replace(', amount: "${limit}"', "")
    (shop.settings.specs / "s0.claw").write_text(new + LAYERS)
    shop = shops(again=True, clock=shop.clock)
    assert holds.place(shop, "erp.refund", by="ann", reason="wrong amounts")
    say(shop, one, "fin_1")
    drain(shop)
    assert (case(shop, one).state, refunds(shop)) == ("waiting_retry", 0)
    holds.release(shop, "erp.refund", by="ann", reason="right again")
    shop.look_again()
    drain(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    with pytest.raises(holds.NothingToHold):
        holds.place(shop, "erp.nothing", by="ann", reason="a slip")
