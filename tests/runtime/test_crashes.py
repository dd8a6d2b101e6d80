"""Every crash point of the runtime × kill -9, noticed or not, an exception, a freeze past the lease × both databases."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openclaw_dagster import faults
from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.runtime import advance as runtime
from openclaw_dagster.runtime.workspace import Workspace

from .kit import START, build, case, check_books, drain, order, outside, pump, reopen
from .test_events import listener

FOLDER = Path(runtime.__file__).parent
POINTS = sorted(
    {
        name
        for path in FOLDER.glob("*.py")
        for name in re.findall(
            r'\bpoint\("((?!notice)[\w.]+)"\)', path.read_text()
        )  # the sender has its own tests
    }
)
CELLS = [(name, what, 1) for name in POINTS for what in ("kill", "bury", "raise", "freeze")]
#: Later steps of the same run, which the first hit of a point does not reach.
CELLS += [(name, "kill", 7 if name == "effect.sent" else 2) for name in POINTS if name.startswith("effect.")]
CELLS += [(name, "kill", 2) for name in POINTS if name.startswith("undo.")]

SYSTEM = """
system: dispatch
version: 1.0.0
triggers:
  - order_created: {source: webhook, idempotency: order.id}
decisions:
  - pick: {inputs: [order], table: [{else: true, then: book}], emits: picked}
execution:
  - pack: {on: picked, action: depot.pack, undo: depot.unpack}
  - book: {on: picked, needs: [pack], action: carrier.book, undo: carrier.cancel, emits: booked}
  - post: {on: picked, needs: [book], action: erp.post, undo: erp.reverse}
  - seal: {on: picked, needs: [post], action: depot.seal, with: {order: "${order}"}}
  - label:
      {on: picked, needs: [seal], action: runbook.label, foreach: "[1, 2]", with: {order: "${order.id}", box: "${item}"}}
"""
LABEL = """
system: label
version: 1.0.0
triggers:
  - begin: {source: manual}
decisions:
  - paper: {inputs: [order, box], table: [{else: true, then: white}], emits: chosen}
execution:
  - stick: {on: chosen, action: oms.update, with: {order: "${order}", changes: {box: "${box}"}}}
"""
FAULTS = {
    "carrier": [
        "{operation: book, when: \"args.order.kind == 'lost'\", answer: lose, times: 1}",
        "{operation: book, when: \"args.order.kind == 'late'\", answer: timeout, times: 1}",
        "{operation: book, when: \"args.order.kind == 'flaky'\", answer: fail, times: 1}",
    ],
    "depot": ["{operation: seal, when: \"args.order.kind == 'bad'\", answer: refuse}"],
}
ENDS = {
    "good": "completed",
    "lost": "completed",
    "late": "completed",
    "flaky": "completed",
    "bad": "dead_lettered",
}


class SharedClock(VirtualClock):
    """A clock in a file, so that several processes have the same time, which a test moves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def at(self) -> int:  # type: ignore[override]
        return int(self.path.read_text())

    @at.setter
    def at(self, value: int) -> None:
        other = self.path.with_suffix(".new")
        other.write_text(str(value))
        other.rename(self.path)


class NthHit(dict[str, str]):
    """A plan that strikes at the n-th time its point is reached."""

    def __init__(self, name: str, what: str, hit: int) -> None:
        super().__init__({name: what})
        self.left = hit

    def __contains__(self, name: object) -> bool:
        if not super().__contains__(name):
            return False
        self.left -= 1
        return self.left == 0


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("crashes")
    url = f"sqlite:///{folder / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").fresh()
    clock = SharedClock(folder / "clock")
    clock.at = START
    opened = build(folder, url, SYSTEM, listener(), LABEL, faults=FAULTS, clock=clock)
    yield opened
    check_books(opened)
    opened.close()


@pytest.mark.parametrize(("name", "what", "hit"), CELLS, ids=lambda value: str(value))
def test_nothing_is_lost_and_nothing_doubled(
    shop: Workspace, tmp_path: Path, name: str, what: str, hit: int
) -> None:
    cases = {kind: order(shop, f"{name}-{what}-{hit}-{kind}", kind=kind) for kind in ENDS}
    child = fork(shop, tmp_path, NthHit(name, "kill" if what == "bury" else what, hit))
    if what == "freeze":
        await_file(tmp_path / "frozen")
        shop.clock.advance(600_000)  # type: ignore[attr-defined]
        drain(shop)
        (tmp_path / "thaw").touch()
    # an exception while a case is ended stays with that case, so that the process may go on
    killed = (-signal.SIGKILL,)
    assert ended(child) in {"kill": killed, "bury": killed, "raise": (3, 0), "freeze": (0,)}[what]
    if what == "bury":  # as the pool does for a worker that died
        for run in {one.run_id for one in map(shop.ledger.case, cases.values()) if one and one.run_id}:
            shop.ledger.orphan(run, by="test")
    drain(shop)
    check(shop, cases)


def check(shop: Workspace, cases: dict[str, str]) -> None:
    assert {kind: case(shop, one).state for kind, one in cases.items()} == ENDS
    for one in cases.values():
        (heard,) = shop.ledger.find(system="billing", key=f"{one}:book:booked:1")
        assert heard.state == "completed"
    for adapter, operation in (("carrier", "book"), ("erp", "post"), ("depot", "pack"), ("depot", "seal")):
        records = outside(shop, adapter, operation)
        for kind, one in cases.items():
            mine = [record for record in records if record.key.startswith(one)]
            wanted = 0 if (kind, operation) == ("bad", "seal") else 1
            assert len(mine) == wanted, (kind, operation)
            assert all(record.undone == (kind == "bad") for record in mine)
            if (
                operation != "pack"
            ):  # nobody can be asked about a packing, but the same one again does no harm
                assert all(record.calls == 1 for record in mine), (kind, operation)

    for kind, one in cases.items():
        found = shop.ledger.begun_by(case(shop, one)).get("label", [])
        assert [each.state for each in found] == ["completed"] * (0 if kind == "bad" else 2)
        for each in found:
            (stuck,) = outside(shop, "oms", "update", about=each.id)
            assert stuck.calls == 1


def fork(shop: Workspace, folder: Path, plan: NthHit) -> int:
    """Start a process that moves what is due, and in which the plan strikes."""
    child = os.fork()
    if child:
        return child
    status = 4
    try:
        faults._PLAN = plan
        faults.time = SimpleNamespace(sleep=lambda _: freeze(folder))  # type: ignore[assignment]
        folder_of_all = shop.settings.specs.parent
        pump(reopen(folder_of_all, shop.settings.database, clock=shop.clock, project=shop.project))
        status = 5 if plan.left > 0 else 0
    except faults.PlannedFault:
        status = 3
    finally:
        os._exit(status)


def freeze(folder: Path) -> None:
    (folder / "frozen").touch()
    await_file(folder / "thaw")


def await_file(path: Path) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < give_up, f"{path.name} never came"
        time.sleep(0.005)


def ended(child: int) -> int:
    """Return how a process ended: its status, or minus the signal."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_every_point_has_a_name_of_its_own() -> None:
    texts: list[Any] = [path.read_text() for path in FOLDER.glob("*.py")]
    found = [name for text in texts for name in re.findall(r'\bpoint\("((?!notice)[\w.]+)"\)', text)]
    assert sorted(found) == POINTS
