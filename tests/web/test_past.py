"""What people see of a case whose texts were taken away when their retention was over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from openclaw_dagster.cli.app import app
from openclaw_dagster.runtime import operations
from openclaw_dagster.store.retention import shred

from .hosted import Hosted
from .ways import World, add_more, edit

pytestmark = [pytest.mark.xdist_group("web_past"), pytest.mark.timeout(300)]
SAID = "a reason that somebody gave"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a host with a refund that was denied and one that was cancelled, both past the second they are kept."""
    with pytest.MonkeyPatch.context() as patch:
        host = Hosted(tmp_path_factory.mktemp("past"), patch, None)
        edit(host, add_more)
        file = host.specs / "stalled_orders.claw"
        file.write_text(file.read_text().replace("retention: 365d", "retention: 1s"))
        host.restart()
        made = World(host)
        try:
            made.open("S-1")
            made.open("S-2")
            made.say("fin_1", verdict="deny", reason=SAID)
            made.until("S-1", "handed_off")
            operations.cancel(host.shop, made.cases["S-2"], by="lead_1", reason=SAID)
            for name in ("S-1", "S-2"):
                assert SAID in made["fin_1"].get(f"/claw/cases/{made.cases[name]}").text
            time.sleep(1.5)
            assert shred(host.shop.ledger.database, host.shop.clock.now())
            yield made
        finally:
            host.close()


@pytest.mark.parametrize("name", ["S-1", "S-2"])
def test_a_case_and_its_checkpoint_are_shown_without_what_was_said(world: World, name: str) -> None:
    page = world["fin_1"].get(f"/claw/cases/{world.cases[name]}")
    assert (page.status, SAID in page.text) == (200, False)
    assert "Its payload was shredded: its retention is over." in page.text
    page = world["fin_1"].get(world.page(name))
    assert (page.status, SAID in page.text) == (200, False)
    assert "What was shown is past its retention." in page.text


def test_who_denied_it_is_still_known(world: World) -> None:
    page = world["fin_1"].get(world.page("S-1")).text
    assert ">deny</span> fin_1" in page


@pytest.mark.parametrize("path", ["/claw", "/claw/inbox", "/claw/dead-letters"])
def test_the_lists_are_shown(world: World, path: str) -> None:
    page = world["fin_1"].get(path)
    assert (page.status, SAID in page.text) == (200, False)


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_command_line_shows_it_too(world: World, more: tuple[str, ...]) -> None:
    said = CliRunner().invoke(app, ["case", "show", world.cases["S-1"], *more])
    assert said.exit_code == 0, said.output
    assert SAID not in said.output
    assert "refund" in said.output
