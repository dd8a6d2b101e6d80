"""Where things are: the options of the root command, the ledger, the project with its environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import BadSetting, Settings, read_settings

if TYPE_CHECKING:
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.store.database import Database
    from openclaw_dagster.store.ledger import Ledger


class NoLedger(ClawError):
    """
    There is no ledger at {address} yet: `claw dev` makes one. To look at another, say --home, --database
    or CLAW_DATABASE_URL.
    """

    code = "CLAW701"


@contextmanager
def opened_ledger() -> Iterator[Ledger]:
    """Give the ledger for reading; NoLedger when nothing was ever written. Looking never creates one."""
    from openclaw_dagster.store.ledger import Ledger

    database = database_at(read_settings().database)
    try:
        if database.schema() is None:
            raise NoLedger(address=database.url.render_as_string(hide_password=True))
        database.migrate()
        yield Ledger(database)
    finally:
        database.close()


def database_at(url: str) -> Database:
    """Return the database at an address; BadSetting, which does not repeat it, when it is none."""
    from openclaw_dagster.store.database import Database

    try:
        return Database(url)
    except Exception as error:  # the driver's words may hold a part of the password
        problem = "it is no address: write sqlite:///path or postgresql://user:password@host:5432/name"
        raise BadSetting(name="CLAW_DATABASE_URL", value=url.split(":")[0] + ":…", problem=problem) from error


@contextmanager
def opened_shop() -> Iterator[Workspace]:
    """Give the project in its environment, with its ledger."""
    from openclaw_dagster.runtime.workspace import Workspace

    shop = Workspace(read_settings())
    try:
        yield shop
    finally:
        shop.close()


def user() -> str:
    """Return who asks, as the journal names them: the account, which a variable cannot pretend to be."""
    import pwd

    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


def case_url(settings: Settings, case_id: str) -> str:
    """Return the address of a case's page."""
    return f"{settings.public_url}/claw/cases/{case_id}"


def run_url(settings: Settings, run_id: str) -> str:
    """Return the address of a Dagster run."""
    return f"{settings.public_url}/runs/{run_id}"


def shown_path(path: Path) -> Path:
    """Return a path as it is shortest from here."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
