"""Small systems in folders of their own, a clock moved by hand, and the books of the outside world."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from openclaw_dagster.adapters.records import Record
from openclaw_dagster.clock import Clock, VirtualClock
from openclaw_dagster.runtime.advance import advance, hold
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store import audit, journal
from openclaw_dagster.store import tables as t
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.store.events import Receipt

START = 1_700_000_000_000
_numbers = itertools.count(1)

LAYERS = """
data: {events: {store: event-log, retention: 365d}}
observability: {slo: {error_rate: <0.5%}}
"""

#: The sample's shape: a webhook, a table, a booking.
DISPATCH = """
system: dispatch
version: 1.0.0
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: book}], emits: picked}
execution:
  - book: {on: picked, action: carrier.book, retries: 3, dead_letter: "queue://ops.dlq"}
"""

#: Operations without the comforts of the shipped ones: no verify, some not idempotent.
DEPOT = """
operations:
  pick: {effect: write, undo: unpick, simulate: {id: "${'PICK-' + string(count)}"}}
  unpick: {effect: write, simulate: {status: unpicked}}
  pack: {effect: write, idempotent: true, undo: unpack, simulate: {id: "${'PACK-' + string(count)}"}}
  unpack: {effect: write, idempotent: true, simulate: {status: unpacked}}
  seal: {effect: write, verify: look, undo: unseal, simulate: {id: "${'SEAL-' + string(count)}"}}
  unseal: {effect: write, idempotent: true, simulate: {status: unsealed}}
  look: {effect: read}
  weigh: {effect: read, simulate: {grams: 1200}}
"""

#: People of the test environment and the roles they have.
PEOPLE = """
people:
  fin_1: {email: fin_1@example.org, slack: U0000FIN1}
  fin_2: {email: fin_2@example.org, slack: U0000FIN2}
  lead_1: {email: lead_1@example.org, slack: U000LEAD1}
  agent_1: {email: agent_1@example.org}
roles:
  finance: {people: [fin_1, fin_2], notify: "slack://finance"}
  ops_lead: {people: [lead_1], notify: "slack://leads"}
  ops_agent: {people: [agent_1, fin_1]}
"""

SIMULATORS = {"carrier": [], "oms": [], "erp": [], "crm": [], "depot": []}


def build(
    folder: Path,
    url: str,
    *systems: str,
    faults: Mapping[str, list[str]] | None = None,
    constants: str = "{}",
    files: Mapping[str, str] | None = None,
    lease: str = "45s",
    clock: Clock | None = None,
) -> Workspace:
    """Write a project and open it; `faults` are simulator faults by adapter, `files` whatever lies beside."""
    specs = folder / "specs"
    (specs / "environments").mkdir(parents=True, exist_ok=True)
    (specs / "adapters").mkdir(exist_ok=True)
    (specs / "adapters" / "depot.yaml").write_text(DEPOT)
    for number, text in enumerate(systems):
        full = text if "\ndata:" in text else text + LAYERS
        (specs / f"s{number}.claw").write_text(full)
    for name, text in (files or {}).items():
        (specs / name).parent.mkdir(parents=True, exist_ok=True)
        (specs / name).write_text(text)
    write_environment(folder, faults=faults, constants=constants, lease=lease, files=files)
    return reopen(folder, url, clock=clock)


def write_environment(
    folder: Path,
    *,
    faults: Mapping[str, list[str]] | None = None,
    constants: str = "{}",
    lease: str = "45s",
    files: Mapping[str, str] | None = None,
) -> None:
    """Write what stands behind the adapters; without faults everything is mended."""
    lines = [f"lease: {lease}", f"constants: {constants}", "adapters:"]
    if any(name.startswith("actions/") for name in files or {}):
        lines.append("  own: {use: python}")
    for adapter in SIMULATORS:
        lines.append(
            f"  {adapter}: {{use: simulator, faults: [{', '.join((faults or {}).get(adapter, []))}]}}"
        )
    (folder / "specs" / "environments" / "test.yaml").write_text("\n".join(lines) + "\n" + PEOPLE)


def reopen(
    folder: Path, url: str, *, clock: Clock | None = None, project: Project | None = None
) -> Workspace:
    """Open a project as a new process would."""
    settings = read_settings(
        home=str(folder / "home"), specs=str(folder / "specs"), environment="test", database=url
    )
    shop = Workspace(settings, clock=clock or VirtualClock(START), project=project)
    assert not shop.project.refused, "\n\n".join(one.render() for one in shop.project.refused)
    _hurry(shop)
    return shop


def _hurry(shop: Workspace) -> None:
    """Let SQLite not wait for the disk: here processes die, and the machine does not."""
    engine = shop.ledger.database.engine
    if engine.dialect.name == "sqlite":
        engine.dispose()
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))


def clock_of(shop: Workspace) -> VirtualClock:
    """Return the clock, to be moved."""
    assert isinstance(shop.clock, VirtualClock)
    return shop.clock


def send(
    shop: Workspace, payload: Mapping[str, Any], *, system: str = "dispatch", trigger: str = "order_created"
) -> Receipt:
    """Put one event into the log as its trigger would."""
    found = shop.system(system)
    one = found.trigger(trigger)
    idempotency = getattr(one, "idempotency", None)
    value: Any = payload
    for part in idempotency.path if idempotency else ():
        value = value[part]
    key = str(value) if idempotency else f"key-{next(_numbers)}"
    (receipt,) = shop.ledger.receive([arrival(found, one, payload, key)])
    return receipt


def order(shop: Workspace, name: str, **fields: Any) -> str:
    """Send one order and return its case."""
    receipt = send(shop, {"order": {"id": name, **fields}})
    assert receipt.case_id is not None
    return receipt.case_id


def case(shop: Workspace, case_id: str) -> Case:
    """Return a case as it stands."""
    found = shop.ledger.case(case_id)
    assert found is not None
    return found


def grab(
    shop: Workspace, *, system: str = "dispatch", limit: int = 50, only: list[str] | None = None
) -> Batch:
    """Claim what is due and hold it, as a run does when it begins."""
    claim = shop.ledger.claim(system, limit=limit, lease=shop.environment.lease, by="test", only=only)
    if claim is None:
        return Batch(shop, [])
    return hold(shop, claim.id, run_id=f"run-{next(_numbers)}", host="test")


def due(shop: Workspace) -> dict[str, int]:
    """Return when the first case of each system is due that is due at all."""
    column = t.cases.c.due_at
    query = (
        sa.select(t.cases.c.system, sa.func.min(column)).where(column.isnot(None)).group_by(t.cases.c.system)
    )
    with shop.ledger.database.read() as connection:
        return {system: int(at) for system, at in connection.execute(query)}


def pump(shop: Workspace, *, limit: int = 50) -> int:
    """Move every case that is due now; return how many were held."""
    held = 0
    for system, at in due(shop).items():
        while at <= clock_of(shop).at:
            batch = grab(shop, system=system, limit=limit)
            if not batch.cases and not batch.left:
                break
            held += len(batch.cases)
            advance(batch)
    return held


def drain(shop: Workspace, *, limit: int = 50, until: Callable[[], bool] | None = None) -> None:
    """Move cases, and the clock to whatever is due next, until nothing is due any more."""
    for _ in range(2_000):
        pump(shop, limit=limit)
        if until is not None and until():
            return
        following = due(shop)
        if not following:
            return
        clock_of(shop).at = max(clock_of(shop).at, min(following.values()))
    raise AssertionError("it does not come to an end")


def kinds(shop: Workspace, case_id: str) -> list[Kind]:
    """Return what happened to a case, in order."""
    return [record.kind for record in shop.ledger.journal(case_id)]


def bodies(shop: Workspace, case_id: str, kind: Kind) -> list[Mapping[str, Any]]:
    """Return the bodies of one kind of entry."""
    return [record.body or {} for record in shop.ledger.journal(case_id) if record.kind is kind]


def outside(
    shop: Workspace, adapter: str = "carrier", operation: str | None = None, *, about: str = ""
) -> list[Record]:
    """Return what the outside accepted; `about` is part of the key."""
    found = shop.adapters.records(adapter)
    return [one for one in found if operation in (None, one.operation) and about in one.key]


def check_books(shop: Workspace) -> None:
    """Compare the ledger with itself and with the outside: the invariants that hold at any moment."""
    verdict = audit.verify(shop.ledger.database)
    assert verdict.faults == ()
    seen = {
        (adapter, one.operation, one.key): one
        for adapter in SIMULATORS
        for one in shop.adapters.records(adapter)
    }
    for one in shop.ledger.find(limit=10_000):
        _check_row(shop, one)
        _check_once(shop, one, seen)
        if one.state == "completed":
            _check_way(shop, one)


def _check_row(shop: Workspace, one: Case) -> None:
    """The row is what its journal adds up to."""
    records = shop.ledger.journal(one.id)
    opened = (records[0].body or {})["digest"]
    bare = Case(one.id, one.system, one.trigger, one.event_id, one.key, opened)
    assert replace(journal.rebuild(bare, records), seq=one.seq, head=one.head) == one


def _check_once(shop: Workspace, one: Case, seen: Mapping[tuple[str, str, str], Record]) -> None:
    """A completed write was accepted outside, and no step has two effects that stand."""
    system = shop.version(one.digest)
    for name, fact in one.facts.steps.items():
        step = next((step for step in system.execution if step.name == name), None)
        if step is None or step.runbook or system.operations[step.action].effect == "read":
            continue
        adapter, operation = step.action.split(".")
        keys = [f"{one.id}:{name}:{generation}" for generation in range(1, fact.generation + 1)]
        records = [seen[adapter, operation, key] for key in keys if (adapter, operation, key) in seen]
        standing = [record for record in records if not record.undone]
        assert len(standing) <= 1, f"{one.id}: {name} stands twice outside"
        if fact.state == "completed":
            assert standing, f"{one.id}: {name} is completed, and does not stand outside"
        if fact.state in ("undone", "skipped"):
            assert not standing, f"{one.id}: {name} is {fact.state}, and stands outside"


def _check_way(shop: Workspace, one: Case) -> None:
    """What is completed went its whole way: no stage that was called for is missing."""
    system = shop.version(one.digest)
    for stage in system.stages:
        if not set(stage.on).isdisjoint(one.facts.happened):
            if stage.kind == "decision":
                assert stage.name in one.facts.decisions
            else:
                assert one.facts.steps[stage.name].state in ("completed", "skipped")
