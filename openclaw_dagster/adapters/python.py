"""Actions as Python functions: `@action` for the project's own modules, and the adapter that runs them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, getsourcefile, signature
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.hints import schema_of
from openclaw_dagster.adapters.limits import MAX_ANSWER, NotJson, parse_json
from openclaw_dagster.adapters.outcome import JSON, Answered, Failed, Outcome, Refused, unclear
from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.contracts import Contract, Effect, Operation
from openclaw_dagster.spec.units import EVENT

log = logging.getLogger(__name__)

#: Takes the arguments, and the whole call when it has a second parameter; returns JSON.
Function: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Function)

#: What `@action` has seen, by module, until whoever imported the module collects it.
_declared: dict[str, list[Registered]] = {}


class Refuse(Exception):
    """Raised by an action to say no for good; its text is the reason people read."""


class TryAgain(Exception):
    """Raised by an action that did nothing and may be tried again, not before `after` milliseconds."""

    def __init__(self, reason: str, after: int | None = None) -> None:
        super().__init__(reason)
        self.after = after


class BadAction(ClawError):
    """{file}:{line}: {problem}"""

    code = "CLAW301"


@dataclass(frozen=True)
class Registered:
    """One function that is an action, and where it stands."""

    action: str
    operation: Operation
    function: Function
    file: str
    line: int


def action(
    name: str,
    *,
    effect: Effect,
    summary: str = "",
    verify: str | None = None,
    undo: str | None = None,
    idempotent: bool = False,
    input: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    simulate: dict[str, Any] | None = None,
) -> Callable[[F], F]:
    """Make a function the action `name`, such as `tms.assign`; BadAction when it cannot be one.

    The function takes the arguments as a dict and, if it has a second parameter, the Call. Without `input`
    the JSON Schema of the arguments comes from a TypedDict on the first parameter. `verify` and `undo` are
    operations of the same adapter. At its timeout an action is no longer waited for, but it is not stopped.
    """

    def register(function: F) -> F:
        file, line = _place(function)

        def bad(problem: str) -> BadAction:
            return BadAction(file=file, line=line, problem=problem)

        if not EVENT.match(name) or name.count(".") != 1:
            raise bad(f"the action {name!r} needs a name such as tms.assign: adapter, dot, operation")
        if not 1 <= (taken := _positional(function)) <= 2:
            raise bad(f"{name} takes (args) or (args, call), and this function takes {taken} arguments")
        try:
            operation = Operation(
                effect=effect,
                summary=summary or (function.__doc__ or "").strip().partition("\n")[0],
                verify=verify,
                undo=undo,
                idempotent=idempotent,
                input=input if input is not None else schema_of(function),
                output=output,
                simulate=simulate,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise bad(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        registered = Registered(name, operation, function, file, line)
        _declared.setdefault(function.__module__, []).append(registered)
        return function

    return register


def declared_in(module: str) -> list[Registered]:
    """Hand over the actions a module has declared while it was imported, in the order of the file."""
    return _declared.pop(module, [])


def _place(function: Function) -> tuple[str, int]:
    code = getattr(function, "__code__", None)
    return getsourcefile(function) or "?", code.co_firstlineno if code else 1


def _positional(function: Function) -> int:
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in signature(function).parameters.values())


class PythonAdapter:
    """Runs the project's own functions, each call in a thread that is left behind at its deadline."""

    def __init__(self, name: str, contract: Contract, actions: Mapping[str, Registered]) -> None:
        self._name = name
        self._contract = contract
        self._actions = actions

    def call(self, call: Call) -> Outcome:
        """Run the function; any exception but Refuse and TryAgain leaves open what a write did."""
        found = self._actions.get(call.action)
        if found is None:
            return Refused(f"{call.action} has no function: write one under actions/, with @action")
        results: SimpleQueue[Outcome] = SimpleQueue()
        # A daemon: an action that never ends must not keep the process from ending.
        worker = Thread(target=lambda: results.put(_run(found, call)), name=call.action, daemon=True)
        worker.start()
        try:
            return results.get(timeout=call.timeout / 1000)
        except Empty:
            return unclear(call.operation.effect, f"{call.action} did not end within {call.timeout} ms")

    def problems(self) -> list[str]:
        """Return the operations nobody has written."""
        missing = [name for name in self._contract.operations if f"{self._name}.{name}" not in self._actions]
        return [f"{self._name}.{name} has no function: write one under actions/" for name in missing]

    def close(self) -> None:
        """Do nothing: functions hold nothing here."""


def _run(found: Registered, call: Call) -> Outcome:
    # The function gets its own copy: what it changes must not change what is recorded about the call.
    given = json.loads(json.dumps(dict(call.args)))
    try:
        both = _positional(found.function) == 2
        result = found.function(given, call) if both else found.function(given)
    except Refuse as error:
        return Refused(f"{call.action}: {error}")
    except TryAgain as error:
        return Failed(f"{call.action}: {error}", error.after)
    except BaseException as error:  # also SystemExit: a policy of the process is not the action's to make
        reason = f"{call.action}: {type(error).__name__} at {_where(error, found)}: {error}"
        return unclear(call.operation.effect, reason)
    return _result(result, call)


def _result(result: object, call: Call) -> Outcome:
    if result is None:
        return Answered({})
    try:
        text = json.dumps(result, allow_nan=False).encode()
        if len(text) > MAX_ANSWER:
            raise NotJson(f"it is larger than {MAX_ANSWER} bytes")
        kept: JSON = parse_json(text)
        return Answered(kept)
    except (NotJson, TypeError, ValueError, RecursionError) as error:
        problem = f"{call.action} returned what cannot be kept: {error}"
        if call.is_read:
            return Failed(problem)
        log.warning("%s", problem)
        return Answered({})


def _where(error: BaseException, found: Registered) -> str:
    """Return file:line of the action's own last line in the traceback."""
    line, trace = found.line, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == found.function.__code__.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{found.file}:{line}"
