"""The offline twin: once per key, one memory for all processes, faults on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Refused, Unknown
from openclaw_dagster.adapters.records import Memory
from openclaw_dagster.adapters.shipped import shipped_contracts

ORDER = {"order": {"id": "1", "value": 10}, "carrier_selection": {"branch": "northway"}}


@pytest.fixture
def carrier(world):
    def carrier(*faults, **more):
        return world.open(
            shipped_contracts(), {"carrier": {"use": "simulator", "faults": list(faults)}}, **more
        )

    return carrier


def seen(adapters) -> list[tuple[str, str, int]]:
    return [(record.operation, record.key, record.calls) for record in adapters.records("carrier")]


def test_a_write_takes_place_once_per_key(carrier, send, world) -> None:
    adapters = carrier()
    first = send(adapters, "carrier.book", key="a", **ORDER)
    assert first == Answered({"id": "BK-1", "status": "booked", "reference": "a"})
    assert send(adapters, "carrier.book", key="a", **ORDER) == first
    assert send(adapters, "carrier.book", key="a", order={"id": "other"}) == first
    assert send(adapters, "carrier.book", key="b", **ORDER) == Answered(
        {"id": "BK-2", "status": "booked", "reference": "b"}
    )
    assert seen(adapters) == [("book", "a", 3), ("book", "b", 1)]
    record = adapters.records("carrier")[0]
    assert (record.args, record.at, record.undone) == (ORDER, world.clock.now(), False)
    assert adapters.records("oms") == []


def test_verify_finds_by_key_or_by_arguments(carrier, send) -> None:
    adapters = carrier()
    assert send(adapters, "carrier.find_booking", idempotency_key="a", **ORDER) == Absent()
    send(adapters, "carrier.book", key="a", **ORDER)
    send(adapters, "carrier.book", key="b", order={"id": "2"})

    def found(**args: object) -> object:
        outcome = send(adapters, "carrier.find_booking", key="whatever", **args)
        return outcome.result["reference"] if isinstance(outcome, Answered) else outcome

    assert found(idempotency_key="a", **ORDER) == "a"
    assert found(idempotency_key="a") == "a"
    assert found(**ORDER) == "a"
    assert found(order={"id": "2"}) == "b"
    assert found() == "b"
    assert found(idempotency_key="c", **ORDER) == Absent()
    assert found(order={"id": "3"}) == Absent()
    assert found(order={"id": "2"}, more=None) == Absent()


def test_undo_takes_the_record_away(carrier, send) -> None:
    adapters = carrier()
    send(adapters, "carrier.book", key="a", **ORDER)
    assert isinstance(send(adapters, "carrier.cancel", key="u0", idempotency_key="none"), Refused)
    undone = send(adapters, "carrier.cancel", key="u", idempotency_key="a")
    assert undone.result["booking"]["id"] == "BK-1"
    assert send(adapters, "carrier.cancel", key="u", idempotency_key="a") == undone
    assert send(adapters, "carrier.find_booking", idempotency_key="a") == Absent()
    assert isinstance(send(adapters, "carrier.cancel", key="u2", idempotency_key="a"), Refused)
    assert seen(adapters) == [("book", "a", 1), ("cancel", "u", 2)]
    assert [record.undone for record in adapters.records("carrier")] == [True, False]


def test_an_undo_that_is_also_an_action_of_its_own(world, send) -> None:
    adapters = world.open(shipped_contracts(), {"oms": {"use": "simulator"}})
    assert isinstance(send(adapters, "oms.release", key="r", order="9"), Answered)
    send(adapters, "oms.hold", key="h", order="9")
    assert isinstance(send(adapters, "oms.release", key="r2", order="9"), Answered)
    assert send(adapters, "oms.find_change", idempotency_key="h") == Absent()


def test_a_read_without_a_write_answers_as_written(carrier, send) -> None:
    adapters = carrier()
    outcome = send(adapters, "carrier.rates", order={"id": "1"})
    assert [one["name"] for one in outcome.result["carriers"]] == ["northway", "parcelio"]
    assert adapters.records("carrier") == []


def test_the_default_answer(world, send) -> None:
    contract = {"operations": {"ping": {"effect": "read"}, "poke": {"effect": "write"}}}
    adapters = world.open({"x": contract}, {"x": {"use": "simulator"}})
    assert send(adapters, "x.ping") == Answered({"id": "ping-0", "status": "ok"})
    assert send(adapters, "x.poke") == Answered({"id": "poke-1", "status": "ok"})


@pytest.mark.parametrize(
    ("answer", "kind", "stored"),
    [("fail", Failed, 0), ("refuse", Refused, 0), ("timeout", Unknown, 0), ("lose", Unknown, 1)],
)
def test_faults_count_by_key_and_outlive_the_process(carrier, send, answer, kind, stored) -> None:
    fault = {"operation": "book", "when": "args.order.id == '1'", "answer": answer, "times": 2}
    adapters = carrier(fault)
    for key in ("a", "b"):
        assert isinstance(send(adapters, "carrier.book", key=key, **ORDER), kind)
    assert len(adapters.records("carrier")) == 2 * stored
    adapters.close()
    again = carrier(fault)
    for key in ("a", "b"):
        assert isinstance(send(again, "carrier.book", key=key, **ORDER), kind)
        assert isinstance(send(again, "carrier.book", key=key, **ORDER), Answered)
    assert isinstance(send(again, "carrier.book", key="c", order={"id": "2"}), Answered)
    assert isinstance(send(again, "carrier.book", key="d", order="no id here"), Answered)
    assert len(again.records("carrier")) == 4


def test_a_lost_answer_is_found_by_verify(carrier, send) -> None:
    adapters = carrier({"operation": "book", "answer": "lose"})
    assert isinstance(send(adapters, "carrier.book", key="a", **ORDER), Unknown)
    assert isinstance(send(adapters, "carrier.book", key="a", **ORDER), Unknown)
    assert isinstance(send(adapters, "carrier.find_booking", idempotency_key="a"), Answered)
    assert seen(adapters) == [("book", "a", 2)]


@pytest.mark.parametrize("answer", ["timeout", "lose", "fail"])
def test_a_read_is_never_unknown(carrier, send, answer) -> None:
    adapters = carrier({"operation": "rates", "answer": answer, "times": 1})
    assert isinstance(send(adapters, "carrier.rates"), Failed)
    assert isinstance(send(adapters, "carrier.rates"), Answered)


def test_what_is_wrong_is_said(world, send, carrier) -> None:
    adapters = carrier(
        {"operation": "bok", "answer": "fail"}, {"operation": "book", "when": "args.(", "answer": "fail"}
    )
    text = "\n".join(problem.text for problem in adapters.problems() if problem.adapter == "carrier")
    assert "bok" in text
    assert "`when`" in text
    contract = {"operations": {"a": {"effect": "write", "simulate": {"x": "${nobody}"}}}}
    broken = world.open({"x": contract}, {"x": {"use": "simulator"}})
    assert "`simulate` of x.a" in broken.problems()[0].text
    assert isinstance(send(broken, "x.a"), Refused)
    contract = {"operations": {"a": {"effect": "write", "simulate": {"x": "${args.none}"}}}}
    empty = world.open({"x": contract}, {"x": {"use": "simulator"}})
    assert isinstance(send(empty, "x.a"), Refused)
    assert empty.records("x") == []


def test_a_memory_that_cannot_be_written(world, send) -> None:
    (world.home / "simulator.db").mkdir()
    adapters = world.open(shipped_contracts(), {"carrier": {"use": "simulator"}})
    assert isinstance(send(adapters, "carrier.book", **ORDER), Failed)
    assert "cannot be written" in str(adapters.problems())


def test_many_threads_one_record(carrier, send) -> None:
    adapters = carrier()
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(send(adapters, "carrier.book", key="a", **ORDER)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 20
    assert len({str(outcome) for outcome in outcomes}) == 1
    assert seen(adapters) == [("book", "a", 20)]


CHILD = """
import json, sys
from pathlib import Path
from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.registry import Adapters
from openclaw_dagster.adapters.records import Memory
from openclaw_dagster.adapters.shipped import shipped_contracts
from openclaw_dagster.clock import SystemClock
from openclaw_dagster.spec.environment import Environment

environment = Environment.model_validate({"adapters": {"carrier": {"use": "simulator"}}})
adapters = Adapters.open(shipped_contracts(), environment, str, home=Path(sys.argv[1]), clock=SystemClock())
operation = adapters.operation("carrier.book")
sys.stdin.read(1)
calls = [Call("carrier.book", operation, {"order": n}, f"k{n}", 5000) for n in range(20)]
print(json.dumps([adapters.call(call).result["id"] for call in calls]))
"""


def test_processes_share_the_memory(carrier, world) -> None:
    """Four processes begin at once on a file that does not exist yet, and send the same calls."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(world.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        child.stdin.write("g")
        child.stdin.flush()
    answers = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert all(answer == answers[0] for answer in answers)
    assert sorted(answers[0]) == sorted(f"BK-{n}" for n in range(1, 21))
    records = carrier().records("carrier")
    assert [record.calls for record in records] == [4] * 20


def test_a_fork_in_the_middle_of_a_call(world) -> None:
    memory = Memory(world.home / "simulator.db")
    inside = threading.Event()

    def linger() -> None:
        with memory.open():
            inside.set()
            time.sleep(0.2)

    thread = threading.Thread(target=linger)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(3)  # a lock inherited in its locked state would never open
        try:
            with memory.open() as records:
                os._exit(records.count("x", "y"))
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    with memory.open() as records:
        assert records.count("x", "y") == 0
    memory.close()


def test_a_fork_opens_its_own_connection(carrier, send) -> None:
    adapters = carrier()
    send(adapters, "carrier.book", key="parent", **ORDER)
    child = os.fork()
    if child == 0:
        outcome = send(adapters, "carrier.book", key="child", **ORDER)
        os._exit(0 if isinstance(outcome, Answered) else 1)
    assert os.waitpid(child, 0)[1] == 0
    send(adapters, "carrier.book", key="parent again", **ORDER)
    assert [record.key for record in adapters.records("carrier")] == ["parent", "child", "parent again"]
