"""The files for several hosts, with Celery and on Kubernetes, load, fit each other, and name what there is."""

from __future__ import annotations

import configparser
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance

from openclaw_dagster.cli.dev import Role
from openclaw_dagster.cli.instance import OtherLauncher, prepare
from openclaw_dagster.settings import as_variables, read_settings

from ..services.postgres import Postgres
from .paths import ROOT

CELERY, KUBERNETES = ROOT / "deploy" / "celery", ROOT / "deploy" / "kubernetes"
OTHERS = {"DAGSTER_HOME", "CLAW_DAGSTER_DATABASE_URL"}
SECRETS = set(
    yaml.safe_load((ROOT / "claw_specs" / "environments" / "production.yaml").read_text())["secrets"]
)
BROKER = "redis://:pa55word@127.0.0.1:1/0"
#: What a pod finds of its cluster; here there is none.
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""


def documents() -> list[dict[str, Any]]:
    """Return every object of the manifests."""
    names = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [one for name in names for one in yaml.safe_load_all((KUBERNETES / name).read_text())]


def pods() -> dict[str, dict[str, Any]]:
    found = {}
    for one in documents():
        if one["kind"] in ("Deployment", "Job"):
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
    return found


@pytest.fixture
def variables(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAW_BROKER_URL", BROKER)
    url = postgres.fresh().replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("CLAW_DAGSTER_DATABASE_URL", url)


def test_the_instance_of_celery_loads(variables: None, tmp_path: Path) -> None:
    shutil.copy(CELERY / "dagster.yaml", tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_launcher).__name__ == "HostsRunLauncher"
        assert instance.run_launcher.broker == BROKER
        assert instance.run_monitoring_max_resume_run_attempts == 0


def test_the_instance_of_kubernetes_loads(variables: None, tmp_path: Path) -> None:
    config = yaml.safe_load((KUBERNETES / "dagster.yaml").read_text())
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    outside = {"load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    config["run_launcher"]["config"] |= outside
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher: Any = instance.run_launcher
        assert type(launcher).__name__ == "K8sRunLauncher"
        assert launcher.dagster_home == _settings()["DAGSTER_HOME"]


def test_a_host_writes_the_same_launcher_as_the_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    said = {"home": str(tmp_path), "database": "postgresql://x@y/z", "broker_url": BROKER}
    home = prepare(read_settings(launcher="celery", **said))
    written = yaml.safe_load((home.dagster / "dagster.yaml").read_text())
    given = yaml.safe_load((CELERY / "dagster.yaml").read_text())
    assert written == given
    assert "pa55word" not in (home.dagster / "dagster.yaml").read_text()
    with pytest.raises(OtherLauncher, match="CLAW_LAUNCHER is warm"):
        prepare(read_settings(launcher="warm", **said))


@pytest.mark.parametrize("unit", sorted((CELERY / "systemd").glob("*.service")), ids=lambda unit: unit.stem)
def test_a_unit_runs_one_role(unit: Path) -> None:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(unit)
    role = unit.stem.removeprefix("openclaw-")
    assert Role(role)
    assert parsed["Service"]["ExecStart"] == f"/opt/openclaw/.venv/bin/claw serve --only {role}"
    assert parsed["Service"]["EnvironmentFile"] == "/etc/openclaw/openclaw.env"


def test_there_is_a_unit_for_every_role() -> None:
    units = {unit.stem.removeprefix("openclaw-") for unit in (CELERY / "systemd").glob("*.service")}
    assert units == {role.value for role in Role}


def _settings() -> dict[str, str]:
    found: dict[str, str] = next(one["data"] for one in documents() if one["kind"] == "ConfigMap")
    return found


def test_every_setting_is_one() -> None:
    known = set(as_variables(read_settings())) | OTHERS | SECRETS
    env = {
        line.split("=")[0]
        for line in (CELERY / "openclaw.env").read_text().splitlines()
        if line[:1].isupper()
    }
    secret = next(one["stringData"] for one in documents() if one["kind"] == "Secret")
    assert env - known == set()
    assert SECRETS - env == set()
    assert (set(_settings()) | set(secret)) - known == set()
    assert SECRETS - set(secret) == set()


def test_what_a_pod_refers_to_is_there() -> None:
    generated = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"]
    for one in generated:
        assert all((KUBERNETES / file).is_file() for file in one["files"])
    maps = {one["name"] for one in generated} | {"openclaw-settings"}
    launcher = yaml.safe_load((KUBERNETES / "dagster.yaml").read_text())["run_launcher"]["config"]
    assert {launcher["instance_config_map"], *launcher["env_config_maps"]} <= maps
    accounts = {one["metadata"]["name"] for one in documents() if one["kind"] == "ServiceAccount"}
    assert launcher["service_account_name"] in accounts
    for name, pod in pods().items():
        volumes = {one["name"] for one in pod["volumes"]}
        assert {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one} <= maps, name
        assert pod.get("serviceAccountName", "openclaw") in accounts
        for container in pod["containers"]:
            assert {one["name"] for one in container["volumeMounts"]} <= volumes, name


def test_the_code_server_is_where_web_and_daemon_look_for_it() -> None:
    (entry,) = yaml.safe_load((KUBERNETES / "workspace.yaml").read_text())["load_from"]
    services = {one["metadata"]["name"]: one["spec"] for one in documents() if one["kind"] == "Service"}
    assert services[entry["grpc_server"]["host"]]["ports"] == [{"port": entry["grpc_server"]["port"]}]
    command = pods()["openclaw-code"]["containers"][0]["command"]
    assert command[command.index("--port") + 1] == str(entry["grpc_server"]["port"])
    assert command[command.index("--location-name") + 1] == entry["grpc_server"]["location_name"]
    image = next(one for one in pods()["openclaw-code"]["containers"][0]["env"])["value"]
    (named,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    assert image == f"{named['newName']}:{named['newTag']}"


def test_the_door_lets_webhooks_in_and_nothing_of_dagster() -> None:
    text = (KUBERNETES / "nginx.conf").read_text()
    allowed = re.findall(r"location (?:= )?(\S+) \{ proxy_pass http://127\.0\.0\.1:(\d+); \}", text)
    assert {path for path, _ in allowed} == {"/hooks/", "/healthz", "/readyz"}
    assert {port for _, port in allowed} == {_settings()["CLAW_PORT"]}
    assert "location / { return 404; }" in text


def test_a_pods_start_fits_into_its_limits() -> None:
    config = yaml.safe_load((KUBERNETES / "dagster.yaml").read_text())
    lease = re.search(r"`lease: (\d+)s`", (KUBERNETES / "README.md").read_text())
    assert lease
    assert int(lease[1]) >= config["run_monitoring"]["start_timeout_seconds"]
