"""One case's trouble never touches its neighbours: bad policies, mistakes of this software, what cannot be written."""

from __future__ import annotations

import re

import pytest

from openclaw_dagster.adapters.outcome import Answered, Failed
from openclaw_dagster.runtime import decide as decide_module
from openclaw_dagster.runtime import intake, scope
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, bodies, case, check_books, drain, order, outside, pump

TYPESCRIPT = """export default function pick({ order }) {
  if (order.bad === "loop") {
    while (true) {
      Object.keys(order);
    }
  }
  if (order.bad === "allocate") {
    const all = [];
    for (;;) all.push("x".repeat(1000000) + all.length);
  }
  if (order.bad === "clock") {
    return { branch: "late", at: globalThis["Da" + "te"].now() };
  }
  if (order.bad === "nonsense") {
    return 42;
  }
  return { branch: "book" };
}
"""
PYTHON = """def decide(inputs):
    bad = inputs["order"].get("bad")
    if bad == "loop":
        while True:
            pass
    if bad == "allocate":
        return ["x" * 1000000 + str(i) for i in range(1000)]
    if bad == "clock":
        return __clock__
    if bad == "nonsense":
        return 42
    return "book"
"""
LINES = {"loop": "[234]", "allocate": "[89]", "clock": "12", "nonsense": "1"}


def by(policy: str) -> str:
    return DISPATCH.replace("table: [{else: true, then: book}]", f"policy: ./policies/{policy}")


@pytest.mark.parametrize("bad", ["loop", "allocate", "clock", "nonsense"])
def test_a_bad_policy_fails_its_own_case_with_file_and_line(shops: Open, bad: str) -> None:
    shop = shops(by("pick.ts"), files={"policies/pick.ts": TYPESCRIPT})
    good = [order(shop, f"A-{number}") for number in range(10)]
    one = order(shop, "B-1", bad=bad)
    good += [order(shop, f"C-{number}") for number in range(10)]
    drain(shop)
    assert {case(shop, other).state for other in good} == {"completed"}
    assert case(shop, one).state == "dead_lettered"
    assert re.match(f"policies/pick.ts:{LINES[bad]}:", case(shop, one).reason or "")
    assert case(shop, one).facts.failing == "pick"
    assert len(outside(shop)) == 20
    check_books(shop)


@pytest.mark.parametrize("bad", ["loop", "allocate", "nonsense"])
def test_a_bad_policy_in_python_does_no_more_harm(shops: Open, bad: str) -> None:
    text = PYTHON.replace("__clock__", "None")
    shop = shops(by("pick.py"), files={"policies/pick.py": text})
    good = [order(shop, f"A-{number}") for number in range(3)]
    one = order(shop, "B-1", bad=bad)
    drain(shop)
    assert {case(shop, other).state for other in good} == {"completed"}
    assert case(shop, one).state == "dead_lettered"
    assert (case(shop, one).reason or "").startswith("policies/pick.py:")


def breaks_on(monkeypatch: pytest.MonkeyPatch, module, name: str, picks) -> None:  # type: ignore[no-untyped-def]
    """Let a function raise what nobody foresaw when `picks` says so about its arguments."""
    really = getattr(module, name)

    def broken(*args, **named):  # type: ignore[no-untyped-def]
        if picks(*args):
            raise ZeroDivisionError("a mistake")
        return really(*args, **named)

    monkeypatch.setattr(module, name, broken)


def test_a_mistake_while_inputs_are_gathered(
    shops: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop = shops()
    good, bad = order(shop, "A-1"), order(shop, "B-1")
    breaks_on(monkeypatch, decide_module, "inputs", lambda *args: args[3].id == bad)
    drain(shop)
    assert case(shop, good).state == "completed"
    dead = case(shop, bad)
    assert dead.state == "dead_lettered"
    assert "pick: a mistake of this software, ZeroDivisionError at test_neighbours.py" in (dead.reason or "")
    assert "a mistake" in caplog.text
    assert "Traceback" in caplog.text
    check_books(shop)


def test_a_mistake_in_a_policy_engine_may_pass(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops()
    one = order(shop, "A-1")
    engine = shop.policy(shop.system("dispatch"), shop.system("dispatch").decision("pick"))
    broken = [True, True]

    class Engine:
        digest = engine.digest

        def decide(self, inputs):  # type: ignore[no-untyped-def]
            if broken:
                broken.pop()
                raise OSError("no process could be started")
            return engine.decide(inputs)

    monkeypatch.setattr(shop, "policy", lambda *_: Engine())
    drain(shop)
    assert case(shop, one).state == "completed"
    assert len(bodies(shop, one, Kind.RETRY)) == 2


def test_a_mistake_while_a_step_is_prepared(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from openclaw_dagster.runtime import steps

    shop = shops()
    good, bad = order(shop, "A-1"), order(shop, "B-1")
    breaks_on(monkeypatch, steps, "scope", lambda *args: args[1].id == bad)
    drain(shop)
    assert case(shop, good).state == "completed"
    assert case(shop, bad).state == "dead_lettered"
    assert len(outside(shop)) == 1
    check_books(shop)


def test_a_mistake_while_a_case_is_ended(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from openclaw_dagster.runtime import advance

    shop = shops()
    good, bad = order(shop, "A-1"), order(shop, "B-1")
    breaks_on(monkeypatch, advance, "completion", lambda *args: args[1].id == bad)
    drain(shop)
    assert case(shop, good).state == "completed"
    assert case(shop, bad).state == "dead_lettered"
    assert "the worker died 5 times in a row" in (case(shop, bad).reason or "")
    assert len(outside(shop)) == 2
    check_books(shop)


def test_a_mistake_in_the_condition_of_a_listener(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    listens = DISPATCH.replace("system: dispatch", "system: other").replace(
        "order_created: {source: webhook, idempotency: order.id}",
        "heard: {source: event, of: dispatch.picked}",
    )
    shop = shops(DISPATCH, listens)
    one = order(shop, "A-1")
    breaks_on(monkeypatch, intake, "holds", lambda system, *_: system.name == "other")
    drain(shop)
    assert case(shop, one).state == "completed"
    assert [other.state for other in shop.ledger.find(system="other")] == ["dead_lettered"]


@pytest.mark.parametrize("odd", [float("nan"), {1, 2}, "half \ud800 of a pair", "nul \x00"])
def test_a_result_that_cannot_be_written_is_still_a_booking(
    shops: Open, monkeypatch: pytest.MonkeyPatch, odd: object
) -> None:
    shop = shops()
    cases = [order(shop, f"A-{number}") for number in range(3)]
    really = shop.adapters.call

    def call(what):  # type: ignore[no-untyped-def]
        outcome = really(what)
        return Answered({"id": odd}) if what.key.startswith(cases[1]) else outcome  # type: ignore[dict-item]

    monkeypatch.setattr(shop.adapters, "call", call)
    drain(shop)
    assert {case(shop, one).state for one in cases} == {"completed"}
    assert [record.calls for record in outside(shop)] == [1, 1, 1]
    check_books(shop)


@pytest.mark.parametrize("odd", ["nul \x00 in it", "half \udc00 of a pair", "line\nline", "x" * 100_000])
def test_whatever_the_far_side_says_can_be_kept(
    shops: Open, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    shop = shops(DISPATCH.replace("retries: 3", "retries: 0"))
    cases = [order(shop, f"A-{number}") for number in range(3)]
    really = shop.adapters.call
    monkeypatch.setattr(
        shop.adapters, "call", lambda what: Failed(odd) if what.key.startswith(cases[1]) else really(what)
    )
    drain(shop)
    assert [case(shop, one).state for one in cases] == ["completed", "dead_lettered", "completed"]
    assert len(case(shop, cases[1]).reason or "") < 3000
    check_books(shop)


def test_a_database_that_is_away_fails_no_case(shops: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = shops()
    one = order(shop, "A-1")

    def away(*_):  # type: ignore[no-untyped-def]
        raise DatabaseAway(problem="gone")

    with monkeypatch.context() as patch:
        patch.setattr(shop, "version", away)
        with pytest.raises(DatabaseAway):
            pump(shop)
    with monkeypatch.context() as patch:
        patch.setattr(scope, "scope", away)
        drain(shop, until=lambda: True)
    drain(shop)
    assert case(shop, one).state == "completed"
    assert bodies(shop, one, Kind.FAILED) == []
    check_books(shop)
