"""Actions as functions of the project's own modules."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from openclaw_dagster.adapters.modules import load_actions, with_actions
from openclaw_dagster.adapters.outcome import Answered, Failed, Refused, Unknown
from openclaw_dagster.adapters.python import BadAction
from openclaw_dagster.adapters.shipped import shipped_contracts
from openclaw_dagster.errors import ClawError

MODULE = '''
from __future__ import annotations
import time
from typing import Literal, NotRequired, TypedDict
from openclaw_dagster.adapters.python import Refuse, TryAgain, action

class Stop(TypedDict):
    id: str
    tags: list[str]

class Assign(TypedDict):
    driver: int
    stops: list[Stop]
    mode: NotRequired[Literal["van", "bike"] | None]

@action("tms.assign", effect="write", verify="find", undo="drop", idempotent=True)
def assign(args: Assign, call) -> dict:
    """Give stops to a driver.

    More about it."""
    args["stops"].clear()
    return {"key": call.key, "stops": args["stops"]}

@action("tms.find", effect="read")
def find(args: dict) -> dict:
    return globals()["behave_" + args["how"]]()

@action("tms.drop", effect="write", input={"type": "object", "required": ["how"]})
def drop(args):
    return globals()["behave_" + args["how"]]()

def behave_refuse(): raise Refuse("no such driver")
def behave_again(): raise TryAgain("busy", after=1500)
def behave_crash(): raise ValueError("odd")
def behave_exit(): raise SystemExit(3)
def behave_slow(): time.sleep(1.5)
def behave_nothing(): return None
def behave_object(): return {"when": object()}
def behave_nan(): return float("nan")
def behave_big(): return "x" * 2_000_000
def behave_list(): return [1, {"a": (2, 3)}]
'''


def project(folder: Path, **modules: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(dedent(text))
    return folder


@pytest.fixture
def tms(world, tmp_path):
    actions = load_actions([project(tmp_path / "actions", tms=MODULE, _helper="raise SystemExit")])
    return world.open({}, {"tms": {"use": "python"}}, actions=actions)


def test_an_action_has_a_contract(tms) -> None:
    assert sorted(tms.catalog) == ["tms.assign", "tms.drop", "tms.find"]
    operation = tms.operation("tms.assign")
    assert (operation.effect, operation.verify, operation.undo, operation.idempotent) == (
        "write",
        "find",
        "drop",
        True,
    )
    assert operation.summary == "Give stops to a driver."
    stop = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["id", "tags"],
    }
    assert operation.input == {
        "type": "object",
        "properties": {
            "driver": {"type": "integer"},
            "stops": {"type": "array", "items": stop},
            "mode": {"anyOf": [{"enum": ["van", "bike"]}, {"type": "null"}]},
        },
        "required": ["driver", "stops"],
    }
    assert tms.operation("tms.find").input is None
    assert tms.problems() == []


def test_arguments_are_checked_and_copied(tms, send) -> None:
    given = {"driver": 7, "stops": [{"id": "a", "tags": []}]}
    assert send(tms, "tms.assign", key="k1", **given) == Answered({"key": "k1", "stops": []})
    assert len(given["stops"]) == 1
    assert send(tms, "tms.assign", driver="x", stops=[]) == Refused(
        'tms.assign: driver must be of type "integer"'
    )
    assert send(tms, "tms.assign", driver=1, stops=[{"id": "a"}]) == Refused(
        "tms.assign: stops.0.tags is missing"
    )
    assert send(tms, "tms.drop") == Refused("tms.drop: how is missing")


@pytest.mark.parametrize(
    ("how", "write", "read"),
    [
        ("refuse", Refused("X: no such driver"), Refused("X: no such driver")),
        ("again", Failed("X: busy", 1500), Failed("X: busy", 1500)),
        ("crash", Unknown, Failed),
        ("exit", Unknown, Failed),
        ("slow", Unknown, Failed),
        ("nothing", Answered({}), Answered({})),
        ("object", Answered({}), Failed),
        ("nan", Answered({}), Failed),
        ("big", Answered({}), Failed),
        ("list", Answered([1, {"a": [2, 3]}]), Answered([1, {"a": [2, 3]}])),
    ],
)
def test_what_an_action_may_do(tms, send, how, write, read) -> None:
    for action, expected in (("tms.drop", write), ("tms.find", read)):
        began = time.monotonic()
        outcome = send(tms, action, timeout=300, how=how)
        assert time.monotonic() - began < 1
        if isinstance(expected, type):
            assert isinstance(outcome, expected)
            assert how != "exit" or "SystemExit" in outcome.reason
        else:
            assert str(outcome) == str(expected).replace("X:", f"{action}:")


HEAD = "from openclaw_dagster.adapters.python import action\n"


def test_a_crash_names_its_place_and_no_secret(world, send, tmp_path) -> None:
    world.secrets["TOKEN"] = "planted-secret"
    text = """
    from openclaw_dagster.adapters.python import action
    @action("a.b", effect="write")
    def b(args):
        raise ValueError("with planted-secret inside")
    """
    actions = load_actions([project(tmp_path / "actions", a=text)])
    http = {"operations": {"c": {"effect": "read", "http": {"method": "GET", "path": "/"}}}}
    bindings = {
        "a": {"use": "python"},
        "h": {"use": "http", "url": "http://127.0.0.1:1", "auth": {"bearer": "TOKEN"}},
    }
    adapters = world.open({"h": http}, bindings, actions=actions)
    outcome = send(adapters, "a.b")
    assert isinstance(outcome, Unknown)
    assert "a.py:5: with [secret] inside" in outcome.reason


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("import json\nimport no_such_module\n", 2, "ModuleNotFoundError"),
        ("x = 1\n\ndef broken(:\n", 3, "SyntaxError"),
        ("def f():\n    1 / 0\nf()\n", 2, "ZeroDivisionError"),
        ("raise SystemExit\n", 1, "SystemExit"),
        (
            HEAD + "@action('tms', effect='read')\ndef f(a): ...\n",
            2,
            "tms.assign",
        ),
        (
            HEAD + "@action('a.b', effect='reed')\ndef f(a): ...\n",
            2,
            "effect",
        ),
        (
            HEAD + "@action('a.b', effect='read')\ndef f(): ...\n",
            2,
            "takes",
        ),
        (
            HEAD + "@action('a.b', effect='read')\ndef f(a): ...\n" * 2,
            4,
            "stands already at",
        ),
    ],
)
def test_what_cannot_be_loaded(tmp_path, text, line, said) -> None:
    folder = project(tmp_path / "actions", bad=text)
    for _ in range(2):
        with pytest.raises(BadAction) as caught:
            load_actions([folder])
        assert str(caught.value).startswith(f"{folder / 'bad.py'}:{line}: ")
        assert said in str(caught.value)
    assert isinstance(caught.value, ClawError)
    left = [name for name in sys.modules if name.startswith("_claw_actions") and name.endswith("_bad")]
    for name in left:  # only a module that was imported whole may stay
        del sys.modules[name]
    assert bool(left) == (said == "stands already at")


def test_a_missing_module(tmp_path) -> None:
    with pytest.raises(BadAction, match=r"none\.py:1: there is no"):
        load_actions([tmp_path / "none.py"])


def test_an_action_may_stand_in_for_a_contract_but_not_contradict_it(tmp_path) -> None:
    text = """
    from openclaw_dagster.adapters.python import action
    @action("carrier.book", effect="write", verify="find_booking", undo="cancel", idempotent={idempotent})
    def book(args): ...
    @action("carrier.extra", effect="read")
    def extra(args): ...
    """
    good = load_actions([project(tmp_path / "good", a=text.format(idempotent=True))])
    merged = with_actions(shipped_contracts(), good)
    assert merged["carrier"].operations["book"] == shipped_contracts()["carrier"].operations["book"]
    assert "extra" in merged["carrier"].operations
    bad = load_actions([project(tmp_path / "bad", a=text.format(idempotent=False))])
    with pytest.raises(
        BadAction, match="clashes with its contract file: idempotent is True there and False here"
    ):
        with_actions(shipped_contracts(), bad)


def test_operations_nobody_wrote(world, send) -> None:
    adapters = world.open(shipped_contracts(), {"crm": {"use": "python"}})
    assert "crm.note has no function" in str(adapters.problems())
    assert isinstance(send(adapters, "crm.note", customer="1", text="x"), Refused)
