"""`claw audit`, `claw doctor`, `claw adapter`, and how the command line itself behaves."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from openclaw_dagster.cli import app as app_module
from openclaw_dagster.clock import DAY
from openclaw_dagster.store.seals import seal

from .conftest import Claw, Shopkeeper


class TestAudit:
    def test_history_is_what_was_written(self, claw: Claw, keeper: Shopkeeper) -> None:
        keeper.move(keeper.order("A-1"))
        done = claw("audit", "verify")
        assert done.code == 0
        assert done.out.startswith("history is what was written: ")
        assert claw("audit", "verify", "--json").json["cases"] == 1

    def test_a_changed_row_is_named(self, claw: Claw, keeper: Shopkeeper, project: Path) -> None:
        case_id = keeper.order("A-1")
        keeper.move(case_id)
        with sqlite3.connect(project / ".claw" / "ledger.db") as file:
            for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                file.execute(f"DROP TRIGGER {name}")
            file.execute("UPDATE claw_journal SET body = '{}' WHERE case_id = ? AND seq = 3", (case_id,))
        done = claw("audit", "verify")
        assert done.code == 1
        assert f"case {case_id}, row 3: its text is not what was written" in done.out
        assert claw("audit", "verify", "--json").json["ok"] is False

    def test_heads_kept_elsewhere(self, claw: Claw, keeper: Shopkeeper, project: Path) -> None:
        keeper.shop.clock.now = lambda: 1_790_000_000_000  # type: ignore[method-assign]
        keeper.order("A-1")
        keeper.shop.clock.now = lambda: 1_790_000_000_000 + DAY  # type: ignore[method-assign]
        keeper.order("A-2")
        sealed = claw("audit", "seal", "--output", "heads.jsonl")
        assert sealed.code == 0
        lines = (project / "heads.jsonl").read_text().splitlines()
        assert lines
        assert set(json.loads(lines[0])) == {"day", "head"}
        assert claw("audit", "seal").out.splitlines() == lines
        assert claw("audit", "verify", "--heads", "heads.jsonl").code == 0
        forged = json.dumps(json.loads(lines[0]) | {"head": "0" * 64})
        (project / "forged.jsonl").write_text(forged)
        done = claw("audit", "verify", "--heads", "forged.jsonl")
        assert done.code == 1
        assert "its seal is not the one that was kept elsewhere" in done.out

    def test_heads_that_the_host_sealed_are_given_once_to_each_file(
        self, claw: Claw, keeper: Shopkeeper, project: Path
    ) -> None:
        """The hourly upkeep seals a day before anybody else does."""
        begin, file = 1_790_000_000_000, project / "heads.jsonl"
        for day in range(4):
            keeper.shop.clock.now = lambda day=day: begin + day * DAY  # type: ignore[method-assign]
            keeper.order(f"A-{day}")
            seal(keeper.shop.ledger.database, begin + day * DAY)
            assert claw("audit", "seal", "--output", "heads.jsonl").code == 0
        days = [json.loads(line)["day"] for line in file.read_text().splitlines()]
        assert days[:3] == ["2026-09-21", "2026-09-22", "2026-09-23"]
        assert days == sorted(set(days))
        assert claw("audit", "verify", "--heads", "heads.jsonl").code == 0
        given = claw("audit", "seal", "--since", "2026-09-22").out.splitlines()
        assert [json.loads(line)["day"] for line in given] == days[1:]
        assert claw("audit", "seal", "--since", "yesterday").code == 2

    def test_heads_go_on_after_a_line_without_an_end_and_into_what_is_no_file(
        self, claw: Claw, keeper: Shopkeeper, project: Path
    ) -> None:
        for day in range(3):
            keeper.shop.clock.now = lambda day=day: 1_790_000_000_000 + day * DAY  # type: ignore[method-assign]
            keeper.order(f"A-{day}")
        first = claw("audit", "seal").out.splitlines()[0]
        (project / "heads.jsonl").write_text(first)
        assert claw("audit", "seal", "--output", "heads.jsonl").code == 0
        assert len((project / "heads.jsonl").read_text().splitlines()) == 2
        assert claw("audit", "verify", "--heads", "heads.jsonl").code == 0
        assert claw("audit", "seal", "--output", "/dev/stdout").code == 0

    def test_a_file_with_another_head_is_left_as_it_is(
        self, claw: Claw, keeper: Shopkeeper, project: Path
    ) -> None:
        keeper.shop.clock.now = lambda: 1_790_000_000_000  # type: ignore[method-assign]
        keeper.order("A-1")
        forged = json.dumps({"day": "2026-09-21", "head": "0" * 64}) + "\n"
        (project / "heads.jsonl").write_text(forged)
        keeper.shop.clock.now = lambda: 1_790_000_000_000 + 2 * DAY  # type: ignore[method-assign]
        keeper.order("A-2")
        done = claw("audit", "seal", "--output", "heads.jsonl")
        assert done.code != 0
        assert "CLAW717" in done.err
        assert (project / "heads.jsonl").read_text() == forged

    def test_heads_that_are_none(self, claw: Claw, keeper: Shopkeeper, project: Path) -> None:
        keeper.order("A-1")
        (project / "heads.jsonl").write_text("{}\n")
        assert "CLAW710" in claw("audit", "verify", "--heads", "heads.jsonl").err
        assert claw("audit", "verify", "--heads", "nope").code == 2
        assert claw("audit", "seal", "--output", "no/where").code == 2


class TestDoctor:
    def test_a_new_project_is_not_ill(self, claw: Claw, project: Path) -> None:
        done = claw("doctor", "--url", "http://127.0.0.1:9", "--json")
        assert done.code == 0
        verdicts = {one["what"]: one["verdict"] for one in done.json["findings"]}
        assert {name for name, verdict in verdicts.items() if verdict == "warn"} == {
            "ledger",
            "dagster home",
            "host",
            "pool",
        }
        assert not (project / ".claw" / "ledger.db").exists()

    def test_what_is_missing_fails_with_its_repair(self, claw: Claw) -> None:
        done = claw("--environment", "production", "doctor", "--url", "http://127.0.0.1:9")
        assert done.code == 1
        assert "CARRIER_TOKEN" in done.out
        assert "DISPATCH_ORDER_CREATED_SECRET is not set" in done.out
        assert "STALLED_ORDERS_ORDER_STALLED_SECRET is not set" in done.out

    def test_broken_things_are_said_one_by_one(self, claw: Claw, project: Path) -> None:
        (project / "claw_specs" / "bad.claw").write_text("- 1\n")
        (project / "claw_specs" / "environments" / "development.yaml").write_text("adapters: 3\n")
        done = claw(
            "--database", "sqlite:////proc/nowhere/x.db", "doctor", "--url", "http://127.0.0.1:9", "--json"
        )
        assert done.code == 1
        failed = {one["what"] for one in done.json["findings"] if one["verdict"] == "fail"}
        assert {"specs", "environment"} <= failed

    def test_dead_letters_are_worth_a_warning(self, claw: Claw, keeper: Shopkeeper) -> None:
        keeper.move(keeper.order("A-1004"), 4)
        findings = claw("doctor", "--url", "http://127.0.0.1:9", "--json").json["findings"]
        (cases,) = [one for one in findings if one["what"] == "cases"]
        assert (cases["verdict"], cases["repair"]) == ("warn", "claw dlq list")

    def test_cases_that_nobody_moves_fail_it(self, claw: Claw, keeper: Shopkeeper, project: Path) -> None:
        keeper.order("A-1001")
        (project / "claw_specs" / "dispatch.claw").rename(project / "away")
        done = claw("doctor", "--url", "http://127.0.0.1:9")
        assert done.code == 1
        assert "1 of dispatch have not ended, and its file is gone or refused: nobody moves them" in done.out


class TestAdapter:
    def test_list(self, claw: Claw) -> None:
        (carrier,) = claw("adapter", "list", "carrier", "--json").json
        assert carrier["bound_to"]["use"] == "simulator"
        assert carrier["operations"]["book"]["undo"] == "cancel"
        assert "carrier.book" in claw("adapter", "list").out
        claw("adapter", "new", "warehouse")
        assert "nothing stands behind it here" in claw("adapter", "list", "warehouse").out

    @pytest.mark.parametrize("name", ["carrier", "oms", "erp", "crm", "wms"])
    def test_the_contracts_hold(self, claw: Claw, name: str) -> None:
        done = claw("adapter", "test", name)
        assert done.code == 0, done.out

    def test_a_new_one_holds_and_is_never_overwritten(self, claw: Claw, project: Path) -> None:
        assert claw("adapter", "new", "warehouse").code == 0
        file = project / "claw_specs" / "adapters" / "warehouse.yaml"
        text = file.read_text()
        assert claw("adapter", "test", "warehouse").code == 0
        assert claw("check").code == 0
        again = claw("adapter", "new", "warehouse")
        assert again.code == 1
        assert "CLAW712" in again.err
        assert file.read_text() == text
        assert claw("adapter", "new", "../x").code == 2

    def test_a_contract_that_does_not_hold(self, claw: Claw, project: Path) -> None:
        claw("adapter", "new", "warehouse")
        file = project / "claw_specs" / "adapters" / "warehouse.yaml"
        file.write_text(file.read_text().replace("id: {type: [string, number]}", "id: {type: boolean}"))
        done = claw("adapter", "test", "warehouse", "--operation", "create", "--json")
        assert done.code == 1
        (bad,) = [one for one in done.json["findings"] if not one["good"]]
        assert "does not fit its output schema" in bad["text"]

    def test_a_verify_that_mixes_writes_up_is_found_out(self, claw: Claw, project: Path) -> None:
        folder = project / "claw_specs" / "adapters"
        order = "input: {type: object, properties: {order: {type: string}}}"
        (folder / "depot.yaml").write_text(
            "operations:\n"
            f"  reserve: {{effect: write, verify: find, {order}}}\n"
            f"  create: {{effect: write, verify: find, undo: remove, {order}}}\n"
            f"  find: {{effect: read, {order}}}\n"
            "  remove: {effect: write}\n"
        )
        done = claw("adapter", "test", "depot", "--json")
        assert done.code == 1
        (bad,) = [one for one in done.json["findings"] if not one["good"]]
        assert (bad["operation"], bad["text"][:20]) == ("create", "find still finds it:")

    def test_one_operation(self, claw: Claw) -> None:
        tried = {
            one["operation"]
            for one in claw("adapter", "test", "carrier", "-o", "cancel", "--json").json["findings"]
        }
        assert tried == {"cancel", "book"}
        assert claw("adapter", "test", "carrier", "-o", "bok").code == 2
        assert "CLAW711" in claw("adapter", "test", "nope").err


class TestTheCommandLine:
    def test_help_teaches(self, claw: Claw) -> None:
        text = claw("--help").out
        for said in (
            "claw check claw_specs/dispatch.claw",
            "claw send dispatch",
            "Exit codes",
            "dev",
            "serve",
            "demo",
        ):
            assert said in text
        for words in (
            ["check"],
            ["send"],
            ["case", "show"],
            ["dlq", "redrive"],
            ["audit", "seal"],
            ["adapter", "test"],
        ):
            assert "Example" in claw(*words, "--help").out

    def test_host_commands_are_there(self, claw: Claw) -> None:
        assert "--port" in claw("dev", "--help").out

    def test_version(self, claw: Claw) -> None:
        assert claw("--version").out.startswith("claw ")

    def test_usage(self, claw: Claw) -> None:
        done = claw("sned")
        assert done.code == 2
        assert "Did you mean 'send'?" in done.err

    def test_root_options_hold_for_one_command_only(self, claw: Claw, project: Path) -> None:
        done = claw("--database", "sqlite:///elsewhere.db", "case", "list")
        assert "sqlite:///elsewhere.db" in done.err
        assert "CLAW_DATABASE_URL" not in os.environ

    def test_a_bad_setting_is_a_line(self, claw: Claw) -> None:
        done = claw("--database", "mysql://u:pw@h/x", "case", "list")
        assert done.code == 1
        assert "pw" not in done.err
        assert "Traceback" not in done.err

    def test_an_address_that_is_none_is_not_repeated(self, claw: Claw) -> None:
        for words in (["case", "list"], ["doctor", "--url", "http://127.0.0.1:9"]):
            done = claw("--database", "postgresql://u:se@cr:et@h:x/db", *words)
            assert done.code == 1
            assert "CLAW_DATABASE_URL" in done.out + done.err
            assert "et@" not in done.out + done.err

    def test_a_fault_of_its_own_is_a_line(self, claw: Claw, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("openclaw_dagster.cli.case.opened_ledger", lambda: 1 / 0)
        done = claw("case", "list")
        assert done.code == 1
        assert "(ZeroDivisionError at test_prove.py:" in done.err
        assert "CLAW_DEBUG=1" in done.err
        monkeypatch.setenv("CLAW_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            claw("case", "list")

    def test_interrupted_quietly(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupt(**_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(app_module, "app", interrupt)
        with pytest.raises(SystemExit) as end:
            app_module.run()
        assert end.value.code == 130
        assert capsys.readouterr().err == ""

    def test_a_reader_that_leaves_is_not_answered(self, project: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-m", "openclaw_dagster.cli", "explain", "--json"],
            stdout=write, stderr=subprocess.PIPE, cwd=project, check=False,
        )  # fmt: skip
        os.close(write)
        assert done.stderr == b""

    def test_colour_on_a_terminal_only(self, project: Path) -> None:
        import pty

        def on_terminal(**extra: str) -> bytes:
            near, far = pty.openpty()
            environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            subprocess.run(
                [sys.executable, "-m", "openclaw_dagster.cli", "check"],
                stdout=far, cwd=project, env={**environment, "TERM": "xterm", **extra}, check=True,
            )  # fmt: skip
            os.close(far)
            return os.read(near, 4096)

        assert b"\x1b[32mok" in on_terminal()
        assert b"\x1b[32m" not in on_terminal(NO_COLOR="1")
