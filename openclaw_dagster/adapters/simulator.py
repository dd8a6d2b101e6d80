"""Every adapter's offline twin: the same contract, no network, one memory for all processes."""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Error as StorageError
from typing import Literal

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import JSON, Absent, Answered, Failed, Outcome, Refused, unclear
from openclaw_dagster.adapters.records import Memory, Record, Records
from openclaw_dagster.clock import Clock
from openclaw_dagster.spec.contracts import Contract, Operation
from openclaw_dagster.spec.environment import Fault, SimulatorBinding
from openclaw_dagster.spec.expressions import (
    ExpressionError,
    ExpressionFailed,
    compile_expression,
    compile_template,
)

#: What an operation's `simulate` and a fault's `when` may speak of.
ANSWER_NAMES = ("args", "key", "count", "record")
FAULT_NAMES = ("args",)
#: The argument by which a `verify` or an `undo` says which write it is about.
KEY_ARGUMENT = "idempotency_key"


class SimulatorAdapter:
    """Answers from its memory.

    A write stores one record under its idempotency key; the same key again gets the first result.
    A read that is the `verify` of a write gives that write's newest result: the one under `idempotency_key`
    when that is among the arguments, otherwise one whose arguments include all the given ones; Absent when
    there is none or it was undone. The `undo` of a write finds its record in the same way and marks it.
    Every other read answers its `simulate`.
    """

    def __init__(
        self, name: str, contract: Contract, binding: SimulatorBinding, memory: Memory, clock: Clock
    ) -> None:
        self._name = name
        self._contract = contract
        self._binding = binding
        self._memory = memory
        self._clock = clock

    def call(self, call: Call) -> Outcome:
        """Answer the call as the service would, or as the environment's faults say."""
        try:
            with self._memory.open() as records:
                return self._answer(call, records)
        except ExpressionFailed as error:
            return Refused(f"{call.action}: its `simulate` has no value: {error}")
        except ExpressionError as error:
            return Refused(f"{call.action}: its `simulate` is not right: {error}")
        except StorageError as error:
            return Failed(f"{call.action}: the simulator's memory does not answer ({error})")

    def _answer(self, call: Call, records: Records) -> Outcome:
        match self._fault(call, records):
            case "fail":
                return Failed(f"{call.action}: simulated failure")
            case "refuse":
                return Refused(f"{call.action}: simulated refusal")
            case "timeout":
                return unclear(call.operation.effect, f"{call.action}: simulated timeout")
            case "lose":
                self._perform(call, records)
                return unclear(call.operation.effect, f"{call.action}: simulated loss of the answer")
            case None:
                return self._perform(call, records)

    def _fault(self, call: Call, records: Records) -> Literal["fail", "refuse", "lose", "timeout"] | None:
        for fault in self._binding.faults:
            if fault.operation == call.name and self._picks(fault, call.args):
                identity = fault.model_dump_json()
                spent = records.spend(self._name, identity, call.key)
                if fault.times is None or spent <= fault.times:
                    return fault.answer
        return None

    @staticmethod
    def _picks(fault: Fault, args: Mapping[str, JSON]) -> bool:
        try:
            return compile_expression(fault.when, FAULT_NAMES).test({"args": dict(args)})
        except (ExpressionError, ExpressionFailed):
            return False  # a condition about a field that this call does not have

    def _perform(self, call: Call, records: Records) -> Outcome:
        return self._read(call, records) if call.is_read else self._write(call, records)

    def _read(self, call: Call, records: Records) -> Outcome:
        writes = self._naming("verify", call.name)
        record = self._find(call, writes, records) if writes else None
        if writes and record is None:
            return Absent()
        if record is not None and call.operation.simulate is None:
            return Answered(record.result)
        key = record.key if record else call.key
        return Answered(self._render(call, key, records.count(self._name, call.name), record))

    def _write(self, call: Call, records: Records) -> Outcome:
        before = records.repeat(self._name, call.name, call.key)
        if before is not None:
            return Answered(before.result)
        writes = self._naming("undo", call.name)
        original = self._find(call, writes, records) if writes else None
        if original is None and writes and KEY_ARGUMENT in call.args:
            return Refused(f"{call.action}: there is nothing under this {KEY_ARGUMENT}")
        count = records.count(self._name, call.name) + 1
        result = self._render(call, call.key, count, original)
        record = Record(self._name, call.name, call.key, dict(call.args), result, self._clock.now())
        records.add(record)
        if original is not None:
            records.undo(original)
        return Answered(result)

    def _naming(self, word: str, name: str) -> tuple[str, ...]:
        """Return the writes of the contract that name the operation as their `verify` or `undo`."""
        operations = self._contract.operations.items()
        return tuple(other for other, operation in operations if getattr(operation, word) == name)

    def _find(self, call: Call, operations: tuple[str, ...], records: Records) -> Record | None:
        if KEY_ARGUMENT in call.args:
            found = records.standing(self._name, operations, str(call.args[KEY_ARGUMENT]))
        else:
            found = [
                record
                for record in records.standing(self._name, operations)
                if all(name in record.args and record.args[name] == call.args[name] for name in call.args)
            ]
        return found[0] if found else None

    @staticmethod
    def _render(call: Call, key: str, count: int, record: Record | None) -> JSON:
        if call.operation.simulate is None:
            return {"id": f"{call.name}-{count}", "status": "ok"}
        template = compile_template(call.operation.simulate, ANSWER_NAMES)
        result = record.result if record else None
        return template.render({"args": dict(call.args), "key": key, "count": count, "record": result})

    def problems(self) -> list[str]:
        """Return faults about operations that do not exist, and expressions that are not right."""
        known = self._contract.operations
        found = [
            f"a fault names {fault.operation}; {self._name} has only {', '.join(sorted(known))}"
            for fault in self._binding.faults
            if fault.operation not in known
        ]
        for fault in self._binding.faults:
            try:
                compile_expression(fault.when, FAULT_NAMES)
            except ExpressionError as error:
                found.append(f"the `when` of a fault: {error}")
        for name, operation in known.items():
            found += [f"`simulate` of {self._name}.{name}: {text}" for text in _template_problem(operation)]
        try:
            with self._memory.open():
                pass
        except (StorageError, OSError) as error:
            found.append(f"{self._memory.path} cannot be written ({error}): make its folder writable")
        return found

    def close(self) -> None:
        """Do nothing: the memory is shared, and is closed by whoever opened it."""


def _template_problem(operation: Operation) -> list[str]:
    try:
        compile_template(operation.simulate, ANSWER_NAMES)
    except ExpressionError as error:
        return [str(error)]
    return []
