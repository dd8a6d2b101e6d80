"""Dagster's own tools, without `claw dev`: validation, webserver, daemon, and the component in a project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openclaw_dagster.runtime.intake import arrival
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings
from openclaw_dagster.store.database import address

from ..services.sample import copy_sample
from .carrier import Carrier
from .project import SAMPLE, make_project
from .stack import Stack

pytestmark = pytest.mark.xdist_group("e2e_stock")

TOP = SAMPLE.parent
TOOLS = Path(sys.executable).parent


class Stock(Stack):
    """The same host, run by Dagster's webserver and daemon from the workspace file of this repository."""

    def __init__(self, folder: Path, specs: Path, database: str | None) -> None:
        super().__init__(folder, specs, database)
        instance = folder / "dagster"
        instance.mkdir()
        self.environment["DAGSTER_HOME"] = str(instance)
        if database is None:  # an instance nobody configured
            (instance / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        else:  # the instance this repository comes with
            shutil.copy(TOP / "dagster.yaml", instance)
            url = address(database).render_as_string(hide_password=False)
            self.environment["CLAW_DAGSTER_DATABASE_URL"] = url
        self.daemon: subprocess.Popen[bytes] | None = None

    def tool(self, *words: str) -> list[str]:
        return [str(TOOLS / words[0]), *words[1:]]

    def launch(self) -> subprocess.Popen[bytes]:
        workspace = str(TOP / "workspace.yaml")
        # two processes that meet a fresh home at once would race in its migrations
        subprocess.run(
            [sys.executable, "-m", "openclaw_dagster.compile.instance"],
            cwd=self.folder,
            env=self.environment,
            check=True,
        )
        with self.log.open("ab") as log:
            web = self.tool("dagster-webserver", "-h", "127.0.0.1", "-p", str(self.port), "-w", workspace)
            self.process = subprocess.Popen(
                web, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
            run = self.tool("dagster-daemon", "run", "-w", workspace)
            self.daemon = subprocess.Popen(run, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        return self.process

    def ready(self, seconds: float = 90) -> None:
        self.until(self._sensors_on, seconds, "Dagster's webserver was not ready")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, carrier: Carrier
) -> Iterator[Stock]:
    folder = tmp_path_factory.mktemp(f"stock-{request.param}")
    database = request.getfixturevalue("postgres").fresh() if request.param == "postgres" else None
    stack = Stock(folder, make_project(folder, carrier.url), database)
    yield stack
    stack.close()
    if stack.daemon is not None:
        stack.daemon.wait()


def test_the_definitions_are_valid(stock: Stock) -> None:
    validate = stock.tool("dagster", "definitions", "validate", "-m", "openclaw_dagster.definitions")
    done = subprocess.run(
        validate, cwd=stock.folder, env=stock.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr


def test_webserver_and_daemon_move_a_case(stock: Stock, carrier: Carrier) -> None:
    order = f"stock-{stock.port}"
    stock.start()
    settings = read_settings(
        home=str(stock.home), specs=str(stock.specs), environment="staging", database=stock.database
    )
    shop = Workspace(settings)
    system = shop.system("dispatch")
    (receipt,) = shop.ledger.receive([arrival(system, system.triggers[0], {"order": {"id": order}}, order)])
    shop.close()
    assert receipt.case_id is not None
    case = stock.ended(receipt.case_id, "completed")
    print(f"stock tools: event → completed {(case.closed_at or 0) - case.created_at} ms")
    assert len(carrier.posts(order)) == 1
    assert [run["status"] for run in stock.runs(receipt.case_id)] in (["SUCCESS"], ["STARTED"])


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Give somebody's Dagster project into which a `.claw` file was dropped."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "scratch"\nversion = "0"\n\n'
        '[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "scratch"\n'
    )
    module = tmp_path / "src" / "scratch"
    copy_sample(module / "defs" / "dispatch")
    (module / "__init__.py").touch()
    (module / "definitions.py").write_text(
        "from pathlib import Path\n\nfrom dagster import definitions, load_from_defs_folder\n\n\n"
        "@definitions\ndef defs():\n"
        "    return load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (module / "defs" / "dispatch" / "defs.yaml").write_text(
        "type: openclaw_dagster.compile.component.ClawSystem\nattributes: {spec: dispatch.claw}\n"
    )
    return tmp_path


def dg(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    mine = Stack(project, project / "src").environment
    environment = {**mine, "PYTHONPATH": f"{project / 'src'}:{mine['PYTHONPATH']}", "COLUMNS": "200"}
    return subprocess.run(
        [str(TOOLS / "dg"), *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_the_component_is_listed_and_its_project_is_sound(scratch: Path) -> None:
    listed = dg(scratch, "list", "components")
    assert "ClawSystem" in listed.stdout, listed.stdout + listed.stderr
    checked = dg(scratch, "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    definitions = dg(scratch, "list", "defs")
    assert "dispatch_dispatch" in definitions.stdout, definitions.stdout + definitions.stderr


def test_the_component_shows_what_is_wrong_with_its_file(scratch: Path) -> None:
    spec = scratch / "src" / "scratch" / "defs" / "dispatch" / "dispatch.claw"
    spec.write_text(spec.read_text().replace("retries:", "retrys:"))
    checked = dg(scratch, "check", "defs")
    assert checked.returncode != 0
    assert "did you mean retries" in checked.stdout + checked.stderr, checked.stdout + checked.stderr
