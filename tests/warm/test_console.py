"""A console that cannot be written: what runs goes on, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import IO

import pytest

from openclaw_dagster.cli.processes import Child, Supervisor
from openclaw_dagster.cli.terminal import say, show

from .kit import Shop, shop, up, wait

#: More than a pipe holds, so that who is not read stops; the last thing it does is to make a file.
TALKER = """
import pathlib, sys
for number in range(5_000):
    print(f"line {number} of what a process says while nobody can show it", flush=True)
pathlib.Path(sys.argv[1]).touch()
"""


@contextmanager
def console(kind: str) -> Iterator[IO[str]]:
    """Give a console of which nothing is left."""
    if kind == "a full disk":
        file = open("/dev/full", "w")  # noqa: PTH123, SIM115
    elif kind == "a pipe without a reader":
        reader, writer = os.pipe()
        os.close(reader)
        file = os.fdopen(writer, "w")
    else:
        file = open(os.devnull, "w")  # noqa: PTH123, SIM115
        file.close()
    yield file
    with suppress(OSError):
        file.close()


CONSOLES = ["a full disk", "a pipe without a reader", "a closed file"]


@pytest.mark.parametrize("kind", CONSOLES)
def test_what_cannot_be_said_ends_nothing(kind: str) -> None:
    with console(kind) as lost, redirect_stdout(lost):
        say("claw", "stopping")
        show("a file is wrong")


def test_a_host_that_has_no_console_at_all_goes_on() -> None:
    with redirect_stdout(None):
        say("claw", "stopping")


@pytest.mark.parametrize("kind", CONSOLES)
def test_a_child_is_read_although_nobody_sees_it(tmp_path: Path, kind: str) -> None:
    done = tmp_path / "done"
    child = Child("web", [sys.executable, "-c", TALKER, str(done)], {**os.environ})
    supervisor = Supervisor(say, verbose=True)
    with console(kind) as lost, redirect_stdout(lost):
        supervisor.begin(child)
        wait(lambda: done.exists() or not child.alive)
        supervisor.end([child])
    assert done.exists()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with shop(tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.parametrize("kind", CONSOLES[:2])
def test_a_host_without_a_console_works_and_stops(here: Shop, kind: str) -> None:
    words = [sys.executable, "-m", "openclaw_dagster.cli.host", "worker", "", "verbose"]
    with console(kind) as lost:
        host = subprocess.Popen(words, env={**here.environment, "CLAW_WORKERS": "1"}, stdout=lost)
    try:
        wait(lambda: up(here, 1), 60)
        pool = here.pool({"ask": "status"})["pid"]
        case = here.order("A-1")
        assert here.pool({"ask": "launch", "run": here.run("dispatch").run_id})["ok"]
        wait(lambda: here.case(case).state == "completed")
        os.kill(pool, signal.SIGKILL)  # that it died is said, and it is started again
        wait(lambda: up(here, 1) and here.pool({"ask": "status"})["pid"] != pool, 60)
        pool = here.pool({"ask": "status"})["pid"]
        host.terminate()
        assert host.wait(20) == 0
        wait(lambda: not Path(f"/proc/{pool}").exists())
    finally:
        host.kill()
        host.wait()
