"""`claw dev` in a terminal: what it prints, how it takes changed files, schedules, and how it ends."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .carrier import Carrier
from .project import like_the_sample, make_project
from .stack import Stack

pytestmark = pytest.mark.xdist_group("e2e_terminal")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, carrier: Carrier) -> Iterator[Stack]:
    """Give a running host with a schedule, on SQLite."""
    folder: Path = tmp_path_factory.mktemp("terminal")
    specs = make_project(folder, carrier.url, minutely=True)
    stack = Stack(folder, specs)
    stack.environment["FRESH_ORDER_CREATED_SECRET"] = stack.environment["DISPATCH_ORDER_CREATED_SECRET"]
    try:
        yield stack.start()
    finally:
        stack.close()


def reloaded(terminal: Stack, change: Callable[[], object]) -> None:
    """Change a file and wait until the web process has loaded it."""
    before = terminal.output().count("web │ ready")
    change()
    terminal.until(lambda: terminal.output().count("web │ ready") > before, 40, "the change was not loaded")
    terminal.ready()


def test_a_changed_file_is_loaded_by_itself(terminal: Stack, carrier: Carrier) -> None:
    since = time.monotonic()
    (terminal.specs / "fresh.claw").write_text(like_the_sample("fresh"))
    case_id = terminal.send("fresh", "fresh-1")
    print(f"a new file takes events {time.monotonic() - since:.1f} s later")
    terminal.ended(case_id, "completed")
    assert len(carrier.posts("fresh-1")) == 1
    assert "files changed: loading them" in terminal.output()


def test_a_broken_file_is_shown_and_what_ran_before_goes_on(terminal: Stack, carrier: Carrier) -> None:
    good = (terminal.specs / "brisk.claw").read_text()
    (terminal.specs / "brisk.claw").write_text(good.replace("retries:", "retrys:"))

    def shown() -> bool:
        said = terminal.output()
        return "brisk.claw:" in said and "did you mean" in said and "what ran before goes on" in said

    terminal.until(shown, 20, "the broken file was not shown")
    assert "^" in terminal.output()
    terminal.ended(terminal.send("brisk", "old-1"), "completed")
    assert len(carrier.posts("old-1")) == 1
    reloaded(terminal, lambda: (terminal.specs / "brisk.claw").write_text(good))


def test_a_file_that_would_fall_open_is_shown_and_not_loaded(terminal: Stack) -> None:
    (terminal.specs / "unsigned.claw").write_text(like_the_sample("unsigned"))
    terminal.until(
        lambda: "UNSIGNED_ORDER_CREATED_SECRET" in terminal.output(), 20, "the missing secret was not named"
    )
    time.sleep(2)
    assert terminal.post("dispatch", "still-taken")[0] == 202
    reloaded(terminal, (terminal.specs / "unsigned.claw").unlink)


def test_every_minute_is_one_case(terminal: Stack, carrier: Carrier) -> None:
    cases = terminal.until(lambda: terminal.ledger.find(system="minutely"), 90, "no minute had a case")
    case = terminal.ended(cases[-1].id, "completed")
    print(f"minute {case.key}: completed {(case.closed_at or 0) / 1000 - _seconds(case.key):.1f} s after it")
    every = terminal.ledger.find(system="minutely")
    assert set(Counter(case.key for case in every).values()) == {1}
    assert len(carrier.posts(case.key)) == 1


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


def test_a_port_in_use_is_said_in_one_line(terminal: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path, terminal.specs)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", other.port))
        taken.listen()
        try:
            process = other.launch()
            assert process.wait(20) == 1
            said = other.output()
            assert f"{other.port} is in use" in said.replace("\n", " ")
            assert "Traceback" not in said
            assert other.processes() == {}
        finally:
            other.close()


def settled(terminal: Stack) -> dict[int, str]:
    """Return the processes of a host once those that an earlier reload replaced have ended."""
    end = time.monotonic() + 30
    while True:
        found = terminal.processes()
        once = [role for role in found.values() if role != "worker"]
        if len(once) == len(set(once)) and list(found.values()).count("worker") == 2:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_a_second_host_on_the_same_home_is_refused(terminal: Stack, tmp_path: Path) -> None:
    before = settled(terminal)
    other = Stack(tmp_path, terminal.specs)
    other.environment["CLAW_HOME"] = str(terminal.home)
    process = other.launch()
    try:
        assert process.wait(20) == 1
        assert "Traceback" not in other.output()
        assert str(terminal.home) in other.output().replace("\n", "")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
    assert terminal.processes() == before


def test_ctrl_c_ends_everything_cleanly(terminal: Stack) -> None:
    alive = terminal.processes()
    assert set(alive.values()) >= {"claw", "web", "daemon", "code"}
    since = time.monotonic()
    assert terminal.interrupt() == 0
    print(f"Ctrl-C: everything ended {time.monotonic() - since:.1f} s later")
    assert terminal.processes() == {}


def test_all_it_printed_was_for_people(terminal: Stack) -> None:
    said = terminal.output()
    assert f"Dagster UI    {terminal.url}" in said
    for noise in ("Traceback", "\x1b[", " - INFO - ", "DeprecationWarning", "  File "):
        assert noise not in said, said
    lines = [line for line in said.splitlines() if line.strip()]
    printed = [line for line in lines if re.match(r" *(claw|web|daemon|code) │ ", line)]
    print(f"{len(lines)} lines, {len(printed)} of them of processes")
    assert len(printed) < 60, said
