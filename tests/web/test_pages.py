"""Pages of many cases: each shows some, and leads to the next ones until all were seen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change
from openclaw_dagster.web.host import own_routes
from openclaw_dagster.web.pages import PAGE

SPECS = Path(__file__).parents[2] / "claw_specs"
CASES = 2 * PAGE + 7


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(SPECS, folder / "specs")
    settings = read_settings(
        home=str(folder), specs=str(folder / "specs"), environment="development",
        database=f"sqlite:///{folder / 'ledger.db'}",
    )  # fmt: skip
    clock = VirtualClock(1_790_000_000_000)
    shop = Workspace(settings, clock=clock)
    system = shop.system("dispatch")
    for number in range(CASES):
        clock.advance(number % 3 // 2)  # some in the same millisecond
        name = f"O-{number}"
        one = arrival(system, system.trigger("order_created"), {"order": {"id": name}}, name)
        [receipt] = shop.ledger.receive([one])
        dead = {"queue": "ops.dlq", "stage": "book_carrier", "reason": "refused", "attempts": 1}
        shop.ledger.write([Change(str(receipt.case_id), (Entry(Kind.DEAD_LETTERED, dead),))])
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def client(shop: Workspace) -> TestClient:
    return TestClient(Starlette(routes=own_routes(shop, lambda: None)))


def walk(client: TestClient, path: str, onward: str) -> list[list[str]]:
    """Follow the link to the next page as long as there is one; return the keys on each page."""
    pages, query = [], ""
    while True:
        text = client.get(path + query).text
        pages.append(re.findall(r"<b>(O-\d+)</b>", text))
        link = re.search(rf'<a href="([^"]+)">{onward}</a>', text)
        if link is None:
            return pages
        query = link[1].replace("&amp;", "&")


@pytest.mark.parametrize("query", ["", "?system=dispatch", "?system=dispatch&state=dead_lettered"])
def test_every_case_is_on_one_page(client: TestClient, query: str) -> None:
    pages = walk(client, "/claw", "older ones") if not query else walk_from(client, query)
    assert [len(page) for page in pages] == [PAGE, PAGE, CASES - 2 * PAGE]
    assert len({key for page in pages for key in page}) == CASES


def walk_from(client: TestClient, query: str) -> list[list[str]]:
    """Begin with what somebody chose: the pages that follow keep to it."""
    text = client.get("/claw" + query).text
    link = re.search(r'<a href="([^"]+)">older ones</a>', text)
    assert link is not None
    chosen = query.lstrip("?").split("&")
    assert all(one in link[1].replace("&amp;", "&") for one in chosen)
    rest = walk(client, "/claw" + link[1].replace("&amp;", "&"), "older ones")
    return [re.findall(r"<b>(O-\d+)</b>", text), *rest]


def test_every_dead_letter_is_on_one_page_the_oldest_first(client: TestClient) -> None:
    pages = walk(client, "/claw/dead-letters", "later ones")
    assert [len(page) for page in pages] == [PAGE, PAGE, CASES - 2 * PAGE]
    assert len({key for page in pages for key in page}) == CASES


def test_the_numbers_are_of_all_cases(client: TestClient) -> None:
    assert f">{CASES}</a>" in client.get("/claw").text


@pytest.mark.parametrize(
    "path", ["/claw?before=x", "/claw?before=%00&system=%00", "/claw?before=", "/claw?state=x",
             "/claw/dead-letters?after=x", "/claw/dead-letters?after=99999999999999999999-x",
             "/claw/dead-letters?after=5", "/claw/dead-letters?after=%C2%B2-x"]
)  # fmt: skip
def test_a_place_that_nobody_wrote_is_no_error(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
