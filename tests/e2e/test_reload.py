"""Reload pressed in the Dagster UI: everything follows to the new files, and who sends webhooks notices nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from openclaw_dagster.settings import read_settings
from openclaw_dagster.warm.line import ask, socket_of
from openclaw_dagster.web.signatures import sign

from .carrier import Carrier
from .project import like_the_sample, make_project
from .stack import SECRET, Stack

pytestmark = pytest.mark.xdist_group("e2e_reload")

RELOAD = (
    'mutation { reloadRepositoryLocation(repositoryLocationName: "openclaw") { __typename } }',
    "mutation { reloadWorkspace { __typename } }",
    'mutation { shutdownRepositoryLocation(repositoryLocationName: "openclaw") { __typename } }',
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, carrier: Carrier) -> Iterator[Stack]:
    """Give a host that watches no files."""
    folder: Path = tmp_path_factory.mktemp("reload")
    specs = make_project(folder, carrier.url, minutely=False)
    stack = Stack(folder, specs, command="serve")
    try:
        yield stack.start()
    finally:
        stack.close()


class Stream:
    """Senders that post an order again and again, on connections that are kept and on new ones."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack, self.name = stack, name
        self.answers: list[tuple[str, int, str]] = []
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(2)]

    def _send(self, number: int) -> None:
        line = self._line()
        for turn in range(100_000):
            if self._stop.is_set():
                break
            order = f"{self.name}-{number}-{turn}"
            since = time.monotonic()
            try:
                status, said = self._post(line, order)
            except (OSError, http.client.HTTPException) as error:
                status, said = 0, {"case": repr(error)}
            self.longest = max(self.longest, time.monotonic() - since)
            self.answers.append((order, status, said.get("case", "")))
            if number % 2:  # every other sender comes anew each time
                line.close()
                line = self._line()
            time.sleep(0.1)
        line.close()

    def _line(self) -> http.client.HTTPConnection:
        place = urlsplit(self.stack.url)
        return http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)

    def _post(self, line: http.client.HTTPConnection, order: str) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"order": {"id": order, "weight_kg": 2}}).encode()
        signed = sign("standard-webhooks", SECRET, body, time.time_ns() // 1_000_000, f"msg_{order}")
        said = {"Content-Type": "application/json", **signed}
        line.request("POST", "/hooks/brisk/order_created", body, said)
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def refused(stack: Stack, mutation: str) -> str:
    """Send a mutation that is refused; return why."""
    place = urlsplit(stack.url)
    with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)) as line:
        line.request(
            "POST", "/graphql", json.dumps({"query": mutation}), {"Content-Type": "application/json"}
        )
        answer = line.getresponse()
        assert answer.status == 422
        return str(json.loads(answer.read())["errors"][0]["message"])


@contextmanager
def reloaded(stack: Stack, seconds: float = 60) -> Iterator[None]:
    """Let something happen by which the files are read anew, and wait until they are."""
    before, ready = stack.processes(), stack.output().count("web │ ready")
    yield
    stack.until(lambda: stack.output().count("web │ ready") > ready, seconds, "nothing was loaded")

    def alone() -> bool:
        new = {pid: role for pid, role in stack.processes().items() if pid not in before}
        ended = [pid for pid, role in before.items() if role in ("web", "pool", "code", "worker")]
        return Counter(new.values())["worker"] == 2 and not {*ended} & {*stack.processes()}

    stack.until(alone, 30, "the old processes did not end")


def launchers(stack: Stack, case_id: str) -> set[str]:
    """Return the launchers that are written on the runs of a case, which a warm worker leaves blank."""
    return {
        tag["value"] for run in stack.runs(case_id) for tag in run["tags"] if tag["key"] == "claw/launcher"
    }


@pytest.mark.parametrize("mutation", RELOAD, ids=["location", "workspace", "shutdown"])
def test_everything_follows_to_the_new_files_and_no_webhook_is_lost(
    host: Stack, carrier: Carrier, mutation: str
) -> None:
    version = f"{RELOAD.index(mutation) + 2}.0.0"
    mark = f"r{RELOAD.index(mutation)}"
    old = host.case(host.send("brisk", f"{mark}-old")).digest
    with Stream(host, mark) as stream:
        time.sleep(1)
        text = like_the_sample("brisk", {"version: 1.0.0": f"version: {version}"})
        (host.specs / "brisk.claw").write_text(text)
        with reloaded(host):
            assert host.graphql(mutation)
        new = host.case(host.send("brisk", f"{mark}-new"))
        time.sleep(1)
    assert new.digest != old
    host.ended(new.id, "completed")
    assert launchers(host, new.id) == set()
    assert [one for one in stream.answers if one[1] != 202] == []
    print(f"{len(stream.answers)} webhooks during a reload, the longest took {stream.longest:.2f} s")
    for _, _, case_id in stream.answers:
        host.ended(case_id, "completed")
    booked = Counter(one["order"] for one in carrier.books()["accepted"])
    assert {order: booked[order] for order, _, _ in stream.answers} == {one[0]: 1 for one in stream.answers}


def test_what_was_under_way_is_finished(host: Stack, carrier: Carrier) -> None:
    carrier.tell("slow-one", "slow", seconds=9)
    case_id = host.send("dispatch", "slow-one")
    carrier.saw("slow-one")
    since = time.monotonic()
    with reloaded(host):
        assert host.graphql(RELOAD[1])
    assert time.monotonic() - since < 60
    host.ended(case_id, "completed")
    assert len(carrier.posts("slow-one")) == 1
    assert [run["status"] for run in host.runs(case_id)] == ["SUCCESS"]


def test_a_broken_file_is_said_and_what_ran_before_goes_on(host: Stack, carrier: Carrier) -> None:
    good = (host.specs / "brisk.claw").read_text()
    before = host.processes()
    (host.specs / "brisk.claw").write_text(good.replace("retries:", "retrys:"))
    try:
        why = refused(host, RELOAD[0])
        assert "what ran before goes on" in why
        assert "brisk.claw" in why
        assert "did you mean" in why
        assert host.process is not None
        host.process.send_signal(signal.SIGUSR1)
        host.until(lambda: "what ran before goes on" in host.output(), 30, "the console said nothing")
        host.ended(host.send("brisk", "as-before"), "completed")
        assert host.processes() == before
    finally:
        (host.specs / "brisk.claw").write_text(good)


def test_files_that_do_not_start_leave_what_ran_before(host: Stack) -> None:
    actions = host.specs / "actions"
    actions.mkdir()
    # it is fit when it is judged, and breaks where it is served
    broken = "import sys\nif 'openclaw_dagster.web.fitness' not in sys.orig_argv:\n    raise SystemExit(3)\n"
    (actions / "trap.py").write_text(broken)
    before = host.processes()
    assert host.process is not None
    host.process.send_signal(signal.SIGUSR1)
    try:
        host.until(lambda: "does not start: what ran before goes on" in host.output(), 60, "nothing was said")
        host.ended(host.send("brisk", "still-there"), "completed")
        assert host.processes() == before
    finally:
        shutil.rmtree(actions)


def test_a_pool_that_leaves_answers_for_its_runs(host: Stack, carrier: Carrier) -> None:
    carrier.tell("leaving", "slow", seconds=12)
    case_id = host.send("dispatch", "leaving")
    carrier.saw("leaving")
    (run,) = host.runs(case_id)
    pool = host.pids("pool")
    assert host.process is not None
    host.process.send_signal(signal.SIGUSR1)
    host.until(
        lambda: host.pids("pool") and host.pids("web") and len(host.pids("pool")) == 2, 30, "no new pool"
    )
    socket = socket_of(read_settings(home=str(host.home)))
    host.until(lambda: ask(socket, {"ask": "status"})["pid"] not in pool, 30, "the new pool was not asked")
    assert ask(socket, {"ask": "health", "run": run["runId"]})["ok"]
    host.ended(case_id, "completed")
    host.until(lambda: not {*pool} & {*host.processes()}, 30, "the old pool stayed")


def test_a_killed_web_process_keeps_nobody_out(host: Stack) -> None:
    (pid,) = host.pids("web")
    os.kill(pid, signal.SIGKILL)
    assert host.post("brisk", "patient")[0] == 202
