"""Checkpoints, skips and owners that are right: what is loaded, what is ordered, what the digest sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openclaw_dagster.adapters.shipped import shipped_contracts
from openclaw_dagster.runtime.workspace import check_policy
from openclaw_dagster.spec.contracts import catalog_of
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.load import bundle_of, load, load_bundle
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import WebhookTrigger

CATALOG = catalog_of(shipped_contracts())

RETURNS = """\
system: returns
version: 1.0.0
owner: ops_lead
skip_policies:
  - carrier_down: {steps: [rebook, tell], when: order.stuck == true, approval: [ops_lead], expires: 30d}
  - quiet_hours: {steps: [label], approval: [ops_lead, finance], expires: 1s}
triggers:
  - returned: {source: webhook, idempotency: order.id, requester: order.agent.email}
  - parcel_back: {source: event, of: parcels.returned, requester: seller}
decisions:
  - pick: {on: [returned, parcel_back], inputs: [order], table: [{else: true, then: go}], emits: picked}
execution:
  - refund:
      on: picked
      action: erp.refund
      critical: true
      checkpoint:
        approval: [finance, ops_lead]
        quorum: 2
        form: {reason: {choose: [lost, damaged]}, note: {text: 4000}}
        remind: 15m
        deadline: 2h
        overdue: escalate
        escalate_to: ops_lead
  - rebook: {on: picked, action: carrier.book, skip: carrier_down}
  - tell: {on: picked, action: crm.note, skip: carrier_down, critical: true, checkpoint: {acknowledge: [agent]}}
  - label: {on: picked, action: oms.update, skip: quiet_hours}
data:
  events: {store: event-log}
  sources: {rates: {read: carrier.rates}}
observability:
  slo: {error_rate: <0.5%}
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], System]:
    """Give a function that loads a text as a system."""

    def loaded(text: str) -> System:
        (tmp_path / "returns.claw").write_text(text, encoding="utf-8")
        return load(tmp_path / "returns.claw", CATALOG, check_policy)

    return loaded


def refused(make: Callable[[str], System], text: str) -> list[str]:
    with pytest.raises(SpecRefused) as caught:
        make(text)
    return [f"{one.code} {one.message}" for one in caught.value.diagnostics]


def test_a_checkpoint_is_what_the_file_says(make: Callable[[str], System]) -> None:
    system = make(RETURNS)
    asked = system.step("refund").checkpoint
    assert asked is not None
    assert (asked.kind, asked.roles, asked.quorum) == ("approval", ("finance", "ops_lead"), 2)
    assert (asked.remind, asked.deadline, asked.overdue) == (900_000, 7_200_000, "escalate")
    assert asked.form["reason"].choose == ("lost", "damaged")
    assert asked.form["note"].text == 4000
    assert system.owner == asked.escalate_to == "ops_lead"


def test_without_a_word_about_time_a_checkpoint_holds(make: Callable[[str], System]) -> None:
    asked = make(RETURNS).step("tell").checkpoint
    assert asked is not None
    assert (asked.kind, asked.roles, asked.quorum) == ("acknowledge", ("agent",), 1)
    assert (asked.deadline, asked.overdue, asked.escalate_to) == (None, "hold", None)
    held = make(RETURNS.replace("{acknowledge: [agent]}", "{acknowledge: [agent], deadline: 1h}"))
    assert held.step("tell").checkpoint.overdue == "hold"  # type: ignore[union-attr]


def test_a_skip_is_never_unless_a_policy_is_named(make: Callable[[str], System]) -> None:
    system = make(RETURNS)
    assert [step.skip for step in system.execution] == [
        "never",
        "carrier_down",
        "carrier_down",
        "quiet_hours",
    ]
    policy = system.skip_policy("carrier_down")
    assert (policy.steps, policy.approval) == (("rebook", "tell"), ("ops_lead",))
    assert policy.expires == 30 * 86_400_000
    assert (
        make(RETURNS.replace("      critical: true\n", "      skip: never\n", 1)).step("refund").skip
        == "never"
    )


def test_a_requester_is_a_path_into_the_payload(make: Callable[[str], System]) -> None:
    trigger = make(RETURNS).trigger("returned")
    assert isinstance(trigger, WebhookTrigger)
    assert trigger.requester == "order.agent.email"


def test_what_a_requester_stands_in_can_be_looked_at(make: Callable[[str], System]) -> None:
    text = RETURNS.replace("requester: seller", "requester: seller.id").replace(
        "label: {on: picked,", "label: {on: picked, when: seller.id != '',"
    )
    assert make(text).step("label").when == "seller.id != ''"
    (problem,) = refused(make, text.replace("requester: seller.id", "requester: agent"))
    assert problem.startswith("CLAW021 `seller` is unknown")


def test_a_step_comes_after_what_its_skip_policy_looks_at(make: Callable[[str], System]) -> None:
    after = {stage.name: stage.after for stage in make(RETURNS).stages}
    assert after["rebook"] == ("pick",)
    looking = make(RETURNS.replace("order.stuck == true", "refund.id != ''"))
    assert {stage.name: stage.after for stage in looking.stages}["rebook"] == ("pick", "refund")


def test_a_step_may_look_at_a_source(make: Callable[[str], System]) -> None:
    text = RETURNS.replace(
        "carrier.book,", 'carrier.book, with: {order: "${order.id}", carrier: "${rates.best}"},'
    )
    assert make(text).step("rebook").arguments == {"order": "${order.id}", "carrier": "${rates.best}"}


def test_an_irreversible_step_needs_no_word_about_its_effect(make: Callable[[str], System]) -> None:
    assert make(RETURNS).step("refund").effect is None
    said = RETURNS.replace("action: oms.update,", "action: oms.update, effect: irreversible,")
    assert refused(make, said) == ["CLAW032 label cannot be taken back, so people have to approve it"]
    assert make(said.replace("irreversible,", "irreversible, checkpoint: {approval: [ops_lead]},"))


def test_an_owner_is_needed_only_where_people_may_stop_something(make: Callable[[str], System]) -> None:
    text = RETURNS.replace("owner: ops_lead\n", "")
    assert len(refused(make, text)) == 1
    start, end = text.index("skip_policies:"), text.index("triggers:")
    plain = text[:start] + text[end:]
    plain = plain[: plain.index("  - refund:")] + plain[plain.index("  - label:") :].replace(
        ", skip: quiet_hours", ""
    )
    assert make(plain).owner is None


@pytest.mark.parametrize("word", ["approve", "approved", "accept", "allow", "clear", "pass"])
def test_silence_never_approves(word: str, make: Callable[[str], System]) -> None:
    assert refused(make, RETURNS.replace("overdue: escalate", f"overdue: {word}")) == [
        "CLAW037 silence never approves: when nobody answers in time, write escalate, deny or hold"
    ]


CHANGES = {
    "the owner": ("owner: ops_lead", "owner: ops"),
    "who approves": ("approval: [finance, ops_lead]", "approval: [finance]"),
    "what is asked": ("{acknowledge: [agent]}", "{approval: [agent]}"),
    "how many": ("quorum: 2", "quorum: 1"),
    "a choice": ("[lost, damaged]", "[lost, damaged, late]"),
    "a length": ("text: 4000", "text: 3999"),
    "a reminder": ("remind: 15m", "remind: 16m"),
    "a deadline": ("deadline: 2h", "deadline: 3h"),
    "what happens then": ("overdue: escalate\n        escalate_to: ops_lead", "overdue: deny"),
    "to whom it escalates": ("escalate_to: ops_lead", "escalate_to: ops_head"),
    "critical": ("      critical: true\n", ""),
    "a step's policy": ("skip_policies:\n  - carrier_down:", "skip_policies:\n  - carriers_down:"),
    "a policy's condition": ("when: order.stuck == true, ", ""),
    "who lets skip": ("approval: [ops_lead, finance]", "approval: [finance]"),
    "how long": ("expires: 30d", "expires: 29d"),
    "the requester": ("requester: seller", "requester: buyer"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_digest_sees(name: str, make: Callable[[str], System]) -> None:
    before, after = CHANGES[name]
    assert before in RETURNS
    text = RETURNS.replace(before, after)
    if name == "a step's policy":
        text = text.replace("skip: carrier_down", "skip: carriers_down")
    assert make(text).digest != make(RETURNS).digest


def test_the_digest_does_not_see_the_order_of_policies(make: Callable[[str], System]) -> None:
    first, second = [line for line in RETURNS.splitlines(keepends=True) if "expires:" in line]
    assert make(RETURNS.replace(first + second, second + first)).digest == make(RETURNS).digest


def test_a_bundle_brings_back_the_gates(make: Callable[[str], System]) -> None:
    system = make(RETURNS)
    assert load_bundle(json.loads(json.dumps(bundle_of(system))), check_policy) == system
