"""Cases keep the version of the system they began under; those that have not begun go on under the newest."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from openclaw_dagster.runtime import operations
from openclaw_dagster.runtime.advance import close, pass_stage
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.store.entries import Kind

from .conftest import Open
from .kit import DISPATCH, LAYERS, bodies, case, check_books, clock_of, drain, grab, order, outside, pump

ONCE = {"carrier": ["{operation: book, answer: fail, times: 1}"]}
OTHER = (
    DISPATCH.replace("1.0.0", "2.0.0")
    .replace("book: {on: picked", "pack: {on: picked")
    .replace("carrier.book", "depot.pack")
)


def change(shop: Workspace, shops: Open, tmp_path: Path, text: str) -> Workspace:
    (tmp_path / "specs" / "s0.claw").write_text(text + LAYERS)
    return shops(again=True, clock=shop.clock)


def test_a_case_that_has_begun_keeps_its_version(shops: Open, tmp_path: Path) -> None:
    shop = shops(faults=ONCE)
    one = order(shop, "A-1")
    pump(shop)
    other = change(shop, shops, tmp_path, OTHER)
    drain(other)
    assert case(other, one).state == "completed"
    assert (len(outside(other, "carrier")), len(outside(other, "depot"))) == (1, 0)
    assert bodies(other, one, Kind.ADOPTED) == []
    check_books(other)


def test_a_case_that_has_not_begun_goes_on_under_the_newest(shops: Open, tmp_path: Path) -> None:
    shop = shops()
    one = order(shop, "A-1")
    other = change(shop, shops, tmp_path, OTHER)
    drain(other)
    assert (len(outside(other, "carrier")), len(outside(other, "depot"))) == (0, 1)
    assert case(other, one).digest == other.system("dispatch").digest
    check_books(other)


def test_a_case_whose_trigger_is_gone_keeps_its_version(shops: Open, tmp_path: Path) -> None:
    """Under the new version nothing would be done for it, and it would pass for completed."""
    shop = shops()
    one = order(shop, "A-1")
    other = change(shop, shops, tmp_path, OTHER.replace("order_created", "order_made"))
    drain(other)
    assert case(other, one).state == "completed"
    assert len(outside(other, "carrier")) == 1
    check_books(other)


def test_older_and_newer_cases_share_a_run(shops: Open, tmp_path: Path) -> None:
    shop = shops(faults=ONCE)
    old = order(shop, "A-1")
    pump(shop)
    other = change(shop, shops, tmp_path, OTHER)
    clock_of(other).advance(10_000)
    new = order(other, "A-2")
    batch = grab(other)
    assert set(batch.cases) == {old, new}
    for stage in other.system("dispatch").stages:
        pass_stage(batch, stage.name)
    close(batch)
    assert {case(other, one).state for one in (old, new)} == {"completed"}
    check_books(other)


def test_an_older_case_with_a_stage_the_graph_has_not_breaks_no_run(shops: Open, tmp_path: Path) -> None:
    before = DISPATCH + "  - note: {on: picked, action: depot.pack, needs: [book]}\n"
    after = (
        before.replace("1.0.0", "2.0.0")
        .replace(
            '  - book: {on: picked, action: carrier.book, retries: 3, dead_letter: "queue://ops.dlq"}\n', ""
        )
        .replace(", needs: [book]", "")
    )
    shop = shops(before, faults=ONCE)
    old = order(shop, "A-1")
    pump(shop)
    other = change(shop, shops, tmp_path, after)
    clock_of(other).advance(10_000)
    new = order(other, "A-2")
    batch = grab(other)
    for stage in other.system("dispatch").stages:
        pass_stage(batch, stage.name)
    close(batch)
    assert {case(other, one).state for one in (old, new)} == {"completed"}
    assert len(outside(other, "carrier")) == 1
    assert len(outside(other, "depot")) == 2
    check_books(other)


def test_a_system_whose_file_is_gone_still_ends_its_cases(shops: Open, tmp_path: Path) -> None:
    shop = shops(faults=ONCE)
    one = order(shop, "A-1")
    pump(shop)
    (tmp_path / "specs" / "s0.claw").unlink()
    other = shops(again=True, clock=shop.clock)
    drain(other)
    assert case(other, one).state == "completed"


@pytest.mark.parametrize("problem", ["gone", "refused"])
def test_a_version_that_cannot_be_had_fails_its_cases_only(
    shops: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    shop = shops(faults=ONCE)
    old = order(shop, "A-1")
    pump(shop)
    other = change(shop, shops, tmp_path, OTHER)
    clock_of(other).advance(10_000)
    new = order(other, "A-2")
    if problem == "gone":
        with other.ledger.database.write() as connection:
            for statement in guards_off(other):
                connection.execute(sa.text(statement))
            connection.execute(sa.text("DELETE FROM claw_specs WHERE version = '1.0.0'"))
    else:
        from openclaw_dagster.runtime import workspace

        def refuse(*_):  # type: ignore[no-untyped-def]
            from openclaw_dagster.spec.diagnostics import Diagnostic, Mark

            raise SpecRefused.of("x.claw", [Diagnostic("x.claw", Mark(), "CLAW012", "no such word")], {})

        monkeypatch.setattr(workspace, "load_bundle", refuse)
    drain(other)
    assert case(other, new).state == "completed"
    dead = case(other, old)
    assert (dead.state, dead.facts.failing) == ("dead_lettered", "version")
    operations.redrive(other, old, by="ann", reason="under the new one")
    drain(other)
    assert case(other, old).state == "completed"


def guards_off(shop: Workspace) -> list[str]:
    if shop.ledger.database.dialect == "postgresql":
        return ["ALTER TABLE claw_specs DISABLE TRIGGER ALL"]
    return ["DROP TRIGGER claw_specs_keep_rows"]


def test_a_redrive_chooses_the_version(shops: Open, tmp_path: Path) -> None:
    shop = shops(
        DISPATCH.replace("retries: 3", "retries: 0"),
        faults={"carrier": ["{operation: book, answer: refuse, times: 1}"]},
    )
    same, newer = order(shop, "A-1"), order(shop, "A-2")
    drain(shop)
    assert {case(shop, one).state for one in (same, newer)} == {"dead_lettered"}
    other = change(shop, shops, tmp_path, OTHER)
    operations.redrive(other, same, by="ann", reason="again", same_version=True)
    operations.redrive(other, newer, by="ann", reason="as it is now")
    drain(other)
    assert [record.key for record in outside(other, "carrier")] == [f"{same}:book:1"]
    assert [record.key for record in outside(other, "depot")] == [f"{newer}:pack:1"]
    check_books(other)
