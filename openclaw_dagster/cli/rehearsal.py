"""A contract tried out against its simulator: what `claw adapter test` does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Outcome
from openclaw_dagster.adapters.registry import Adapters
from openclaw_dagster.adapters.schemas import first_mismatch
from openclaw_dagster.cli.output import one_line
from openclaw_dagster.cli.sample import example
from openclaw_dagster.clock import SystemClock
from openclaw_dagster.spec.contracts import Contract, Operation
from openclaw_dagster.spec.environment import Environment, SimulatorBinding

KEY = "rehearsal"
TIMEOUT = 5_000


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    operation: str
    good: bool
    text: str


def rehearse(name: str, contract: Contract, only: str | None = None) -> Iterator[Finding]:
    """Yield what was tried with each operation, or with one, in a memory that is thrown away."""
    environment = Environment(adapters={name: SimulatorBinding(use="simulator")})
    with tempfile.TemporaryDirectory(prefix="claw-rehearsal-") as folder:
        adapters = Adapters.open(
            {name: contract}, environment, _no_secret, home=Path(folder), clock=SystemClock()
        )
        try:
            problems = [problem.text for problem in adapters.problems()]
            yield from (Finding("*", False, text) for text in problems)
            stage = _Stage(adapters, name, contract)
            # what verifies or undoes a write is tried with that write
            wanted = {only, *_served(contract, only)} if only else set(contract.operations)
            for one, operation in contract.operations.items():
                if one in wanted:
                    yield from stage.try_out(one, operation)
        finally:
            adapters.close()


def _served(contract: Contract, name: str) -> list[str]:
    """Return the writes that name an operation as their verify or undo."""
    return [other for other, one in contract.operations.items() if name in (one.verify, one.undo)]


def _no_secret(_name: str) -> str:
    return ""


class _Stage:
    """One adapter bound to its simulator."""

    def __init__(self, adapters: Adapters, name: str, contract: Contract) -> None:
        self.adapters = adapters
        self.name = name
        self.contract = contract

    def try_out(self, name: str, operation: Operation) -> Iterator[Finding]:
        """Yield what one operation did."""
        serves = _served(self.contract, name)
        if serves:
            yield Finding(name, True, f"is tried with {', '.join(serves)}")
            return
        args = example(operation.input, operation.input) if operation.input else {}
        key = f"{KEY}:{name}"
        first = self._call(name, args, key)
        if not isinstance(first, Answered):
            yield Finding(
                name,
                False,
                f"does not answer sample arguments: {self._said(first)}; give the input schema `examples`",
            )
            return
        yield Finding(name, True, f"answers {one_line(json.dumps(first.result, ensure_ascii=False), 90)}")
        if operation.output is not None:
            wrong = first_mismatch(operation.output, first.result)
            yield Finding(
                name,
                not wrong,
                f"its answer does not fit its output schema: {wrong}"
                if wrong
                else "its answer fits its output schema",
            )
        if operation.effect != "read":
            yield from self._write(name, operation, args, key, first)

    def _write(
        self, name: str, operation: Operation, args: Any, key: str, first: Answered
    ) -> Iterator[Finding]:
        again = self._call(name, args, key)
        same = isinstance(again, Answered) and again.result == first.result and self._count(name, key) == 1
        yield Finding(
            name,
            same,
            "sent twice under one key, happens once"
            if same
            else f"sent twice under one key, gives {self._said(again)}",
        )
        if not operation.idempotent:
            yield Finding(
                name, True, "is not idempotent: a call of unknown outcome is never simply sent again"
            )
        if operation.verify:
            yield self._verify(name, operation.verify, args, key, stands=True)
        if operation.undo:
            known = {**args, **(first.result if isinstance(first.result, dict) else {})}
            undone = self._beside(operation.undo, known, key, f"{key}:undo")
            good = isinstance(undone, Answered)
            yield Finding(
                name,
                good,
                f"{operation.undo} takes it back"
                if good
                else f"{operation.undo} does not take it back: {self._said(undone)}",
            )
            if operation.verify and good:
                yield self._verify(name, operation.verify, args, key, stands=False)

    def _verify(self, name: str, verify: str, args: Mapping[str, Any], key: str, *, stands: bool) -> Finding:
        found = self._beside(verify, args, key, key)
        if not stands:
            gone = isinstance(found, Absent)
            return Finding(
                name,
                gone,
                f"{verify} finds nothing after it"
                if gone
                else f"{verify} still finds it: {self._said(found)}",
            )
        seen = isinstance(found, Answered)
        return Finding(
            name, seen, f"{verify} finds it" if seen else f"{verify} does not find it: {self._said(found)}"
        )

    def _beside(self, name: str, args: Mapping[str, Any], about: str, key: str) -> Outcome:
        """Call the verify or undo of a write as a case would: with the arguments it takes."""
        known = (self.contract.operations[name].input or {}).get("properties")
        every = {**args, "idempotency_key": about}
        return self._call(
            name, {one: value for one, value in every.items() if known is None or one in known}, key
        )

    def _call(self, name: str, args: Any, key: str) -> Outcome:
        action = f"{self.name}.{name}"
        given = args if isinstance(args, dict) else {}
        return self.adapters.call(Call(action, self.adapters.operation(action), given, key, TIMEOUT))

    def _count(self, name: str, key: str) -> int:
        return sum(one.operation == name and one.key == key for one in self.adapters.records(self.name))

    @staticmethod
    def _said(outcome: Outcome) -> str:
        if isinstance(outcome, Answered):
            return f"the answer {one_line(json.dumps(outcome.result, ensure_ascii=False), 90)}"
        return "nothing" if isinstance(outcome, Absent) else outcome.reason
