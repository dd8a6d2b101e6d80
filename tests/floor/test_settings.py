"""Settings: where a process finds its systems, its ledger and its neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_dagster.cli.instance import prepare
from openclaw_dagster.settings import BadSetting, NoSecret, as_variables, placed, read_secret, read_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HOME",
        "SPECS",
        "ENVIRONMENT",
        "DATABASE_URL",
        "HOST",
        "PORT",
        "PUBLIC_URL",
        "WORKERS",
        "LAUNCHER",
        "BROKER_URL",
    ):
        monkeypatch.delenv(f"CLAW_{name}", raising=False)


def test_links_lead_to_the_host_that_was_started_last(tmp_path: Path) -> None:
    assert read_settings(home=str(tmp_path)).public_url == "http://127.0.0.1:3000"
    prepare(read_settings(home=str(tmp_path), port="4321"))
    assert read_settings(home=str(tmp_path)).public_url == "http://127.0.0.1:4321"
    assert read_settings(home=str(tmp_path), port="5000").public_url == "http://127.0.0.1:5000"
    assert (
        read_settings(home=str(tmp_path), public_url="https://ops.example.org/").public_url
        == "https://ops.example.org"
    )


def test_a_child_comes_to_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = read_settings(
        home=str(tmp_path), port="4321", workers="3", database="postgresql://x@y/z", launcher="celery",
        broker_url="redis://:x@y/0",
    )  # fmt: skip
    for name, value in as_variables(parent).items():
        monkeypatch.setenv(name, value)
    assert read_settings() == parent


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"port": "0"}, "a port is a number"),
        ({"port": "http"}, "a port is a number"),
        ({"workers": "many"}, "a number from 0 to 64"),
        ({"database": "mysql://user:secret@host/db"}, "sqlite:///path"),
        ({"launcher": "kubernetes"}, "write warm or celery"),
        ({"launcher": "celery"}, "write redis://host"),
        ({"launcher": "celery", "broker_url": "http://user:secret@host/0"}, "http://host/0"),
        ({"launcher": "celery", "broker_url": "redis://:secret@host/0"}, "a ledger on Postgres"),
    ],
)
def test_a_bad_setting_is_named_and_its_secrets_are_not(said: dict[str, str], problem: str) -> None:
    with pytest.raises(BadSetting, match=problem) as caught:
        read_settings(**said)
    assert "secret" not in str(caught.value)


def test_the_password_of_the_broker_is_not_shown() -> None:
    settings = read_settings(
        launcher="celery",
        broker_url="redis://:secret@host:6379/0?password=secret",
        database="postgresql://x@y/z",
    )
    assert settings.broker_shown == "redis://host:6379/0"
    assert "secret" not in repr(settings)


def test_what_is_placed_is_taken_back(tmp_path: Path) -> None:
    before = read_settings()
    with placed(home=str(tmp_path), environment="staging", specs=None):
        assert read_settings().home == tmp_path
        assert read_settings().environment == "staging"
        assert read_settings().specs == before.specs
    assert read_settings() == before


def test_secrets_come_from_a_variable_or_a_file_and_are_never_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", " one ")
    (tmp_path / "two").write_text("two\n")
    assert read_secret("A_SECRET") == "one"
    assert read_secret("OTHER", variable_name="A_SECRET") == "one"
    assert read_secret("OTHER", file=str(tmp_path / "two")) == "two"
    with pytest.raises(NoSecret, match="the variable MISSING"):
        read_secret("MISSING")
    with pytest.raises(NoSecret, match="the file"):
        read_secret("MISSING", file=str(tmp_path / "none"))
