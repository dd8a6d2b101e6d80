"""The one door: bindings, contracts, and what is refused before anything is sent."""

from __future__ import annotations

import logging

import pytest

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Answered, Failed, Refused, Unknown
from openclaw_dagster.adapters.registry import NoSuchAction, NotBound
from openclaw_dagster.adapters.shipped import shipped_contracts

from .far_side import answering, far_side, response


def test_an_adapter_that_is_not_bound_says_the_line_to_add(world, send) -> None:
    adapters = world.open(shipped_contracts(), {})
    with pytest.raises(NotBound, match=r"add the line `carrier: \{use: simulator\}` under `adapters:`"):
        send(adapters, "carrier.book", order="1")
    assert {problem.adapter for problem in adapters.problems()} == {"carrier", "crm", "erp", "oms"}


def test_an_action_that_does_not_exist(world) -> None:
    adapters = world.open(shipped_contracts(), {"carrier": {"use": "simulator"}, "ghost": {"use": "python"}})
    with pytest.raises(NoSuchAction, match=r"did you mean carrier\.book\?"):
        adapters.operation("carrier.bok")
    operation = adapters.operation("carrier.book")
    with pytest.raises(NoSuchAction):
        adapters.call(Call("ghost.book", operation, {}, "k", 1000))
    assert any(problem.adapter == "ghost" for problem in adapters.problems())


@pytest.mark.parametrize(
    ("schema", "args", "said"),
    [
        ({"required": ["order"]}, {}, "order is missing"),
        (
            {"properties": {"a": {"properties": {"b": {"type": "string"}}}}},
            {"a": {"b": 77777}},
            "a.b must be of type",
        ),
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": "77777"}, "a must be one of"),
        ({"properties": {"a": {"maxItems": 1}}}, {"a": [77777, 2]}, "a breaks the rule maxItems"),
        ({"properties": {"a": {"pattern": "("}}}, {"a": "x"}, "cannot be used"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_unsent(world, send, schema, args, said) -> None:
    contract = {"operations": {"go": {"effect": "write", "input": schema}}}
    adapters = world.open({"x": contract}, {"x": {"use": "simulator"}})
    outcome = send(adapters, "x.go", **args)
    assert isinstance(outcome, Refused)
    assert said in outcome.reason
    assert "77777" not in outcome.reason
    assert adapters.records("x") == []


def test_a_schema_fetches_nothing(world, send) -> None:
    with far_side(answering(response(200, b"{}"))) as side:
        contract = {"operations": {"go": {"effect": "write", "input": {"$ref": f"{side.url}/x.json"}}}}
        adapters = world.open({"x": contract}, {"x": {"use": "simulator"}})
        outcome = send(adapters, "x.go")
        assert isinstance(outcome, Refused)
        assert "none is ever fetched" in outcome.reason
    assert side.connections == 0


def test_a_result_that_does_not_fit_only_warns(world, send, caplog) -> None:
    contract = {"operations": {"go": {"effect": "write", "output": {"required": ["number"]}}}}
    adapters = world.open({"x": contract}, {"x": {"use": "simulator"}})
    assert isinstance(send(adapters, "x.go"), Answered)
    assert [(r.levelno, "number is missing" in r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, True)
    ]


def test_problems_of_a_contract(world) -> None:
    contract = {
        "operations": {
            "go": {"effect": "write", "input": {"type": "objekt"}, "verify": "nowhere"},
        }
    }
    text = str(world.open({"x": contract}, {"x": {"use": "http", "url": "https://x.example"}}).problems())
    assert "the `input` of x.go" in text
    assert "has nowhere as its `verify`" in text
    assert "x.go has no `http:`" in text


@pytest.mark.parametrize("timeout", [0, -5])
def test_no_time_left_means_not_sent(world, send, timeout) -> None:
    adapters = world.open(shipped_contracts(), {"carrier": {"use": "simulator"}})
    assert isinstance(send(adapters, "carrier.book", order="1", timeout=timeout), Failed)
    assert adapters.records("carrier") == []


def test_a_mistake_in_an_adapter_does_not_lose_a_write(world, send, monkeypatch, caplog) -> None:
    adapters = world.open(shipped_contracts(), {"carrier": {"use": "simulator"}})

    def broken(self, call):
        raise KeyError("planted-secret")

    monkeypatch.setattr("openclaw_dagster.adapters.simulator.SimulatorAdapter.call", broken)
    assert isinstance(send(adapters, "carrier.book", order="1"), Unknown)
    assert isinstance(send(adapters, "carrier.rates"), Failed)
    assert "planted" not in caplog.text


def test_the_shipped_contracts_are_whole(world, send) -> None:
    contracts = shipped_contracts()
    assert sorted(contracts) == ["carrier", "crm", "erp", "oms"]
    adapters = world.open(contracts, {name: {"use": "simulator"} for name in contracts})
    assert adapters.problems() == []
    wide = {"order": {"id": "1"}, "customer": "1", "text": "x", "carrier_selection": {"branch": "a"}}
    for number, (action, operation) in enumerate(adapters.catalog.items()):
        args = {**wide, "order": "1"} if action.endswith(".order") else wide
        outcome = send(adapters, action, key=f"k{number}", **args)
        if operation.effect != "read":
            assert isinstance(outcome, Answered), (action, outcome)
            assert operation.verify or any(action.endswith(f".{o.undo}") for o in adapters.catalog.values())
        assert operation.http is not None
        assert operation.summary


def test_secrets_are_asked_for_at_every_call_and_old_ones_stay_masked(world) -> None:
    from openclaw_dagster.adapters.secrets import Secrets

    values = iter(["first-secret", "second-secret"])
    secrets = Secrets(lambda name: next(values))
    assert secrets.value("A") == "first-secret"
    assert secrets.value("A") == "second-secret"
    assert secrets.scrub("first-secret second-secret") == "[secret] [secret]"


def test_a_secret_is_masked_in_every_spelling() -> None:
    from openclaw_dagster.adapters.secrets import Secrets

    secrets = Secrets(lambda name: 'pla"nt/ed+1')
    secrets.value("A")
    for spelling in ('pla"nt/ed+1', 'pla\\"nt/ed+1', "pla%22nt/ed%2B1", "pla%22nt%2Fed%2B1"):
        assert secrets.scrub(f"<{spelling}>") == "<[secret]>"
    assert secrets.scrub_json({'pla"nt/ed+1': ['pla"nt/ed+1', 1, None]}) == {
        "[secret]": ["[secret]", 1, None]
    }
