"""Action name → what is called: the one door between a system and the outside world."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import assert_never

from openclaw_dagster.adapters.call import Adapter, Call
from openclaw_dagster.adapters.guard import Resolver, system_resolver
from openclaw_dagster.adapters.http import HttpAdapter
from openclaw_dagster.adapters.modules import with_actions
from openclaw_dagster.adapters.outcome import Answered, Failed, Outcome, Refused, unclear
from openclaw_dagster.adapters.python import PythonAdapter, Registered
from openclaw_dagster.adapters.records import Memory, Record
from openclaw_dagster.adapters.schemas import first_mismatch, schema_problem
from openclaw_dagster.adapters.secrets import Secrets
from openclaw_dagster.adapters.simulator import SimulatorAdapter
from openclaw_dagster.clock import Clock
from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.contracts import Catalog, Contract, Operation, catalog_of
from openclaw_dagster.spec.environment import (
    Binding,
    Environment,
    HttpBinding,
    PythonBinding,
    SimulatorBinding,
)

log = logging.getLogger(__name__)


class NotBound(ClawError):
    """
    Nothing stands behind the adapter {adapter}: add the line `{adapter}: {{use: simulator}}`
    under `adapters:` in the environment file, or bind it to the real service with `{{use: http, url: https://…}}`.
    """

    code = "CLAW300"


class NoSuchAction(ClawError):
    """No adapter has the action {action}{hint}: `claw adapter list` shows those there are."""

    code = "CLAW302"


@dataclass(frozen=True)
class Problem:
    """Something that will keep calls from working; `text` names the repair."""

    adapter: str
    text: str


class Adapters:
    """Every adapter of one environment, ready to be called from many threads at once."""

    def __init__(
        self,
        contracts: Mapping[str, Contract],
        bound: Mapping[str, Adapter],
        unknown: Collection[str],
        secrets: Secrets,
        memory: Memory,
    ) -> None:
        self._contracts = contracts
        self._bound = bound
        self._unknown = unknown
        self._secrets = secrets
        self._memory = memory
        #: Every operation by action name, such as `carrier.book`.
        self.catalog: Catalog = MappingProxyType(catalog_of(contracts))

    @classmethod
    def open(
        cls,
        contracts: Mapping[str, Contract],
        environment: Environment,
        secret: Callable[[str], str],
        *,
        home: Path,
        clock: Clock,
        actions: Mapping[str, Registered] | None = None,
        resolver: Resolver = system_resolver,
    ) -> Adapters:
        """Bind every adapter the environment names. Nothing is called and no file is opened yet.

        `secret` gives the value of a secret by name, or raises, or gives nothing; it is asked at every call.
        `home` is the folder of the simulator's memory. `actions` are the project's own functions, as
        `load_actions` returns them; BadAction when one contradicts a contract.
        """
        written = dict(actions or {})
        every = with_actions(contracts, written)
        secrets, memory = Secrets(secret), Memory(home / "simulator.db")
        secrets.learn({*environment.secrets, *credentials(environment)})

        def bind(name: str, binding: Binding) -> Adapter:
            match binding:
                case HttpBinding():
                    return HttpAdapter(name, every[name], binding, secrets, clock, resolver)
                case SimulatorBinding():
                    return SimulatorAdapter(name, every[name], binding, memory, clock)
                case PythonBinding():
                    return PythonAdapter(name, every[name], written)
                case _:
                    assert_never(binding)

        known = {name: binding for name, binding in environment.adapters.items() if name in every}
        bound = {name: bind(name, binding) for name, binding in known.items()}
        return cls(every, bound, sorted(set(environment.adapters) - set(known)), secrets, memory)

    def operation(self, action: str) -> Operation:
        """Return the contract of an action; NoSuchAction."""
        found = self.catalog.get(action)
        if found is None:
            close = get_close_matches(action, list(self.catalog), n=1)
            raise NoSuchAction(action=action, hint=f", did you mean {close[0]}?" if close else "")
        return found

    def call(self, call: Call) -> Outcome:
        """Make one call: arguments that do not fit are refused before anything is sent.

        Whatever the far side does is an outcome. NotBound and NoSuchAction are mistakes of this side.
        """
        adapter = self._bound.get(call.adapter)
        if adapter is None:
            if call.adapter not in self._contracts:
                self.operation(call.action)
            raise NotBound(adapter=call.adapter)
        if call.operation.input is not None:
            wrong = first_mismatch(call.operation.input, dict(call.args))
            if wrong:
                return Refused(f"{call.action}: {wrong}")
        if call.timeout <= 0:
            return Failed(f"{call.action}: no time was left for the call")
        outcome = self._guarded(adapter, call)
        self._check_output(call, outcome)
        return self._secrets.scrub_outcome(outcome)

    @staticmethod
    def _guarded(adapter: Adapter, call: Call) -> Outcome:
        try:
            return adapter.call(call)
        except Exception as error:
            # Even a mistake in an adapter must not lose track of a write. Its text may quote what was sent.
            log.error("%s: the adapter itself failed (%s)", call.action, type(error).__name__)
            reason = f"{call.action}: the adapter itself failed ({type(error).__name__})"
            return unclear(call.operation.effect, reason)

    @staticmethod
    def _check_output(call: Call, outcome: Outcome) -> None:
        if isinstance(outcome, Answered) and call.operation.output is not None:
            wrong = first_mismatch(call.operation.output, outcome.result)
            if wrong:
                # Only a warning: it took place, and a contract that is behind must not stop the business.
                log.warning("%s: its answer does not fit its contract: %s", call.action, wrong)

    def records(self, adapter: str) -> list[Record]:
        """Return what the simulated outside saw of an adapter, in order; sqlite3.Error."""
        with self._memory.open() as records:
            return records.all(adapter)

    def problems(self) -> list[Problem]:
        """Return everything that will keep calls from working, for `claw doctor`; nothing is called."""
        found = [Problem(name, "it is bound, and no contract has this name") for name in self._unknown]
        for name in sorted(self._contracts):
            adapter = self._bound.get(name)
            texts = [str(NotBound(adapter=name))] if adapter is None else adapter.problems()
            texts += self._contract_problems(name)
            found += [Problem(name, self._secrets.scrub(text)) for text in texts]
        return found

    def _contract_problems(self, adapter: str) -> Iterator[str]:
        for name, operation in self._contracts[adapter].operations.items():
            for word, schema in (("input", operation.input), ("output", operation.output)):
                if schema is not None and (wrong := schema_problem(schema)):
                    yield f"the `{word}` of {adapter}.{name}: {wrong}"
            for word, other in (("verify", operation.verify), ("undo", operation.undo)):
                if other is not None and other not in self._contracts[adapter].operations:
                    yield f"{adapter}.{name} has {other} as its `{word}`, which {adapter} does not have"

    def close(self) -> None:
        """Close every connection and the simulator's memory."""
        for adapter in self._bound.values():
            adapter.close()
        self._memory.close()


def credentials(environment: Environment) -> Iterator[str]:
    """Yield the names of the secrets that http bindings and channels send."""
    yield from environment.channels.secrets()
    for binding in environment.adapters.values():
        if isinstance(binding, HttpBinding):
            yield from binding.auth.header.values()
            if binding.auth.bearer is not None:
                yield binding.auth.bearer
