"""The whole host in this process, with a real Dagster instance and code server, and a browser's habits."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from services.sample import SPECS, copy_sample

from openclaw_dagster.clock import SystemClock
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.tokens import Tokens
from openclaw_dagster.web.host import app_of

ROOT = Path(__file__).resolve().parents[2]

PEOPLE = """
people:
  vic: {name: Vic Viewer, email: vic@example.com}
  olga: {name: Olga Operator, email: olga@example.com}
  april: {name: April Approver, email: april@example.com}
  audrey: {name: Audrey Auditor, email: audrey@example.com}
  ada: {name: Ada Admin, email: ada@example.com, sub: 00u-ada}
  nemo: {name: Nemo}
roles:
  finance: {people: [april]}
access:
  viewer: {people: [vic], groups: [staff]}
  operator: {people: [olga]}
  approver: {people: [april]}
  auditor: {people: [audrey]}
  admin: {people: [ada]}
"""

#: A system whose job is partitioned by nothing and starts by an event, as the sample has it.
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "openclaw"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class MovedClock(SystemClock):
    """The machine's clock, moved forward by what a test says."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead

    def advance(self, milliseconds: int) -> None:
        self.ahead += milliseconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Browser:
    """Keeps cookies and says where a request comes from, as browsers do."""

    host: Hosted
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers={"Accept": "text/html", "Sec-Fetch-Site": "none", **headers})

    def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        said = {"Origin": self.host.url, "Sec-Fetch-Site": "same-origin", **headers}
        return self.send("POST", path, body, said)

    def form(self, path: str, page: str = "/claw/login", **fields: str) -> Answer:
        """Fill in the form of a page and send it."""
        found = re.search(r'name="form" value="([0-9a-f]+)"', self.get(page).text)
        assert found is not None
        body = urlencode({"form": found[1], **fields}).encode()
        return self.post(path, body, **{"Content-Type": "application/x-www-form-urlencoded"})

    def log_in(self, person: str) -> Browser:
        answer = self.form("/claw/login", person=person, next="/claw")
        assert (answer.status, answer.header("location")) == (303, "/claw"), answer.text
        return self

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        return self.post("/graphql", body, **{"Content-Type": "application/json", **headers})

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        said = {"Host": f"127.0.0.1:{self.host.port}", **(headers or {})}
        if self.cookies:
            said["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        line = HTTPConnection("127.0.0.1", self.host.port, timeout=60)
        try:
            line.request(method, path, body or None, said)
            got = line.getresponse()
            answer = Answer(got.status, got.getheaders(), got.read().decode("utf-8", "replace"))
        finally:
            line.close()
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                kept = rest.split(";")[0].strip('"')
                if kept and "Max-Age=0" not in value:
                    self.cookies[key] = kept
                else:
                    self.cookies.pop(key, None)
        return answer


class Hosted:
    """One host in a thread."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, environment: str | None, *, name: str = "development",
        database: str | None = None, public: str | None = None, queued: bool = True,
    ) -> None:  # fmt: skip
        """
        Start it with the sample and these people; without them, with all the examples and their people.

        There is no daemon, so what somebody launches stands in the queue unless it is not `queued`.
        """
        specs, home = folder / "specs", folder / "home"
        if environment is None:
            shutil.copytree(SPECS, specs)
        else:
            copy_sample(specs)
            file = specs / "environments" / f"{name}.yaml"
            text = (specs / "environments" / "development.yaml").read_text()
            text = re.sub(r"^(people|roles|login|access):.*\n(?:[ #].*\n|\n)*", "", text, flags=re.M)
            file.write_text(text + environment)
        self.port = free_port()
        self.url = public or f"http://127.0.0.1:{self.port}"
        dagster = home / "dagster"
        dagster.mkdir(parents=True)
        at_once = (
            ""
            if queued
            else "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
        )
        (dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n" + at_once)
        for variable, value in {
            "CLAW_HOME": str(home), "CLAW_SPECS": str(specs), "CLAW_ENVIRONMENT": name, "DAGSTER_HOME": str(dagster),
            "PYTHONPATH": str(ROOT),
            "CLAW_PORT": str(self.port), "CLAW_PUBLIC_URL": self.url, "CLAW_DATABASE_URL": database or "",
        }.items():  # fmt: skip
            patch.setenv(variable, value)
        self.workspace = home / "workspace.yaml"
        self.workspace.write_text(
            "load_from:\n  - python_module: {module_name: openclaw_dagster.definitions, location_name: openclaw}\n"
        )
        self.specs = specs
        self.clock = MovedClock()
        self.start()

    def start(self) -> None:
        """Read the files and serve them."""
        self.shop = Workspace(read_settings(), clock=self.clock)
        self.app = app_of(self.shop, self.workspace)
        config = uvicorn.Config(
            self.app,
            host="127.0.0.1",
            port=self.port,
            log_level="error",
            access_log=False,
            proxy_headers=False,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 60
        while not self.server.started:
            assert time.monotonic() < end, "the host did not start"
            assert self.thread.is_alive(), "the host did not start"
            time.sleep(0.05)

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.shop.ledger.database, self.shop.clock)

    def browser(self) -> Browser:
        return Browser(self)

    def restart(self) -> None:
        """End, and start again with the files as they are now."""
        self.close()
        self.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
