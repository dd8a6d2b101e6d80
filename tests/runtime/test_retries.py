"""Failures that may pass, refusals that stay, and what people read about them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from openclaw_dagster.adapters.outcome import Failed
from openclaw_dagster.runtime import operations
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, bodies, case, check_books, clock_of, drain, order, outside, pump, write_environment

ALWAYS = {"carrier": ["{operation: book, answer: fail}"]}


def test_four_attempts_with_growing_waits_then_a_dead_letter_that_a_redrive_completes(
    shops: Open, tmp_path: Path
) -> None:
    shop = shops(faults=ALWAYS)
    one = order(shop, "A-1")
    drain(shop)
    dead = case(shop, one)
    assert dead.state == "dead_lettered"
    assert dead.reason == "carrier.book failed in 4 attempts, the last time: simulated failure"
    retries = bodies(shop, one, Kind.RETRY)
    assert [body["error"] for body in retries] == ["carrier.book failed: simulated failure"] * 3
    (letter,) = shop.ledger.dead_letters()
    assert (letter["queue"], letter["stage"], letter["attempts"]) == ("queue://ops.dlq", "book", 4)
    assert letter["digest"] == dead.digest
    begun = [record.at for record in shop.ledger.journal(one) if record.kind is Kind.BEGUN]
    waits = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert len(begun) == 4
    assert 1000 <= waits[0] <= 1250
    assert 2000 <= waits[1] <= 2500
    assert 4000 <= waits[2] <= 5000
    assert outside(shop) == []

    write_environment(tmp_path)
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, one, by="ann", reason="the carrier is back")
    drain(mended)
    assert case(mended, one).state == "completed"
    assert len(outside(mended)) == 1
    assert mended.ledger.dead_letters() == []
    check_books(mended)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_failure_that_passes_in_time_is_survived(shops: Open, times: int) -> None:
    shop = shops(faults={"carrier": [f"{{operation: book, answer: fail, times: {times}}}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    assert case(shop, one).facts.steps["book"].attempt == times + 1
    check_books(shop)


def test_a_refusal_is_not_tried_again(shops: Open) -> None:
    shop = shops(faults={"carrier": ["{operation: book, answer: refuse}"]})
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).reason == "carrier.book refused: simulated refusal"
    assert len(bodies(shop, one, Kind.BEGUN)) == 1
    assert case(shop, one).facts.attempts == 1


def test_no_retries_means_one_attempt(shops: Open) -> None:
    shop = shops(DISPATCH.replace("retries: 3", "retries: 0"), faults=ALWAYS)
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).reason == "carrier.book failed: simulated failure"


def test_nobody_calls_before_the_far_side_said(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops()
    one = order(shop, "A-1")
    monkeypatch.setattr(shop.adapters, "call", lambda _call: Failed("busy", 120_000))
    pump(shop)
    assert case(shop, one).due_at == clock_of(shop).at + 120_000
    monkeypatch.undo()
    clock_of(shop).advance(119_000)
    assert pump(shop) == 0
    drain(shop)
    assert case(shop, one).state == "completed"


def test_no_wait_is_longer_than_an_hour(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops()
    one = order(shop, "A-1")
    monkeypatch.setattr(shop.adapters, "call", lambda _call: Failed("busy", 10**12))
    pump(shop)
    assert (case(shop, one).due_at or 0) <= clock_of(shop).at + 3_600_000


def test_an_adapter_that_nothing_stands_behind_is_said_so(shops: Open, tmp_path: Path) -> None:
    shops()
    path = tmp_path / "specs" / "environments" / "test.yaml"
    path.write_text("adapters: {}\n")
    shop = shops(again=True)
    one = order(shop, "A-1")
    drain(shop)
    assert "Nothing stands behind the adapter carrier" in (case(shop, one).reason or "")


def _sources(fault: str) -> dict[str, list[str]]:
    return {"carrier": [f"{{operation: rates, {fault}}}"]}


SOURCED = (
    DISPATCH.replace("inputs: [order]", "inputs: [order, rates]")
    + """
data:
  events: {store: event-log, retention: 365d}
  sources: {rates: {read: carrier.rates, with: {order: "${order.id}"}}}
observability: {slo: {error_rate: <0.5%}}
"""
)


def test_a_source_that_answers_is_an_input_that_is_kept(shops: Open) -> None:
    shop = shops(SOURCED)
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).facts.decisions["pick"].inputs["rates"]["carriers"]
    check_books(shop)


def test_a_source_that_does_not_answer_is_asked_again(shops: Open) -> None:
    shop = shops(SOURCED, faults=_sources("answer: fail, times: 2"))
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).state == "completed"
    (closed,) = bodies(shop, one, Kind.CLOSED)
    assert closed["steps"] == {"book": "completed"}


def test_a_source_that_never_answers_is_named(shops: Open, tmp_path: Path) -> None:
    shop = shops(SOURCED, faults=_sources("answer: fail"))
    one = order(shop, "A-1")
    drain(shop)
    assert case(shop, one).reason == "the source rates did not answer: simulated failure (4 attempts)"
    write_environment(tmp_path)
    mended = shops(again=True, clock=shop.clock)
    operations.redrive(mended, one, by="ann", reason="mended")
    drain(mended)
    assert case(mended, one).state == "completed"
    check_books(mended)


def test_a_source_that_refuses_is_not_asked_again(shops: Open) -> None:
    shop = shops(SOURCED, faults=_sources("answer: refuse"))
    one = order(shop, "A-1")
    drain(shop)
    assert "The input 'rates' of pick cannot be had: its source carrier.rates refused" in (
        case(shop, one).reason or ""
    )
    assert bodies(shop, one, Kind.RETRY) == []


def test_an_input_that_is_missing_is_named(shops: Open) -> None:
    shop = shops(DISPATCH.replace("inputs: [order]", "inputs: [order, tariff]"))
    one = order(shop, "A-1")
    drain(shop)
    reason = case(shop, one).reason or ""
    assert reason.startswith("The input 'tariff' of pick cannot be had: the payload has order")
    assert case(shop, one).facts.failing == "pick"


def test_sources_are_not_asked_when_the_lease_is_nearly_over(
    shops: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops(SOURCED)
    cases = [order(shop, f"A-{number}") for number in range(20)]
    slow(shop, monkeypatch, 8_000)
    drain(shop, limit=20)
    assert {case(shop, one).state for one in cases} == {"completed"}
    assert sum(len(bodies(shop, one, Kind.RELEASED)) for one in cases) > 0
    assert max(case(shop, one).facts.deaths for one in cases) == 0
    check_books(shop)


def slow(shop: Workspace, monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """Let every read take a while of the virtual clock."""
    really = shop.adapters.call

    def call(one):  # type: ignore[no-untyped-def]
        if one.is_read:
            clock_of(shop).advance(min(milliseconds, one.timeout))
        return really(one)

    monkeypatch.setattr(shop.adapters, "call", call)
