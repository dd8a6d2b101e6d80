"""The files of `deploy/` fit each other, the settings and the commands."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

from openclaw_dagster.settings import as_variables, read_settings

from .paths import MODULES, ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: Settings that are no `Settings` field.
OTHERS = {
    "CLAW_DAGSTER_DATABASE_URL",
    "CLAW_DEBUG",
    "CLAW_FAULTS",
    "DAGSTER_HOME",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
}


def commands(unit: Path) -> str:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(unit)
    assert parsed["Service"]["EnvironmentFile"] == "/etc/openclaw/openclaw.env"
    return parsed["Service"]["ExecStart"].removeprefix("/opt/openclaw/.venv/bin/")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_something_of_ours(unit: Path) -> None:
    command = commands(unit).split()
    assert command[0] in ("claw", "python", "dagster", "dagster-daemon")
    for module in re.findall(r"openclaw_dagster[\w.]*", " ".join(command)):
        assert ROOT / (module.replace(".", "/") + ".py") in MODULES


def test_the_procfile_has_the_commands_of_the_units() -> None:
    lines = dict(line.split(": ", 1) for line in (DEPLOY / "Procfile").read_text().splitlines())
    for name, command in lines.items():
        unit = commands(DEPLOY / "systemd" / f"openclaw-{name}.service")
        assert command.replace("$CLAW_HOME", "/var/lib/openclaw") == unit


def test_the_workspace_leads_to_the_code_server() -> None:
    (entry,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = entry["grpc_server"]
    command = commands(DEPLOY / "systemd" / "openclaw-code.service")
    assert f"--host {server['host']} --port {server['port']}" in command
    assert f"--location-name {server['location_name']}" in command


def test_every_setting_is_one_and_is_explained() -> None:
    known = set(as_variables(read_settings())) | OTHERS
    lines = [line for line in (DEPLOY / "openclaw.env").read_text().splitlines() if re.match(r"[A-Z]", line)]
    secrets = yaml.safe_load((ROOT / "claw_specs" / "environments" / "production.yaml").read_text())[
        "secrets"
    ]
    named = {line.split("=")[0] for line in lines}
    assert named - known == set(secrets)
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in known if f"| `{name}` |" not in page] == []


def test_no_setting_is_read_that_no_page_explains() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    found = {name for path in MODULES for name in re.findall(r'variable\("([A-Z_]+)"\)', path.read_text())}
    assert {name for name in found if name not in page} <= {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
