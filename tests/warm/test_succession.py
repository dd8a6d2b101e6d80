"""One pool after another, the code server that is forked from it, and the sensor while no run can begin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._grpc.client import DagsterGrpcClient

from openclaw_dagster.compile.sensors import dispatch_sensor
from openclaw_dagster.store.entries import Kind
from openclaw_dagster.warm.line import PoolDown, ask

from .host import Host
from .kit import Shop, shop, wait


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with shop(tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def pool(here: Shop, at: Path, before: str = "", *code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a pool of one worker at an address, as a host does."""
    words = [sys.executable, "-m", "openclaw_dagster.warm.pool", str(at), before, *code]
    process = subprocess.Popen(words, env={**here.environment, "CLAW_WORKERS": "1"})
    try:
        wait(lambda: idle(at) == 1)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def idle(at: Path) -> int:
    try:
        return int(ask(at, {"ask": "status"})["idle"])
    except PoolDown:
        return -1


def test_a_pool_that_leaves_ends_with_its_last_run_and_the_next_one_knows_of_it(
    here: Shop, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.sock", tmp_path / "2.sock"
    with pool(here, first) as old, pool(here, second, str(first)):
        case = here.job("slow", 8)
        run = here.run("slow").run_id
        assert ask(first, {"ask": "launch", "run": run})["ok"]
        wait(lambda: here.case(case).facts.steps.get("work"))
        old.send_signal(signal.SIGHUP)
        assert not ask(second, {"ask": "health", "run": "another"})["ok"]
        assert ask(second, {"ask": "health", "run": run})["ok"]
        assert not ask(first, {"ask": "launch", "run": "another"})["ok"]
        assert old.wait(20) == 0
        assert here.case(case).state == "completed"
        assert not first.exists()
        assert not ask(second, {"ask": "health", "run": run})["ok"]


def test_a_run_of_the_pool_before_can_be_terminated(here: Shop, tmp_path: Path) -> None:
    first, second = tmp_path / "1.sock", tmp_path / "2.sock"
    with pool(here, first) as old, pool(here, second, str(first)):
        case = here.job("slow", 30)
        run = here.run("slow").run_id
        assert ask(first, {"ask": "launch", "run": run})["ok"]
        wait(lambda: here.case(case).facts.steps.get("work"))
        old.send_signal(signal.SIGHUP)
        assert ask(second, {"ask": "terminate", "run": run})["ok"]
        assert old.wait(20) == 0


def test_an_idle_pool_leaves_at_once(here: Shop, tmp_path: Path) -> None:
    with pool(here, tmp_path / "1.sock") as old:
        old.send_signal(signal.SIGHUP)
        assert old.wait(5) == 0


def test_the_code_server_is_a_fork_that_comes_back_and_ends_with_its_pool(here: Shop, tmp_path: Path) -> None:
    at, socket = tmp_path / "1.sock", tmp_path / "code.sock"
    code = DagsterGrpcClient(socket=str(socket))
    with pool(here, at, "", str(socket)) as process:
        server = wait(lambda: socket.exists() and server_of(code))
        (pid,) = [pid for pid in children(process.pid) if name(pid) == "claw-code"]
        os.kill(pid, signal.SIGKILL)
        wait(lambda: server_of(code) not in (None, server))
        (again,) = [pid for pid in children(process.pid) if name(pid) == "claw-code"]
        process.kill()
        process.wait(10)
        wait(lambda: not Path(f"/proc/{again}").exists())


def server_of(code: DagsterGrpcClient) -> str | None:
    try:
        return code.get_server_id(timeout=2)
    except Exception:  # it is not there yet
        return None


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_while_the_broker_is_away_the_sensor_claims_nothing(host: Host) -> None:
    launcher = {
        "module": "openclaw_dagster.warm.hosts",
        "class": "HostsRunLauncher",
        "config": {"broker": "redis://:secret@127.0.0.1:1/0"},
    }
    case = host.shop.order("waiting")
    sensor = dispatch_sensor(host.shop.workspace, host.shop.workspace.system("dispatch"))
    with host.instance(run_launcher=launcher) as instance:
        said = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert said.run_requests == []
    assert "The broker redis://127.0.0.1:1/0 does not answer" in str(said.skip_message)
    assert [one.kind for one in host.shop.workspace.ledger.journal(case)] == [Kind.OPENED]
    with host.express() as express:  # nobody has to do anything when it is back
        express.wake()
        host.settled([case])


def test_a_look_that_finds_nothing_opens_no_instance(host: Host) -> None:
    sensor = dispatch_sensor(host.shop.workspace, host.shop.workspace.system("dispatch"))
    with dg.build_sensor_context() as context:
        said = sensor.evaluate_tick(context)
    assert said.skip_message == "no case is due"
