"""What `claw doctor` looks at in the project and its ledger: each look gives findings and never raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openclaw_dagster.cli import output
from openclaw_dagster.cli.machine import Finding, clock, disk, host
from openclaw_dagster.cli.place import database_at, shown_path
from openclaw_dagster.cli.surroundings import check_environment
from openclaw_dagster.clock import SystemClock, span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.backlog import forsaken
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import NoSecret, Settings, read_settings, variable
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import WebhookTrigger
from openclaw_dagster.store.clocks import APART, Clocks, ClocksApart
from openclaw_dagster.store.database import SCHEMA
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.warm.line import PoolDown, ask, socket_of
from openclaw_dagster.web.secrets import secret_name, secrets_of
from openclaw_dagster.web.signatures import check_secret


def examine(url: str | None = None) -> Iterator[Finding]:
    """Yield what is found, in the order in which one thing needs the one before it."""
    try:
        settings = read_settings()
    except ClawError as error:
        yield Finding("settings", "fail", str(error), "correct the variable or the option")
        return
    yield Finding("settings", "ok", f"environment {settings.environment}, home {shown_path(settings.home)}")
    shop: Workspace | None = None
    project = None
    try:
        project = Project(settings.specs)
        yield from _specs(settings, project)
    except ClawError as error:
        yield _refused("specs", error)
    if project is not None:
        try:
            shop = Workspace(settings, project=project)
            yield from _environment(shop)
        except ClawError as error:
            yield _refused("environment", error)
    yield from _ledger(settings, project)
    yield from _dagster(settings)
    yield _pool(settings)
    if shop is not None:
        yield from _adapters(shop)
        yield from _webhooks(shop)
        shop.close()
    yield from host(url or settings.public_url)
    yield from clock(_newest(settings))
    yield from disk(settings.home)


def _refused(what: str, error: ClawError) -> Finding:
    if isinstance(error, SpecRefused):
        return Finding(what, "fail", str(error), "claw check says all of it")
    return Finding(what, "fail", f"{error.code} {error}")


def _specs(settings: Settings, project: Project) -> Iterator[Finding]:
    for refused in project.refused:
        yield _refused("specs", refused)
    if project.systems:
        names = ", ".join(f"{one.name} {one.version}" for one in project.systems.values())
        yield Finding("specs", "ok", f"{names} in {shown_path(settings.specs)}")
    elif not project.refused:
        repair = "say where they are with --specs or CLAW_SPECS"
        yield Finding("specs", "fail", f"no .claw file in {shown_path(settings.specs)}", repair)


def _environment(shop: Workspace) -> Iterator[Finding]:
    file = shown_path(shop.settings.environment_file)
    wrong, _ = check_environment(shop.project, shop.settings.environment)
    for refused in wrong:
        for one in refused.diagnostics:
            yield Finding("environment", "fail", one.head, one.hint)
    if not wrong:
        yield Finding("environment", "ok", f"{file}")


def _ledger(settings: Settings, project: Project | None) -> Iterator[Finding]:
    try:
        database = database_at(settings.database)
    except ClawError as error:
        yield Finding("ledger", "fail", str(error))
        return
    where = database.url.render_as_string(hide_password=True)
    try:
        schema = database.schema()
        if schema is None:
            yield Finding("ledger", "warn", f"{where} is empty", "claw dev makes it at its first start")
        elif schema < SCHEMA:
            yield Finding(
                "ledger",
                "warn",
                f"{where} has schema {schema}, this version {SCHEMA}",
                "it is brought up to date at the next start",
            )
        elif schema > SCHEMA:
            yield Finding(
                "ledger",
                "fail",
                f"{where} has schema {schema}, this version knows {SCHEMA}",
                "install the version that wrote it",
            )
        else:
            yield Finding("ledger", "ok", f"{where}, schema {schema}")
            yield from _work(Ledger(database), project)
            yield from _clocks(Clocks(database, SystemClock()))
    except ClawError as error:
        yield Finding(
            "ledger", "fail", str(error), f"is the server of {where} up, and does it let this account in?"
        )
    finally:
        database.close()


def _work(ledger: Ledger, project: Project | None) -> Iterator[Finding]:
    counts: dict[str, int] = {}
    every = ledger.counts()
    for (_, state), number in every.items():
        counts[state] = counts.get(state, 0) + number
    said = (
        ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in sorted(counts.items()))
        or "no case yet"
    )
    waits = [
        word
        for word, state in (
            ("claw dlq list", "dead_lettered"),
            ("claw case list --state awaiting_human", "awaiting_human"),
        )
        if counts.get(state)
    ]
    yield Finding("cases", "warn" if waits else "ok", said, " and ".join(waits))
    for system, number in forsaken(every, project.systems).items() if project else ():
        problem = f"{number} of {system} have not ended, and its file is gone or refused: nobody moves them"
        yield Finding("cases", "fail", problem, "put its file back or mend it, or claw case cancel")


def _clocks(clocks: Clocks) -> Iterator[Finding]:
    """Compare this clock with the database's, where that may be another machine's."""
    if not clocks.compared:
        return
    try:
        clocks.agree()
    except ClocksApart as apart:
        yield Finding("clocks", "fail", f"{apart.code} {apart}", "timedatectl set-ntp true, here and there")
    else:
        yield Finding("clocks", "ok", f"this one and the database's agree within {span(APART)}")


def _dagster(settings: Settings) -> Iterator[Finding]:
    home = Path(variable("DAGSTER_HOME") or settings.home / "dagster")
    if (home / "dagster.yaml").is_file():
        yield Finding("dagster home", "ok", f"{shown_path(home)}")
    else:
        yield Finding(
            "dagster home",
            "warn",
            f"there is no dagster.yaml in {shown_path(home)}",
            "claw dev writes it at its first start",
        )


def _pool(settings: Settings) -> Finding:
    """Look whether warm workers are there: without them a run starts all the same, but slowly, so nobody notices."""
    cold = "runs go through processes of their own, which takes seconds"
    if settings.launcher == "celery":
        return Finding("pool", "ok", f"none here: runs go to the worker hosts behind {settings.broker_shown}")
    if not settings.workers:
        return Finding("pool", "ok", f"off, by CLAW_WORKERS=0: {cold}")
    try:
        status = ask(socket_of(settings), {"ask": "status"}, seconds=2)
    except PoolDown as down:
        repair = "claw dev and claw serve start it and start it again: see what they print"
        return Finding("pool", "warn", f"it does not answer, so {cold} ({down})", repair)
    workers, idle = int(status["workers"]), int(status["idle"])
    if not workers:
        said = "its workers end as soon as they start, so due cases wait"
        return Finding("pool", "warn", said, "it prints why: see what claw dev or claw serve say")
    if not idle:
        said = f"all {output.count(workers, 'worker')} busy: due cases wait for one"
        return Finding("pool", "warn", said, "when it stays like this, raise CLAW_WORKERS")
    return Finding("pool", "ok", f"{output.count(workers, 'warm worker')}, {idle} idle")


def _adapters(shop: Workspace) -> Iterator[Finding]:
    try:
        problems = shop.adapters.problems()
    except ClawError as error:
        yield _refused("adapters", error)
        return
    used = {action.partition(".")[0] for system in shop.systems.values() for action in system.operations}
    problems = [one for one in problems if one.adapter in used | set(shop.environment.adapters)]
    for problem in problems:
        yield Finding(
            "adapters", "fail" if problem.adapter in used else "warn", f"{problem.adapter}: {problem.text}"
        )
    fine = sorted(used - {problem.adapter for problem in problems})
    if fine:
        kinds = [
            f"{name} ({shop.environment.adapters[name].use})"
            for name in fine
            if name in shop.environment.adapters
        ]
        yield Finding("adapters", "ok", ", ".join(kinds))


def _webhooks(shop: Workspace) -> Iterator[Finding]:
    for system in shop.systems.values():
        for trigger in system.triggers:
            if isinstance(trigger, WebhookTrigger):
                yield _webhook(shop, system, trigger)


def _webhook(shop: Workspace, system: System, trigger: WebhookTrigger) -> Finding:
    name, secret = f"{system.name}.{trigger.name}", secret_name(system, trigger)
    try:
        scheme, values = secrets_of(shop, system, trigger)
        for value in values:
            check_secret(scheme, value)
    except NoSecret as error:
        return Finding("webhooks", "fail", f"{name}: {error}", "without it the host does not start")
    except ClawError as error:
        return Finding("webhooks", "fail", f"{name}: {error}")
    if not values:
        found = f"{name} takes unsigned calls: development, on loopback; {secret} is not set"
        return Finding("webhooks", "ok", found)
    return Finding("webhooks", "ok", f"{name}, {scheme}, {output.count(len(values), 'live secret')}")


def _newest(settings: Settings) -> int | None:
    try:
        database = database_at(settings.database)
    except ClawError:
        return None
    try:
        if database.schema() is None:
            return None
        return next((case.created_at for case in Ledger(database).find(limit=1)), None)
    except ClawError:
        return None
    finally:
        database.close()
