"""Clearances: they pay what was shown, where it was shown, while those who gave them may; and no answer is lost."""

from __future__ import annotations

import pytest

from openclaw_dagster.runtime import steps
from openclaw_dagster.runtime.advance import advance, close, pass_stage
from openclaw_dagster.runtime.clearance import Answer, Refused, Settled, answer
from openclaw_dagster.runtime.skips import Granted, NotGranted, Skip, grant
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.canonical import dumps
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change

from .conftest import Open
from .kit import bodies, case, check_books, clock_of, drain, grab, order, pump, write_environment
from .test_checkpoints import DENY, MINUTE, refunds, say, waiting


def begun_and_not_made(shops: Open, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, str]:
    """Give a cleared case whose worker froze between claim and call, until too little of the lease was left."""
    shop, one = waiting(shops)
    say(shop, one, "fin_1")
    say(shop, one, "lead_1")

    def freeze(name: str) -> None:
        if name == "effect.claimed":
            monkeypatch.setattr(steps, "point", lambda _: None)
            clock_of(shop).advance(60_000)

    monkeypatch.setattr(steps, "point", freeze)
    advance(grab(shop))
    assert (case(shop, one).state, refunds(shop)) == ("waiting_retry", 0)
    return shop, one


def test_a_clearance_pays_nothing_else_after_a_call_that_was_not_made(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, one = begun_and_not_made(shops, monkeypatch)
    write_environment(shop.settings.specs.parent, constants="{limit: 9999}")
    later = shops(again=True, clock=clock_of(shop))
    clock_of(later).advance(MINUTE)
    pump(later)
    assert refunds(later) == 0
    gate = case(later, one).facts.gates["refund"]
    assert (gate.state, gate.request, gate.shown["args"]["amount"]) == ("asked", 2, 9999)
    check_books(later)


def test_a_call_that_was_not_made_is_made_later_under_its_clearance(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, one = begun_and_not_made(shops, monkeypatch)
    drain(shop)
    assert (case(shop, one).state, refunds(shop)) == ("completed", 1)
    assert len(bodies(shop, one, Kind.ASKED)) == 1
    check_books(shop)


def test_a_retry_that_would_go_elsewhere_is_asked_about_again(shops: Open) -> None:
    shop = shops(
        DENY, constants="{limit: 80}", faults={"erp": ["{operation: refund, answer: fail, times: 1}"]}
    )
    one = order(shop, "A-1", value=50, asked_by="shop_7")
    pump(shop)
    say(shop, one, "fin_1")
    say(shop, one, "lead_1")
    pump(shop)
    assert case(shop, one).facts.steps["refund"].attempt == 1
    file = shop.settings.specs / "environments" / "test.yaml"
    other = "  erp: {use: http, url: 'https://other.example'}\n  x: {use: simulator"
    file.write_text(file.read_text().replace("  erp: {use: simulator", other))
    later = shops(again=True, clock=clock_of(shop))
    clock_of(later).advance(MINUTE)
    pump(later)
    gate = case(later, one).facts.gates["refund"]
    assert (gate.state, gate.request) == ("asked", 2)
    assert {"target.use", "target.url"} <= {*gate.changed}


def test_the_ledger_itself_lets_no_call_begin_that_was_not_shown(shops: Open) -> None:
    shop, one = waiting(shops)
    say(shop, one, "fin_1")
    say(shop, one, "lead_1")
    digest = case(shop, one).facts.gates["refund"].digest
    for args, lost in (({"order": "A-1", "amount": 9999}, {one}), ({"order": "A-1", "amount": 80}, set())):
        body = {
            "step": "refund",
            "action": "erp.refund",
            "attempt": 1,
            "generation": 1,
            "key": "k",
            "args": args,
        }
        entry = Entry(Kind.BEGUN, {**body, "until": clock_of(shop).at, "clearance": digest})
        assert shop.ledger.write([Change(one, (entry,))]).lost == lost


@pytest.mark.parametrize("first", ["deny", "skip"])
def test_a_denial_is_not_undone_by_a_skip_nor_a_denial_by_having_been_skipped(
    shops: Open, first: str
) -> None:
    shop, one = waiting(shops)
    skip = Skip(one, "refund", "lead_1", "page", "outage")
    if first == "skip":
        assert isinstance(grant(shop, skip), Granted)
    assert isinstance(say(shop, one, "fin_1", "deny", form={}), Settled)
    if first == "deny":
        said = grant(shop, skip)
        assert isinstance(said, NotGranted)
        assert "refund is denied" in said.why
    drain(shop)
    found = case(shop, one)
    assert (found.state, found.facts.steps["post"].state, refunds(shop)) == ("handed_off", "undone", 0)
    check_books(shop)


def test_who_left_before_it_runs_has_cleared_nothing(shops: Open) -> None:
    shop, one = waiting(shops)
    say(shop, one, "fin_1")
    file = shop.settings.specs / "environments" / "test.yaml"
    file.write_text(file.read_text().replace("[fin_1, fin_2]", "[fin_2]"))
    later = shops(again=True, clock=clock_of(shop))
    say(later, one, "lead_1")
    pump(later)
    gate = case(later, one).facts.gates["refund"]
    assert (gate.state, gate.request, gate.answers, refunds(later)) == ("asked", 2, (), 0)
    say(later, one, "fin_2")
    say(later, one, "lead_1")
    drain(later)
    assert (case(later, one).state, refunds(later)) == ("completed", 1)


@pytest.mark.parametrize(("verdict", "after"), [("approve", "completed"), ("deny", "handed_off")])
def test_an_answer_that_comes_while_a_run_looks_is_not_lost(shops: Open, verdict: str, after: str) -> None:
    """A run holds the case to remind people; it must write no other verdict over the one that they were told."""
    shop, one = waiting(shops, DENY.replace("remind: 15m", "remind: 7190s"))
    if verdict == "approve":
        say(shop, one, "fin_1")
    clock_of(shop).advance(7_190_000)
    batch = grab(shop)
    form = {"reason": "lost"} if verdict == "approve" else {}
    assert isinstance(say(shop, one, "lead_1", verdict, form=form), Settled)
    clock_of(shop).advance(11_000)  # beyond the deadline
    pass_stage(batch, "refund")
    close(batch)
    assert batch.lost == {one}
    drain(shop)
    assert case(shop, one).state == after
    check_books(shop)


def test_a_refusal_keeps_no_more_than_anybody_reads(shops: Open) -> None:
    """Whoever sends an answer chooses its words: two hundred of them must not fill the ledger."""
    shop, one = waiting(shops)
    long = "x" * 60_000
    assert isinstance(answer(shop, Answer(one, long, "d", "fin_1", "approve", "page")), Refused)
    assert isinstance(answer(shop, Answer(one, long, "d", long, "approve", "page")), Refused)
    assert isinstance(grant(shop, Skip(one, long, "lead_1", "page", "outage")), NotGranted)
    lines = bodies(shop, one, Kind.REFUSED)
    assert len(lines) == 3
    assert all(len(dumps(dict(line))) < 5_000 for line in lines)
