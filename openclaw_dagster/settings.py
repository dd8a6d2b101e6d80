"""The process environment, read in one place: where things are, and secrets by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from openclaw_dagster.errors import ClawError

#: The file of a home in which a host leaves where people reach it.
ADDRESS = "address"
#: Where runs are executed: by warm processes of this machine, or by Celery workers on as many hosts as there are.
LAUNCHERS = ("warm", "celery")
BROKERS = ("redis", "rediss", "amqp", "amqps", "pyamqp")
#: The variables behind the settings that a command may be given.
_VARIABLES = {
    "specs": "CLAW_SPECS",
    "environment": "CLAW_ENVIRONMENT",
    "home": "CLAW_HOME",
    "database": "CLAW_DATABASE_URL",
}


class NoSecret(ClawError):
    """The secret {name} is not set: put it into {where}."""

    code = "CLAW401"


class BadSetting(ClawError):
    """{name} is {value!r}: {problem}"""

    code = "CLAW402"


@dataclass(frozen=True)
class Settings:
    """Where this process finds its systems, its ledger and its neighbours."""

    home: Path  # CLAW_HOME: the ledger's SQLite file, the simulators, Dagster's own storage
    specs: Path  # CLAW_SPECS: the folder of `.claw` files
    environment: str  # CLAW_ENVIRONMENT: which file of specs/environments
    database: str  # CLAW_DATABASE_URL
    host: str  # CLAW_HOST
    port: int  # CLAW_PORT
    public_url: str  # CLAW_PUBLIC_URL: how people reach this host, for links
    workers: int  # CLAW_WORKERS: warm processes that execute runs; 0 leaves every run to a process of its own
    launcher: str = "warm"  # CLAW_LAUNCHER: `warm` executes runs on this machine, `celery` on worker hosts
    broker: str = field(default="", repr=False)  # CLAW_BROKER_URL: the Redis or RabbitMQ between the hosts

    @property
    def broker_shown(self) -> str:
        """The broker's address as it may be printed: without user and password."""
        return shown(self.broker)

    @property
    def environment_file(self) -> Path:
        """The file that says what differs in this environment."""
        return self.specs / "environments" / f"{self.environment}.yaml"


def read_settings(**overrides: str | None) -> Settings:
    """Return the settings of this process; `overrides` by the names of the fields win over variables."""

    def said(field: str, default: str) -> str:
        return overrides.get(field) or variable(f"CLAW_{field.upper()}") or default

    home = Path(said("home", ".claw")).absolute()
    host, port = said("host", "127.0.0.1"), said("port", "3000")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise BadSetting(name="CLAW_PORT", value=port, problem="a port is a number from 1 to 65535")
    database = overrides.get("database") or variable("CLAW_DATABASE_URL") or f"sqlite:///{home / 'ledger.db'}"
    if database.split(":")[0].split("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise BadSetting(
            name="CLAW_DATABASE_URL",
            value=database.split(":")[0] + ":…",
            problem="write sqlite:///path or postgresql://…",
        )
    workers = said("workers", "2")
    if not workers.isdigit() or int(workers) > 64:
        raise BadSetting(name="CLAW_WORKERS", value=workers, problem="write a number from 0 to 64")
    launcher, broker = said("launcher", "warm"), said("broker_url", "")
    _check_launcher(launcher, broker, database)
    return Settings(
        home=home,
        specs=Path(said("specs", "claw_specs")).absolute(),
        environment=said("environment", "development"),
        database=database,
        host=host,
        port=int(port),
        public_url=said("public_url", _public_url(home, host, said("port", ""))).rstrip("/"),
        workers=int(workers),
        launcher=launcher,
        broker=broker,
    )


def _check_launcher(launcher: str, broker: str, database: str) -> None:
    if launcher not in LAUNCHERS:
        raise BadSetting(name="CLAW_LAUNCHER", value=launcher, problem=f"write {' or '.join(LAUNCHERS)}")
    if launcher != "celery":
        return
    if urlsplit(broker).scheme not in BROKERS:
        raise BadSetting(
            name="CLAW_BROKER_URL",
            value=shown(broker),
            problem="with CLAW_LAUNCHER=celery write redis://host:6379/0 or amqp://user:password@host//",
        )
    if database.startswith("sqlite"):
        raise BadSetting(
            name="CLAW_LAUNCHER",
            value=launcher,
            problem="several hosts share a ledger on Postgres: set CLAW_DATABASE_URL",
        )


def shown(url: str) -> str:
    """Return an address as it may be printed: without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else ""


def _public_url(home: Path, host: str, port: str) -> str:
    """Return where people reach the host: at the port that was said, or where the last one of this home was."""
    if port:
        return f"http://{host}:{port}"
    try:
        return (home / ADDRESS).read_text().strip()
    except OSError:
        return f"http://{host}:3000"


@contextmanager
def placed(**said: str | None) -> Iterator[None]:
    """Make some settings, by the names of their fields, hold for this process and those it starts, for a while."""
    wanted = {_VARIABLES[field]: value for field, value in said.items() if value}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def variable(name: str) -> str | None:
    """Return a variable of the process environment, or None when it is unset or blank."""
    value = os.environ.get(name, "").strip()
    return value or None


def inherited(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `extra`, for a child process."""
    return {**os.environ, **extra}


def as_variables(settings: Settings) -> dict[str, str]:
    """Return the variables by which a child process comes to the same settings."""
    return {
        "CLAW_HOME": str(settings.home),
        "CLAW_SPECS": str(settings.specs),
        "CLAW_ENVIRONMENT": settings.environment,
        "CLAW_DATABASE_URL": settings.database,
        "CLAW_HOST": settings.host,
        "CLAW_PORT": str(settings.port),
        "CLAW_PUBLIC_URL": settings.public_url,
        "CLAW_WORKERS": str(settings.workers),
        "CLAW_LAUNCHER": settings.launcher,
        "CLAW_BROKER_URL": settings.broker,
    }


def read_secret(name: str, *, variable_name: str | None = None, file: str | None = None) -> str:
    """Return a secret's value from its file or variable; NoSecret when it is not there."""
    if file is not None:
        try:
            value = Path(file).read_text().strip()
        except OSError:
            value = ""
        if not value:
            raise NoSecret(name=name, where=f"the file {file}")
        return value
    found = variable(variable_name or name)
    if found is None:
        raise NoSecret(name=name, where=f"the variable {variable_name or name}")
    return found
