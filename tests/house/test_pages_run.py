"""What a page tells people to type is typed here: every block after `<!-- run -->`, in order, in a project of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .paths import PAGES, ROOT, name_of

RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.M | re.S)
RUNNING = [page for page in PAGES if RUN.search(page.read_text())]
SECRET = "whsec_" + "dGhlLXBhZ2VzLXNlY3JldC1vZi0zMi1ieXRlcy1sb25n"

#: Waits are for people whose host loads files at its own pace; the one here is quick. A pipe fails when any part does.
PREAMBLE = "set -euo pipefail\nsleep() { command sleep 0.7; }\n"


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, dict[str, str], int]]:
    """Give a copy of the project with a host of its own: folder, environment, port."""
    page: Path = request.getfixturevalue("page")
    shutil.copytree(ROOT / "claw_specs", tmp_path / "claw_specs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLAW_", "DAGSTER_"))}
    environment = {
        **kept, "PATH": f"{tools}:{kept['PATH']}", "CLAW_HOME": str(tmp_path / "home"), "CLAW_PORT": str(port),
        "COLUMNS": "120", "NO_COLOR": "1",
    }  # fmt: skip
    if page.name == "webhooks.md":
        environment["DISPATCH_ORDER_CREATED_SECRET"] = SECRET
    with (tmp_path / "host.log").open("w") as log:
        command = [sys.executable, str(Path(__file__).with_name("host.py")), str(port)]
        host = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            _wait(port)
            yield tmp_path, environment, port
        finally:
            host.terminate()
            host.wait()


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the host did not start")


@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_the_commands_of_a_page_work(page: Path, place: tuple[Path, dict[str, str], int]) -> None:
    folder, environment, port = place
    said = []
    for block in RUN.findall(page.read_text()):
        script = PREAMBLE + block.replace("127.0.0.1:3000", f"127.0.0.1:{port}")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        said.append(done.stdout)
    for words in SAID.get(page.name, ()):
        assert any(words in one for one in said), f"nothing said {words!r}:\n" + "\n".join(said)


#: What a reader is told to expect, word for word.
SAID = {
    "quickstart.md": (
        "did you mean retries?", "exit code 2", "completed", "dead_lettered", "exit code 1", "4",
        "P-2", "skipped", "history is what was written",
    ),
    "webhooks.md": ('"duplicate":false', "401"),
    "adapters.md": ("tms.assign", "warehouse.create"),
    "operations.md": ("history is what was written",),
}  # fmt: skip


def test_the_pages_that_show_commands_are_tried() -> None:
    assert {"quickstart.md", "operations.md", "webhooks.md", "adapters.md"} <= {page.name for page in RUNNING}


def test_make_has_the_targets_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {word for page in PAGES for word in re.findall(r"(?m)(?:^|`)make ([a-z]+)\b", page.read_text())}
    assert {"demo", "test"} <= named
    assert named - targets == set()
