"""Texts go with the payload they came from, and nothing that anybody said is left in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from services.sample import copy_sample

from openclaw_dagster.clock import DAY, VirtualClock
from openclaw_dagster.runtime import holds, operations
from openclaw_dagster.runtime.skips import Granted, Skip, grant
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store import rows
from openclaw_dagster.store.audit import verify
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.retention import forgotten, shred
from openclaw_dagster.store.tables import metadata

from .conftest import Open
from .kit import DISPATCH, LAYERS, START, case, clock_of, drain, order, outside, pump
from .test_checkpoints import DENY, say

#: What a person's address would be.
MARK = "Rue-des-Capucines"
TELLING = DENY.replace('amount: "${limit}"}', 'amount: "${limit}", to: "${order.to}"}')


def kept(shop: Workspace) -> set[str]:
    """Return the tables, and the columns, of the whole ledger in which the mark still stands."""
    found = set()
    with shop.ledger.database.read() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(sa.select(table)).mappings():
                found |= {f"{table.name}.{name}" for name, value in row.items() if MARK in str(value)}
    return found


def told(shops: Open, keep: str = "30d") -> tuple[Workspace, dict[str, str]]:
    """Return cases in which people, payloads and the outside said it, each ended in another way."""
    refuse = ["{operation: refund, answer: refuse, when: \"args.order == 'dead'\"}"]
    text = TELLING + LAYERS.replace("365d", keep)
    shop = shops(text, constants="{limit: 80}", faults={"erp": refuse})
    asked = {"value": 50, "asked_by": "shop_7", "to": MARK}
    ones = {name: order(shop, name, **asked) for name in ("paid", "denied", "skipped", "dead", "cancelled")}
    pump(shop)
    for name in ("paid", "dead"):
        say(shop, ones[name], "fin_1", reason=MARK)
        say(shop, ones[name], "fin_2", reason=MARK)
    say(shop, ones["denied"], "fin_1", "deny", reason=MARK)
    out = grant(shop, Skip(ones["skipped"], "refund", "lead_1", reason=MARK, channel="page"))
    assert isinstance(out, Granted)
    operations.cancel(shop, ones["cancelled"], by="lead_1", reason=MARK)
    drain(shop)
    return shop, ones


def test_nothing_that_anybody_said_is_left_after_its_retention(shops: Open) -> None:
    shop, ones = told(shops)
    before = {name: case(shop, one) for name, one in ones.items()}
    assert {one.state for one in before.values()} == {"completed", "handed_off", "dead_lettered", "cancelled"}
    assert kept(shop) >= {"claw_events.payload", "claw_journal.body", "claw_cases.facts", "claw_cases.reason"}
    assert shred(shop.ledger.database, START + 29 * DAY) == 0
    assert shred(shop.ledger.database, START + 31 * DAY) > 0
    assert kept(shop) == set()
    assert verify(shop.ledger.database).faults == ()
    for name, one in ones.items():
        after, was = case(shop, one), before[name]
        assert (after.state, after.seq, after.head, after.closed_at) == (
            was.state,
            was.seq,
            was.head,
            was.closed_at,
        )
        assert {s: f.state for s, f in after.facts.steps.items()} == {
            s: f.state for s, f in was.facts.steps.items()
        }
    yes = case(shop, ones["paid"]).facts.gates["refund"]
    assert [(one["person"], one["verdict"]) for one in yes.answers] == [
        ("fin_1", "approve"),
        ("fin_2", "approve"),
    ]


def test_a_long_retention_keeps_the_texts_of_the_journal_too(shops: Open) -> None:
    """Who must show after nine years what was decided, and who said yes."""
    shop, ones = told(shops, keep="3650d")
    assert shred(shop.ledger.database, START + 400 * DAY) == 0
    assert all(one.body is not None for one in shop.ledger.journal(ones["paid"]))


def test_the_sample_keeps_its_events_for_365_days(tmp_path: Path, database_url: str) -> None:
    """As it was published, S1-07: a day earlier everything is there, and then nothing but what proves it."""
    copy_sample(tmp_path / "specs")
    settings = read_settings(
        home=str(tmp_path / "home"),
        specs=str(tmp_path / "specs"),
        environment="development",
        database=database_url,
    )
    shop = Workspace(settings, clock=VirtualClock(START))
    try:
        one = order(shop, "A-1", to=MARK)
        drain(shop)
        ended = case(shop, one)
        assert ended.state == "completed"
        assert ended.closed_at is not None
        clock_of(shop).advance(365 * DAY - 1)
        assert shred(shop.ledger.database, shop.clock.now()) == 0
        assert kept(shop)
        clock_of(shop).advance(ended.closed_at - START + 1)
        assert shred(shop.ledger.database, shop.clock.now()) > 0
        assert kept(shop) == set()
        assert verify(shop.ledger.database).faults == ()
    finally:
        shop.close()


def test_what_has_not_ended_keeps_everything(shops: Open) -> None:
    shop = shops(TELLING + LAYERS.replace("365d", "30d"), constants="{limit: 80}")
    one = order(shop, "A-1", value=50, asked_by="shop_7", to=MARK)
    holds.place(shop, "erp.refund", by="lead_1", reason="wrong prices")
    pump(shop)
    before = case(shop, one)
    shred(shop.ledger.database, START + 400 * DAY)
    assert case(shop, one) == before
    assert all(line.body is not None for line in shop.ledger.journal(one))
    assert shop.ledger.events([before.event_id])[before.event_id].payload is not None


def test_a_dead_letter_is_not_redriven_past_its_retention(shops: Open) -> None:
    """What it would send is not known any more."""
    shop, ones = told(shops)
    sent = len(outside(shop))
    shred(shop.ledger.database, START + 31 * DAY)
    with pytest.raises(operations.PastRetention, match="Send its event anew"):
        operations.redrive(shop, ones["dead"], by="ann", reason="the bank says it is mended")
    drain(shop)
    assert (case(shop, ones["dead"]).state, len(outside(shop))) == ("dead_lettered", sent)


def test_a_case_redriven_while_its_texts_are_taken_away_keeps_what_is_left(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was dead when the shredder looked, and goes on when its row is locked."""
    shop, ones = told(shops)
    before = case(shop, ones["dead"])
    lock = rows.lock

    def late(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Case]:
        found = lock(connection, ids)
        return found | {ones["dead"]: replace(before, state="open")} if ones["dead"] in found else found

    monkeypatch.setattr(rows, "lock", late)
    shred(shop.ledger.database, START + 31 * DAY)
    assert case(shop, ones["dead"]).facts == before.facts
    assert case(shop, ones["paid"]).facts.steps["refund"].args == {}


@pytest.mark.parametrize(("first", "second"), [("30d", "3650d"), ("3650d", "30d")])
def test_each_system_keeps_what_its_own_file_says(shops: Open, first: str, second: str) -> None:
    """A case that another system's event opened; the payload stays for whoever keeps it longer."""
    listens = """
system: listener
version: 1.0.0
triggers:
  - seen: {source: event, of: dispatch.picked}
decisions:
  - judge: {inputs: [order, event], table: [{else: true, then: tell}], emits: judged}
execution:
  - tell: {on: judged, action: erp.post, with: {order: "${order.id}"}}
"""
    shop = shops(DISPATCH + LAYERS.replace("365d", first), listens + LAYERS.replace("365d", second))
    one = order(shop, "A-1", to=MARK)
    drain(shop)
    (two,) = [found.id for found in shop.ledger.find(system="listener")]
    shred(shop.ledger.database, START + 31 * DAY)
    gone = {name: shop.ledger.journal(name)[0].body is None for name in (one, two)}
    assert gone == {one: first == "30d", two: second == "30d"}
    event = case(shop, two).event_id
    assert shop.ledger.events([event])[event].payload is not None
    if second == "30d":
        assert not case(shop, two).facts.decisions["judge"].inputs
    found = shop.ledger.events([event])[event]
    assert forgotten(found, shop.ledger.journal(two)) is (second == "30d")  # although its payload is there
    assert verify(shop.ledger.database).faults == ()
