"""The sample books into a server and an application that nobody here wrote; only the project says how."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kinto import Kinto
from .project import make_project
from .stack import Stack

pytestmark = pytest.mark.xdist_group("e2e_stranger")


@pytest.fixture(scope="module")
def kinto(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinto]:
    """Give a record store; it is installed when the first test run asks for it."""
    server = Kinto(pytestconfig.cache.mkdir("kinto"), tmp_path_factory.mktemp("kinto"))  # type: ignore[union-attr]
    yield server
    server.close()


@pytest.mark.timeout(420)
def test_an_order_becomes_one_record(kinto: Kinto, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("shop")
    stack = Stack(folder, make_project(folder, "http://127.0.0.1:9", kinto.url))
    try:
        stack.start()
        answers = stack.send_at_once("shelving", "S-1", 5)
        (case_id,) = {said["case"] for status, said in answers if status == 202}
        case = stack.ended(case_id, "completed")
    finally:
        stack.close()
    (record,) = kinto.bookings()
    assert (record["order"], record["carrier"]) == ("S-1", "northway")
    assert case.facts.steps["book_carrier"].result["data"]["id"] == record["id"]
