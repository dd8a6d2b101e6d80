"""Policies in TypeScript: a fresh, bounded QuickJS world per decision, without clock, randomness or I/O."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import quickjs

from openclaw_dagster.policy.realm import PRELUDE, PROGRAM
from openclaw_dagster.policy.strip import DEFAULT, strip_types
from openclaw_dagster.policy.verdict import (
    OUTPUT_LIMIT,
    SOURCE_LIMIT,
    PolicyFailed,
    Verdict,
    frozen_inputs,
    verdict_of,
)
from openclaw_dagster.spec.expressions import JSON

#: Name of the engine; part of a policy's digest, because another engine may decide otherwise.
ENGINE = "quickjs-ng 0.17"
#: The largest integer that JavaScript holds exactly.
LARGEST = 2**53 - 1

_STACK = 512 * 1024
_FRAME = re.compile(r"^    at .*?\(?<input>:(\d+):(\d+)\)?$", re.MULTILINE)


@dataclass(frozen=True)
class TypeScriptPolicy:
    """A policy whose default export is a function of the inputs; ready to decide once it is made.

    `milliseconds` bounds the processor time of one decision, `megabytes` its memory. Making it raises
    `PolicyFailed` for what is not TypeScript, imports code, exports no function, or fails while it loads.
    """

    file: str
    source: str = field(repr=False)
    milliseconds: int = 250
    megabytes: int = 32
    digest: str = field(init=False)
    _program: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = len(self.source.encode(errors="replace"))
        if size > SOURCE_LIMIT:
            raise self._failed(
                1, 1, f"the policy is {size} bytes long, the limit is {SOURCE_LIMIT}: split it"
            )
        for odd in ("\u2028", "\u2029", "\0"):
            if odd in self.source:
                before = self.source[: self.source.index(odd)]
                line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
                raise self._failed(line, column, f"write this character as \\u{ord(odd):04x}")
        code = strip_types(self.file, self.source)
        digest = hashlib.sha256(f"{ENGINE}\0{self.source}".encode()).hexdigest()
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "_program", PROGRAM.format(source=code, default=DEFAULT))
        self._within_time(self._load)

    def decide(self, inputs: Mapping[str, JSON]) -> Verdict:
        """Return the verdict on `inputs`, which the policy cannot change, or raise `PolicyFailed`."""
        text = frozen_inputs(self.file, inputs)
        inexact = _inexact(dict(inputs), "inputs") if len(text) > 15 else None
        if inexact:
            raise self._failed(1, 1, f"{inexact} is more than TypeScript holds exactly: send it as text")
        answer = json.loads(self._within_time(lambda seconds: self._run(text, seconds)))
        if answer.startswith("-"):
            raise self._failed(1, 1, answer[1:400])
        return verdict_of(self.file, json.loads(answer[1:]))

    def _load(self, seconds: float) -> str:
        _, decide = self._world(seconds)
        if not isinstance(decide, quickjs.Object):
            raise self._failed(
                1, 1, "the default export is not a function: export default function (inputs) { … }"
            )
        return ""

    def _run(self, text: str, seconds: float) -> str:
        run, decide = self._world(seconds)
        return str(run(decide, text, OUTPUT_LIMIT))

    def _world(self, seconds: float) -> tuple[quickjs.Object, quickjs.Object]:
        # A context per decision, made and used by one thread: nothing survives it, and QuickJS wants it so.
        context = quickjs.Context()
        context.set_memory_limit(self.megabytes * 1024 * 1024)
        context.set_max_stack_size(_STACK)
        run = context.eval(PRELUDE)
        context.set_time_limit(seconds)
        return run, context.eval(self._program)

    def _within_time(self, work: Callable[[float], str]) -> str:
        """Do `work` within the limit of this thread's own processor time.

        QuickJS counts the whole process's time, so in a busy process its limit strikes too early; a policy is
        pure, so it can be asked again with a larger limit until its own time is really used up.
        """
        limit = self.milliseconds / 1000
        allowance = limit
        while True:
            began = time.thread_time()
            try:
                return work(allowance)
            except (quickjs.JSException, quickjs.StackOverflow) as error:
                used = time.thread_time() - began
                message = str(error)
                if not message.startswith("InternalError: interrupted") or used >= limit * 0.9:
                    raise self._explained(message) from None
                allowance *= 2
            except (TypeError, UnicodeDecodeError) as error:
                raise self._failed(1, 1, f"the policy returned what cannot be read: {error}") from None

    def _explained(self, message: str) -> PolicyFailed:
        """Turn a JavaScript error and its stack into the place in the TypeScript and what to do there."""
        text, _, stack = message.partition("\n    at ")
        frames = [(int(line), int(column)) for line, column in _FRAME.findall(f"    at {stack}")]
        last = self.source.count("\n") + 2
        line, at = next(((line - 1, at) for line, at in frames if 1 < line <= last), (1, 1))
        problem = re.sub(r"\nundefined$|\n$", "", text)
        if problem == "InternalError: interrupted":
            problem = f"the policy did not end within {self.milliseconds} ms: remove the endless loop"
        elif problem in ("InternalError: out of memory", "null"):
            # QuickJS throws null when no memory is left for the error itself.
            problem = f"the policy needed more than {self.megabytes} MB: keep only what the decision needs"
        elif "call stack size" in problem:
            problem = "the policy calls itself too deep: replace the recursion by a loop"
        elif "is read-only" in problem or "not extensible" in problem or "not configurable" in problem:
            problem += ": inputs cannot be changed, copy first, as in {...order} or [...lines]"
        if problem.startswith("TypeError: a policy "):
            problem = problem.removeprefix("TypeError: ")
        return self._failed(line, self._column(line, at), problem)

    def _column(self, line: int, at: int) -> int:
        """Return a column in characters for QuickJS's, which counts bytes of UTF-8."""
        lines = self.source.split("\n")
        if not 1 <= line <= len(lines):
            return 1
        return len(lines[line - 1].encode()[: at - 1].decode(errors="ignore")) + 1

    def _failed(self, line: int, column: int, problem: str) -> PolicyFailed:
        return PolicyFailed(file=self.file, line=line, column=column, problem=problem)


def _inexact(value: JSON, path: str) -> str | None:
    """Return the path of the first integer that a double cannot hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{path} = {value}" if abs(value) > LARGEST else None
    if isinstance(value, dict):
        found = (_inexact(inner, f"{path}.{key}") for key, inner in value.items())
        return next((hit for hit in found if hit), None)
    if isinstance(value, list):
        found = (_inexact(inner, f"{path}[{index}]") for index, inner in enumerate(value))
        return next((hit for hit in found if hit), None)
    return None
