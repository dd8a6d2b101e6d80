"""Conditions start one case each time they become true: after a while, at an edge, across restarts."""

from __future__ import annotations

import pytest

from openclaw_dagster.runtime.conditions import Quiet, Started, look
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.triggers import ConditionTrigger

from .conftest import Open
from .kit import case, check_books, clock_of, drain, write_environment

MINUTE = 60_000

DEPTH = """
operations:
  depth: {effect: read, simulate: {orders: DEPTH}}
"""
BACKLOG = """
system: backlog
version: 1.0.0
triggers:
  - backlog_high: {source: condition, read: yard.depth, when: value.orders > 400, for: 10m, every: 1m}
decisions:
  - pick: {inputs: [condition], table: [{else: true, then: call}], emits: picked}
execution:
  - call: {on: picked, action: carrier.book, with: {order: "${condition.since}"}}
"""


def opened(shops: Open, depth: int = 500, text: str = BACKLOG) -> Workspace:
    files = {"adapters/yard.yaml": DEPTH.replace("DEPTH", str(depth))}
    shop = shops(text, files=files)
    return bind(shops, shop)


def bind(shops: Open, shop: Workspace) -> Workspace:
    """Let the yard stand behind its adapter as well."""
    write_environment(shop.settings.specs.parent)
    file = shop.settings.specs / "environments" / "test.yaml"
    file.write_text(file.read_text().replace("adapters:\n", "adapters:\n  yard: {use: simulator}\n", 1))
    return shops(again=True, clock=clock_of(shop))


def becomes(shops: Open, shop: Workspace, depth: int) -> Workspace:
    """Change what the outside says, and open the project as a new process would."""
    (shop.settings.specs / "adapters" / "yard.yaml").write_text(DEPTH.replace("DEPTH", str(depth)))
    return shops(again=True, clock=clock_of(shop))


def asked(shop: Workspace) -> Started | Quiet:
    system = shop.system("backlog")
    trigger = system.trigger("backlog_high")
    assert isinstance(trigger, ConditionTrigger)
    return look(shop, system, trigger)


def minutes(shop: Workspace, count: int) -> list[bool]:
    """Look once a minute; tell which looks started a case."""
    found = []
    for _ in range(count):
        found.append(isinstance(asked(shop), Started))
        clock_of(shop).at += MINUTE
    return found


def test_a_case_starts_when_it_was_true_for_long_enough_and_only_once(shops: Open) -> None:
    shop = opened(shops)
    assert minutes(shop, 30) == [False] * 10 + [True] + [False] * 19
    (one,) = shop.ledger.find()
    drain(shop)
    assert case(shop, one.id).state == "completed"
    check_books(shop)


def test_it_starts_again_when_it_was_false_meanwhile(shops: Open) -> None:
    shop = opened(shops)
    assert sum(minutes(shop, 15)) == 1
    shop = becomes(shops, shop, 100)
    assert sum(minutes(shop, 3)) == 0
    shop = becomes(shops, shop, 500)
    assert sum(minutes(shop, 15)) == 1
    assert len(shop.ledger.find()) == 2


def test_a_break_begins_the_time_anew(shops: Open) -> None:
    shop = opened(shops)
    assert sum(minutes(shop, 8)) == 0
    shop = becomes(shops, shop, 100)
    minutes(shop, 1)
    shop = becomes(shops, shop, 500)
    assert minutes(shop, 11) == [False] * 10 + [True]


def test_a_restart_fires_nothing_twice_and_forgets_nothing(shops: Open) -> None:
    shop = opened(shops)
    assert sum(minutes(shop, 5)) == 0
    shop = shops(again=True, clock=clock_of(shop))
    assert minutes(shop, 6) == [False] * 5 + [True]
    shop = shops(again=True, clock=clock_of(shop))
    assert sum(minutes(shop, 20)) == 0


def test_a_long_silence_is_no_proof(shops: Open) -> None:
    shop = opened(shops)
    minutes(shop, 5)
    clock_of(shop).at += 20 * MINUTE
    assert minutes(shop, 11) == [False] * 10 + [True]


def test_what_does_not_answer_changes_nothing(shops: Open) -> None:
    shop = opened(shops)
    minutes(shop, 8)
    file = shop.settings.specs / "environments" / "test.yaml"
    good = file.read_text()
    file.write_text(
        good.replace(
            "yard: {use: simulator}", "yard: {use: simulator, faults: [{operation: depth, answer: fail}]}"
        )
    )
    away = shops(again=True, clock=clock_of(shop))
    said = asked(away)
    assert isinstance(said, Quiet)
    assert "does not say" in said.why
    clock_of(away).at += MINUTE
    file.write_text(good)
    back = shops(again=True, clock=clock_of(shop))
    assert sum(minutes(back, 2)) == 1


@pytest.mark.parametrize("text", ["value.missing > 1", "value > 400"])
def test_a_condition_without_a_value_starts_nothing(shops: Open, text: str) -> None:
    shop = opened(shops, text=BACKLOG.replace("value.orders > 400", text))
    said = asked(shop)
    assert isinstance(said, Quiet)
    assert "has no value" in said.why
