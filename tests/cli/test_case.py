"""`claw case` and `claw dlq`: what became of events, and what people do about it."""

from __future__ import annotations

import io
import os
import pwd
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console

from openclaw_dagster.cli import output
from openclaw_dagster.store.retention import GONE

from .conftest import Claw, Shopkeeper

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"

#: Faults of the simulator by order: the answer is lost, and asking does not help.
LOST = """      - {operation: book, when: "args.order.id == 'A-1006'", answer: lose}
      - {operation: find_booking, answer: fail}
"""


@pytest.fixture
def lossy(project: Path) -> None:
    """Let the carrier lose one answer and forget the booking."""
    file = project / "claw_specs" / "environments" / "development.yaml"
    before, mark, after = file.read_text().partition("  oms:")
    file.write_text(before + LOST + mark + after)


def test_looking_never_makes_a_ledger(claw: Claw, project: Path) -> None:
    done = claw("case", "list")
    assert done.code == 1
    assert done.err.startswith("error CLAW701  There is no ledger at sqlite:///")
    assert not (project / ".claw").exists()


def test_list(claw: Claw, keeper: Shopkeeper) -> None:
    done, waiting = keeper.order("A-1"), keeper.order("A-2")
    keeper.move(done)
    assert [one["id"] for one in claw("case", "list", "--json").json] == sorted([done, waiting], reverse=True)
    assert [one["key"] for one in claw("case", "list", "--state", "open", "--json").json] == ["A-2"]
    assert [one["key"] for one in claw("case", "list", "--key", "A-1", "--json").json] == ["A-1"]
    assert len(claw("case", "list", "--limit", 1, "--json").json) == 1
    assert "completed" in claw("case", "list").out
    assert claw("case", "list", "--state", "opn").code == 2
    assert claw("case", "list", "--system", "other").out == "no such case\n"


def test_show_tells_the_whole_story(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = keeper.order("A-1", weight_kg=2)
    keeper.move(case_id)
    text = claw("case", "show", case_id).out
    for said in (
        "dispatch · order_created · A-1   completed",
        '{"order": {"id": "A-1", "weight_kg": 2}}',
        "Decision  carrier_selection → book",
        "northway is the cheapest of 2 within 4 days",
        "policy  sha256 ",
        "Step  book_carrier  carrier.book   completed",
        "attempt 1",
        f"effect key  {case_id}:book_carrier:1",
        '"status": "booked"',
        f"http://127.0.0.1:3000/claw/cases/{case_id}",
        "http://127.0.0.1:3000/runs/run-1",
        "case.completed",
    ):
        assert said in text


def test_show_takes_key_and_last_letters(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = keeper.order("A-1")
    keeper.order("A-2")
    for said in (case_id, "A-1", case_id[-8:]):
        assert claw("case", "show", said, "--json").json["id"] == case_id
    unknown = claw("case", "show", "zzzzzz")
    assert unknown.code == 1
    assert "CLAW707" in unknown.err
    assert claw("case", "show", "zzzzzz", "--json").json["error"]["code"] == "CLAW707"


def test_text_from_outside_is_shown_literally(claw: Claw, keeper: Shopkeeper) -> None:
    nasty = "\x1b[31m[bold]x[/bold]\u202e\x07"
    keeper.order(nasty)
    text = claw("case", "show", nasty).out + claw("case", "list").out
    assert "[bold]x[/bold]" in text
    assert not {"\x1b", "\u202e", "\x07"} & set(text)


def test_a_retry_is_shown_with_its_wait(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = keeper.order("A-1003")
    keeper.move(case_id)
    text = claw("case", "show", case_id).out
    assert "simulated failure; again at " in text
    assert "It is tried again by itself" in text or "It is due and waits for its run." in text
    keeper.move(case_id)
    assert claw("case", "show", case_id, "--json").json["state"] == "completed"


def test_cancel(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = keeper.order("A-1")
    assert claw("case", "cancel", "A-1").code == 2  # a reason must be given
    assert claw("case", "cancel", "A-1", "--reason", "the customer withdrew").code == 0
    story = claw("case", "show", case_id, "--json").json
    assert story["state"] == "cancelled"
    assert story["journal"][-1]["body"]["by"] == ME
    again = claw("case", "cancel", "A-1", "--reason", "again")
    assert again.code == 1
    assert "Traceback" not in again.err


@pytest.mark.usefixtures("lossy")
def test_answer(claw: Claw, keeper: Shopkeeper) -> None:
    case_id = keeper.order("A-1006")
    while keeper.move(case_id).state == "waiting_retry":
        pass
    text = claw("case", "show", case_id).out
    assert "awaiting_human" in text
    assert f"claw case answer {case_id} --took-place" in text
    assert claw("case", "answer", case_id, "--reason", "x").code == 2
    assert claw("case", "answer", case_id, "--did-not", "--result", "1", "--reason", "x").code == 2
    assert claw("case", "answer", case_id, "--took-place", "--result", "{", "--reason", "x").code == 2
    done = claw("case", "answer", case_id, "--took-place", "--result", '{"id": "BK-9"}', "--reason", "seen")
    assert done.code == 0
    assert keeper.move(case_id).state == "completed"
    assert claw("case", "show", case_id, "--json").json["steps"]["book_carrier"]["result"] == {"id": "BK-9"}


class TestDeadLetters:
    @pytest.fixture
    def dead(self, keeper: Shopkeeper) -> str:
        case_id = keeper.order("A-1004")
        assert keeper.move(case_id, 4).state == "dead_lettered"
        return case_id

    def test_list_and_show(self, claw: Claw, dead: str) -> None:
        (letter,) = claw("dlq", "list", "--json").json
        assert (letter["case_id"], letter["key"], letter["attempts"]) == (dead, "A-1004", 4)
        assert "simulated failure" in claw("dlq", "list").out
        assert claw("dlq", "list", "--system", "other").out == "no dead letters\n"
        text = claw("dlq", "show", "A-1004").out
        assert "book_carrier, after 4 attempts" in text
        assert f"claw dlq redrive {dead}" in text
        assert f"claw dlq redrive {dead}" in claw("case", "show", dead).out

    def test_a_case_that_is_no_dead_letter(self, claw: Claw, keeper: Shopkeeper) -> None:
        keeper.order("A-1")
        assert "CLAW709" in claw("dlq", "show", "A-1").err
        assert claw("dlq", "redrive", "A-1", "--reason", "x").code == 1

    def test_redrive(self, claw: Claw, dead: str, keeper: Shopkeeper) -> None:
        done = claw("dlq", "redrive", "A-1004", "--reason", "the carrier is mended")
        assert (done.code, done.out) == (0, f"{dead} is due again\n")
        assert claw("dlq", "list").out == "no dead letters\n"
        (letter,) = claw("dlq", "list", "--redriven", "--json").json
        assert letter["redriven_by"] == ME
        assert claw("dlq", "redrive", dead, "--reason", "again").code == 1

    def test_those_past_their_retention_stand_in_nobodys_way(
        self, claw: Claw, dead: str, keeper: Shopkeeper
    ) -> None:
        with keeper.shop.ledger.database.write() as connection:
            connection.execute(sa.text("UPDATE claw_dead_letters SET reason = :gone"), {"gone": GONE})
        done = claw("dlq", "redrive", "--all", "--yes", "--reason", "the carrier is mended")
        assert (done.code, done.out.strip()) == (0, "no dead letters")
        text = claw("dlq", "show", dead).out
        assert f"it is past its retention: claw case cancel {dead}" in text
        assert claw("case", "cancel", dead, "--reason", "too old").code == 0
        assert claw("dlq", "list").out.strip() == "no dead letters"

    def test_many_are_redriven_only_when_it_is_meant(self, claw: Claw, dead: str, keeper: Shopkeeper) -> None:
        assert claw("dlq", "redrive", "--reason", "x").code == 2
        assert claw("dlq", "redrive", dead, "--all", "--reason", "x").code == 2
        assert claw("dlq", "redrive", "--all").code == 2
        done = claw("dlq", "redrive", "--all", "--system", "dispatch", "--reason", "mended", "--json")
        assert [one["case"] for one in done.json] == [dead]
        assert claw("dlq", "redrive", "--all", "--reason", "x").out == "no dead letters\n"

    def test_more_than_one_asks_first(self, claw: Claw, project: Path, keeper: Shopkeeper, dead: str) -> None:
        missing = [keeper.order(f"B-{number}", service="slow") for number in range(2)]
        for one in missing:
            assert keeper.move(one).state == "dead_lettered"
        refused = claw("dlq", "redrive", "--all", "--reason", "x")
        assert refused.code == 2
        assert "3 dead letters would be redriven" in refused.err
        assert len(claw("dlq", "list", "--json").json) == 3
        done = claw("dlq", "redrive", *missing, "--reason", "x", "--yes")
        assert done.code == 0
        assert done.out.endswith("2 of 2 redriven\n")


def test_a_narrow_terminal_cuts_no_id_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=60, color_system=None)
    monkeypatch.setattr(output, "out", lambda: console)
    one = "case_01m8gw5gxv6z92rtpbh4q2yk7d"
    output.table(
        ("case", "system", "key", "why"), [(one, "customer_escalation", "CD-4711-2026", "no answer came")]
    )
    first, second = shown.getvalue().splitlines()
    assert first == f"{one}  customer_escalation  CD-4711-2026"
    assert second == "  no answer came"


@pytest.mark.usefixtures("lossy")
def test_a_call_in_doubt_stands_in_the_inbox(claw: Claw, keeper: Shopkeeper) -> None:
    """It waits for people too, though it asks nobody by name."""
    case_id = keeper.order("A-1006")
    while keeper.move(case_id).state == "waiting_retry":
        pass
    text = claw("inbox").out
    assert "A-1006 of dispatch: " in text
    assert f"claw case show {case_id}" in text
    (doubt,) = claw("inbox", "--json").json["doubts"]
    assert doubt["id"] == case_id
