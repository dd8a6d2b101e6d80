"""From a path to a System: the sample, a rich one, their digests; break one thing, and it is refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openclaw_dagster.adapters.shipped import shipped_contracts
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import check_policy
from openclaw_dagster.spec.contracts import catalog_of
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.load import bundle_of, load, load_bundle
from openclaw_dagster.spec.model import System

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "claw_specs" / "dispatch.claw"
#: The sample as it was published, byte for byte.
SAMPLE_SHA256 = "6bd0ee370962ac15c59a523f91b083ffdb91e94b435b1572690eb55537c26fc2"

CATALOG = catalog_of(shipped_contracts())

RICH = """\
system: rich
version: 2.3
owner: ops_lead
skip_policies:
  - oms_down: {steps: [file], when: limits.oms == 'down', approval: [finance], expires: 4h}

triggers:
  - order_created:
      source: webhook
      verify: {scheme: github, secret: OMS_SECRET}
      schema: ./order.json
      when: order.value > 0
      idempotency: {key: order.id, window: 7d}
      requester: order.agent
      critical: true
  - morning: {source: schedule, cron: "30 7 * * 1-5", timezone: Europe/London, catchup: last}
  - booked: {source: event, of: other.booking.confirmed, when: has(event.output)}
  - by_hand: {source: manual, idempotency: order.id}

decisions:
  - lane:
      on: [order_created, by_hand]
      inputs: [order]
      table:
        - {when: order.value > 100, then: {branch: express, impact: 2}}
        - {when: order.value <= 100, then: slow}
      emits: lane.chosen
  - carrier:
      on: lane.chosen
      inputs: [order, lane, rates]
      policy: ./pick.policy.ts
      emits: carrier.chosen
  - report:
      on: [morning, booked]
      inputs: [limits]
      policy: ./report.table.yaml
      emits: report.wanted

execution:
  - hold:
      on: lane.chosen
      when: lane.branch == 'express'
      action: oms.hold
      with: {order: "${order.id}", reason: "too fast"}
  - book:
      on: carrier.chosen
      needs: [hold]
      action: carrier.book
      with: {order: "${order.id}", parts: [1, true, 2.5]}
      effect: write
      retries: {max: 5, backoff: fixed, delay: 2s, jitter: false}
      timeout: 20s
      unknown_outcome: {verify: carrier.find_booking}
      undo: carrier.cancel
      emits: booked.now
      dead_letter: queue://ops.dlq
  - tell:
      on: report.wanted
      action: crm.note
      with: {customer: c, text: done}
  - refund:
      on: report.wanted
      action: erp.refund
      with: {order: o, amount: 5}
      effect: irreversible
      critical: true
      checkpoint:
        approval: [finance, ops_lead]
        quorum: 2
        form: {reason: {choose: [lost, damaged]}, note: {text: 200}}
        remind: 15m
        deadline: 2h
        overdue: escalate
        escalate_to: ops_lead
      skip: never
  - file:
      on: report.wanted
      action: oms.update
      checkpoint: {acknowledge: [ops_agent]}
      skip: oms_down

data:
  events: {store: event-log, retention: 365d}
  sources:
    rates: {read: carrier.rates, with: {order: "${order.id}"}}

observability:
  slo: {rich_latency_p95: 500ms, error_rate: <0.5%, trigger_to_start_p95: 2m}
  alerts:
    - {on: error_rate > 1% for 5m, route: slack://ops-oncall}
"""
BESIDE = {
    "order.json": '{"type": "object", "properties": {"order": {"type": "object"}}}',
    "pick.policy.ts": "export default ({ order }) => ({ branch: order.id });\n",
    "report.table.yaml": "- {when: limits.high > 3, then: much}\n- {else: true, then: little}\n",
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., System]:
    """Give a function that loads a text as a system, with the files beside it."""
    for name, text in BESIDE.items():
        (tmp_path / name).write_text(text)

    def loaded(text: str, **beside: str) -> System:
        (tmp_path / "rich.claw").write_text(text, encoding="utf-8")
        return load(tmp_path / "rich.claw", CATALOG, check_policy)

    return loaded


def test_the_sample_is_what_was_published() -> None:
    assert hashlib.sha256(SAMPLE.read_bytes()).hexdigest() == SAMPLE_SHA256


def test_the_sample_says_what_it_means() -> None:
    system = load(SAMPLE, CATALOG, check_policy)
    step = system.step("book_carrier")
    assert (step.retries.max, step.retries.backoff, step.retries.delay, step.retries.jitter) == (
        3,
        "exponential",
        1000,
        True,
    )
    assert system.decision("carrier_selection").on == ("order_created",)
    assert [stage.name for stage in system.stages] == ["carrier_selection", "book_carrier"]
    assert system.data.events.retention == 365 * 86_400_000
    assert sorted(system.operations) == ["carrier.book", "carrier.cancel", "carrier.find_booking"]


def test_a_rich_system_loads_and_orders_its_stages(make: Callable[..., System]) -> None:
    system = make(RICH)
    assert [(stage.name, stage.after) for stage in system.stages] == [
        ("lane", ()),
        ("carrier", ("lane",)),
        ("report", ()),
        ("hold", ("lane",)),
        ("book", ("carrier", "hold")),
        ("tell", ("report",)),
        ("refund", ("report",)),
        ("file", ("report",)),
    ]
    assert system.version == "2.3"
    assert system.decision("report").table is not None


def test_on_off_yes_and_no_are_words(make: Callable[..., System]) -> None:
    text = RICH.replace("then: slow", "then: {branch: off, yes: no}")
    assert make(text).decision("lane").table[1].then == {"branch": "off", "yes": "no"}  # type: ignore[index]


def test_a_version_stays_as_it_was_written(make: Callable[..., System]) -> None:
    assert make(RICH.replace("version: 2.3", "version: 1.10")).version == "1.10"


def test_a_bundle_brings_back_the_same_system(make: Callable[..., System]) -> None:
    system = make(RICH)
    again = load_bundle(json.loads(json.dumps(bundle_of(system))), check_policy)
    assert again == system


def test_windows_line_ends_are_as_good(make: Callable[..., System]) -> None:
    assert make(RICH.replace("\n", "\r\n")).digest == make(RICH).digest


def test_the_slower_reader_of_yaml_reads_the_same(
    make: Callable[..., System], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = make(RICH)
    monkeypatch.setattr("openclaw_dagster.spec.reader._Parser", yaml.SafeLoader)
    assert make(RICH) == fast
    for text in ("", "a: [", "\x07", "a: &b c", "- " * 500, RICH.replace("system:", "\tsystem:")):
        with pytest.raises(SpecRefused):
            make(text)


# The digest: what a system means, not how its file is laid out.

LAYOUTS = {
    "a comment": lambda data: "# said twice\n" + RICH.replace("execution:", "execution:  # the runbook"),
    "the order of keys": lambda data: dumped(backwards(data)),
    "the order of triggers": lambda data: dumped({**data, "triggers": data["triggers"][::-1]}),
    "the order of decisions": lambda data: dumped({**data, "decisions": data["decisions"][::-1]}),
    "flow and block": lambda data: dumped(data, default_flow_style=True),
    "the long form of the short": lambda data: RICH.replace("retries: {max: 5, ", "retries: {max: 5,   "),
}


def dumped(data: Any, **options: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, **options).replace("true:", '"on":').replace("'on':", "on:")


def backwards(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: backwards(data[key]) for key in reversed(data)}
    return [backwards(item) for item in data] if isinstance(data, list) else data


def parsed(text: str) -> Any:
    """Return the text as data in which every scalar is the text it was, so that it can be dumped again."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def plain(data: Any) -> Any:
    """Return data of texts with numbers and truth values where they are meant."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain(value) for value in data]
    if data in ("true", "false"):
        return data == "true"
    return int(data) if data.isdigit() else float(data) if data == "2.5" else data


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_digest_does_not_see(name: str, make: Callable[..., System]) -> None:
    assert make(LAYOUTS[name](plain(parsed(RICH)))).digest == make(RICH).digest


def scalars(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from scalars(value, (*path, key))
    if not isinstance(data, dict | list):
        yield path


#: Texts whose change is more than a letter at the end; those that cannot change alone stand for themselves.
OTHERS = {
    **{word: word for word in ("rich", "webhook", "schedule", "event", "manual", "event-log", "write")},
    "github": "stripe",
    "last": "all",
    "fixed": "exponential",
    "Europe/London": "Europe/Paris",
    "30 7 * * 1-5": "31 7 * * 1-5",
    "order.id": "order.ref",
    "500ms": "501ms",
    "<0.5%": "<0.6%",
    "2m": "3m",
    "error_rate > 1% for 5m": "error_rate > 1% for 6m",
    "slack://ops-oncall": "email://a@b.org",
    "order.value > 0": "order.value > 7",
    "has(event.output)": "has(event.name)",
    "lane.branch == 'express'": "true",
    "${order.id}": "${order.ref}",
    "7d": "8d",
    "2s": "3s",
    "20s": "21s",
    "365d": "30d",
    "15m": "16m",
    "2h": "3h",
    "4h": "5h",
    "limits.oms == 'down'": "limits.oms == 'up'",
    "queue://ops.dlq": "queue://other",
}


def changed(value: Any) -> Any:
    """Return another value that is as good at its place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return OTHERS.get(value, f"{value}x")


def test_every_meaningful_change_changes_the_digest(make: Callable[..., System]) -> None:
    before = make(RICH).digest
    seen: dict[str, tuple[Any, ...]] = {before: ()}
    same = []
    for path in scalars(plain(parsed(RICH))):
        data = plain(parsed(RICH))
        parent = data
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = changed(parent[path[-1]])
        try:
            digest = make(dumped(data)).digest
        except SpecRefused:
            continue
        if digest in seen:
            same.append(path)
        seen[digest] = path
    values = {_at(plain(parsed(RICH)), path) for path in same}
    assert {value for value in values if OTHERS.get(value) != value} == set()
    assert len(seen) > 40


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


@pytest.mark.parametrize("name", ["pick.policy.ts", "order.json", "report.table.yaml"])
def test_the_files_a_system_names_are_part_of_its_digest(
    name: str, make: Callable[..., System], tmp_path: Path
) -> None:
    before = make(RICH).digest
    text = (
        BESIDE[name]
        .replace("order.id", "order.ref")
        .replace("{}", "[]")
        .replace("little", "few")
        .replace('"object"}}', '"array"}}')
    )
    assert text != BESIDE[name]
    (tmp_path / name).write_text(text)
    assert make(RICH).digest != before


def test_the_order_of_steps_is_part_of_the_digest(make: Callable[..., System]) -> None:
    data = plain(parsed(RICH))
    data["execution"].reverse()
    assert make(dumped(data)).digest != make(RICH).digest


def test_the_digest_is_the_same_in_every_process() -> None:
    code = (
        "from pathlib import Path; from openclaw_dagster.spec.load import load;"
        "from openclaw_dagster.adapters.shipped import shipped_contracts;"
        "from openclaw_dagster.spec.contracts import catalog_of;"
        f"print(load(Path({str(SAMPLE)!r}), catalog_of(shipped_contracts()), lambda *_: None).digest)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert said == {load(SAMPLE, CATALOG, check_policy).digest}


# Files that are too large, not files, or not there.


def refusal(path: Path) -> str:
    with pytest.raises(SpecRefused) as caught:
        load(path, CATALOG, check_policy)
    return str(caught.value.diagnostics[0].message)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.claw") == "none.claw does not exist"


def test_a_file_of_more_than_256_kib(tmp_path: Path) -> None:
    (tmp_path / "big.claw").write_text("#" * (256 * 1024) + "\nsystem: big\n")
    assert refusal(tmp_path / "big.claw") == "big.claw is larger than 256 KiB"


def test_a_folder_a_pipe_and_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder.claw").mkdir()
    os.mkfifo(tmp_path / "pipe.claw")
    (tmp_path / "link.claw").symlink_to("/etc/hosts")
    assert refusal(tmp_path / "folder.claw") == "folder.claw is not a plain file"
    assert refusal(tmp_path / "pipe.claw") == "pipe.claw is not a plain file"
    assert refusal(tmp_path / "link.claw") == "link.claw goes through a link: name the file itself"


@pytest.mark.parametrize(
    "path",
    ["../policies-secret/a.policy.ts", "policies/../../a.policy.ts", "~/a.policy.ts", "a\\\\b.policy.ts"],
)
def test_a_policy_outside_the_folder_is_never_opened(path: str, make: Callable[..., System]) -> None:
    with pytest.raises(SpecRefused) as caught:
        make(RICH.replace("./pick.policy.ts", f'"{path}"'))
    assert {one.code for one in caught.value.diagnostics} == {"CLAW020"}


@pytest.mark.parametrize("layer", ["triggers", "decisions", "execution", "data", "observability"])
def test_a_missing_layer_is_named_and_its_stub_is_good(layer: str, make: Callable[..., System]) -> None:
    """What the refusal says to paste is itself right, so that pasting all five makes a system."""
    from openclaw_dagster.spec.layers import LAYERS

    system = make("system: pasted\nversion: 1\n" + "\n".join(LAYERS.values()) + "\n")
    assert system.name == "pasted"
    data = plain(parsed(RICH))
    del data[layer]
    with pytest.raises(SpecRefused) as caught:
        make(dumped(data))
    (missing,) = [one for one in caught.value.diagnostics if one.code == "CLAW010"]
    assert missing.message == f"the layer {layer!r} is missing"
    assert LAYERS[layer] in missing.hint


def test_the_largest_file_is_checked_in_a_fifth_of_a_second(tmp_path: Path) -> None:
    step = "  - step_{0}:\n      on: picked\n      when: pick.branch == 'b{0}'\n      action: carrier.book\n"
    head = (
        "system: large\nversion: 1\ntriggers:\n  - order_created: {source: webhook, idempotency: order.id}\n"
        "decisions:\n  - pick: {inputs: [order], table: [{else: true, then: go}], emits: picked}\n"
        "execution:\n"
    )
    tail = "data:\n  events: {store: event-log}\nobservability:\n  slo: {error_rate: <0.5%}\n"
    text = head + "".join(step.format(number) for number in range(800)) + tail
    text += "# " + "x" * (256 * 1024 - len(text) - 3) + "\n"
    (tmp_path / "large.claw").write_text(text)
    took = []
    for _ in range(4):
        began = time.process_time()
        load(tmp_path / "large.claw", CATALOG, check_policy)
        took.append(time.process_time() - began)
    assert min(took) < 0.2


def test_an_error_can_be_pickled(make: Callable[..., System]) -> None:
    import pickle

    with pytest.raises(ClawError) as caught:
        make(RICH.replace("retries: {", "retrys: {"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.render() == caught.value.render()  # type: ignore[attr-defined]
