"""Everything a process needs to move cases: systems, environment, adapters, policies and the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from openclaw_dagster.adapters.modules import load_actions, with_actions
from openclaw_dagster.adapters.registry import Adapters
from openclaw_dagster.adapters.shipped import shipped_contracts
from openclaw_dagster.adapters.ways import Ways
from openclaw_dagster.clock import Clock, SystemClock
from openclaw_dagster.errors import ClawError
from openclaw_dagster.policy import Policy, open_policy
from openclaw_dagster.policy.table import Row, TablePolicy
from openclaw_dagster.settings import Settings, read_secret
from openclaw_dagster.spec.contracts import Contract, catalog_of
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.fleet import check_fleet, system_named
from openclaw_dagster.spec.load import bundle_of, load, load_bundle
from openclaw_dagster.spec.model import Decision, System
from openclaw_dagster.spec.surroundings import load_contracts, load_environment
from openclaw_dagster.spec.triggers import EventTrigger
from openclaw_dagster.store.database import Database
from openclaw_dagster.store.holds import Hold
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.store.outbox import Outbox

#: Seconds for which a process relies on what it read about holds: a new one is kept within this time.
FRESH = 0.5


class SpecGone(ClawError):
    """
    The case runs under version {digest} of its system, which the ledger does not hold: restore the ledger's
    table of versions.
    """

    code = "CLAW410"


class NoSystem(ClawError):
    """There is no system {name!r} here; there are: {known}."""

    code = "CLAW411"


class Project:
    """A folder of `.claw` files with what lies beside them; nothing here needs a database."""

    def __init__(self, specs: Path, *, only: Path | None = None) -> None:
        self.specs = specs
        folder = specs / "actions"
        self.actions = load_actions([folder] if folder.is_dir() else [])
        contracts = shipped_contracts() | load_contracts((specs / "adapters",))
        self.contracts: dict[str, Contract] = dict(with_actions(contracts, self.actions))
        self.catalog = catalog_of(self.contracts)
        paths = sorted(specs.glob("*.claw"))
        if only is not None:  # last: what two files disagree about is said of the one that is asked for
            paths = [*(path for path in paths if path.resolve() != only.resolve()), only]
        self.refused: list[SpecRefused] = []
        loaded: dict[str, System] = {}
        for path in paths:
            try:
                loaded[str(path)] = load(path, self.catalog, check_policy)
            except SpecRefused as refused:
                self.refused.append(refused)
        self.refused += check_fleet(loaded, {name for one in self.refused if (name := system_named(one))})
        bad = {one.file for one in self.refused}
        #: Every system of the folder that is right: what may be listened to, or started as a runbook.
        self.known = {system.name: system for file, system in loaded.items() if file not in bad}
        if only is not None:
            self.refused = [one for one in self.refused if one.file == str(only)]
            loaded = {file: system for file, system in loaded.items() if file == str(only)}
        self.systems = {system.name: system for file, system in loaded.items() if file not in bad}


def check_policy(path: str, source: str) -> None:
    """Compile a policy for what is wrong with it; PolicyFailed says what and where."""
    open_policy(path, source)


class Workspace:
    """One process's view of a project in one environment, with its ledger."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        project: Project | None = None,
        lasting: bool = True,
    ) -> None:
        self.settings = settings
        self.lasting = lasting
        self.clock = clock or SystemClock()
        self.project = project or Project(settings.specs)
        self.environment: Environment = load_environment(settings.environment_file)
        self._versions: dict[str, System] = {system.digest: system for system in self.known.values()}
        self._policies: dict[tuple[str, str], Policy] = {}
        self._holds: tuple[float, dict[str, Hold]] = (float("-inf"), {})

    @property
    def systems(self) -> dict[str, System]:
        """The systems as their files say them now, by name."""
        return self.project.systems

    @property
    def known(self) -> dict[str, System]:
        """Every system of the folder, also where this process is about one of them only."""
        return self.project.known

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, its schema brought up to date, with this process's systems remembered in it."""
        database = Database(self.settings.database, lasting=self.lasting)
        database.migrate()
        ledger = Ledger(database, self.clock)
        for system in self.known.values():
            ledger.remember_spec(system.digest, system.name, system.version, bundle_of(system))
        return ledger

    @cached_property
    def adapters(self) -> Adapters:
        """What stands behind the actions in this environment."""
        return Adapters.open(
            self.project.contracts,
            self.environment,
            self.secret,
            home=self.settings.home,
            clock=self.clock,
            actions=self.project.actions,
        )

    @cached_property
    def outbox(self) -> Outbox:
        """What people are told, and how far that came."""
        return Outbox(self.ledger.database, self.clock)

    @cached_property
    def ways(self) -> Ways:
        """How people are reached in this environment."""
        return Ways(self.environment, self.secret, self.clock)

    def secret(self, name: str) -> str:
        """Return a secret's value from where the environment file says; NoSecret when it is not set."""
        source = self.environment.secrets.get(name)
        if source is None:
            return read_secret(name)
        return read_secret(name, variable_name=source.env, file=source.file)

    def system(self, name: str) -> System:
        """Return a system as its file says it now; NoSystem when there is none of the name."""
        try:
            return self.systems[name]
        except KeyError:
            raise NoSystem(name=name, known=", ".join(sorted(self.systems)) or "none") from None

    def version(self, digest: str) -> System:
        """Return the very version of a system that a case runs under; SpecGone when nobody kept it."""
        if digest not in self._versions:
            bundle = self.ledger.spec(digest)
            if bundle is None:
                raise SpecGone(digest=digest[:12])
            # cases follow what was kept: its digest may have been computed by an older release
            self._versions[digest] = load_bundle(bundle, check_policy).model_copy(update={"digest": digest})
        return self._versions[digest]

    def policy(self, system: System, decision: Decision) -> Policy:
        """Return the compiled policy or table of a decision."""
        key = (system.digest, decision.name)
        if key not in self._policies:
            self._policies[key] = _policy(system, decision)
        return self._policies[key]

    def held(self, *scopes: str) -> Hold | None:
        """Return the hold on the first of some systems and actions that is on hold, half a second old at most."""
        at, known = self._holds
        if time.monotonic() - at > FRESH:
            known = {one.scope: one for one in self.ledger.holds()}
            self._holds = (time.monotonic(), known)
        return next((known[scope] for scope in scopes if scope in known), None)

    def look_again(self) -> None:
        """Forget what was read about holds, so that the next question is answered by the ledger."""
        self._holds = (float("-inf"), {})

    def listeners(self, event: str) -> Iterable[tuple[System, EventTrigger]]:
        """Yield the systems that listen to `system.event`, with their triggers."""
        for system in self.known.values():
            for trigger in system.triggers:
                if isinstance(trigger, EventTrigger) and trigger.of == event:
                    yield system, trigger

    def close(self) -> None:
        """Let go of connections and child processes."""
        if "adapters" in self.__dict__:
            self.adapters.close()
        if "ways" in self.__dict__:
            self.ways.close()
        if "ledger" in self.__dict__:
            self.ledger.database.close()


def _policy(system: System, decision: Decision) -> Policy:
    if decision.table is not None:
        rows = [
            Row(row.when, row.then if isinstance(row.then, dict) else {"branch": row.then})
            for row in decision.table
        ]
        return TablePolicy(f"{system.path}, table of {decision.name}", rows)
    path = (decision.policy or "").removeprefix("./")
    return open_policy(path, system.files[path])
