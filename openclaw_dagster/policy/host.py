"""The child process that runs Python policies: one forked and bounded process per decision.

It reads one JSON request per line from standard input and answers each with one JSON line. It never imports
the package, so that it starts in milliseconds and a policy finds nothing of ours in its memory.
"""

import builtins
import collections
import collections.abc
import decimal
import fractions
import functools
import itertools
import json
import math
import os
import re
import resource
import select
import signal
import statistics
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace, TracebackType
from typing import Any

#: What a policy may import: the module and its names, None for all that are public.
IMPORTS: dict[str, tuple[Any, tuple[str, ...] | None]] = {
    "collections": (collections, None),
    "collections.abc": (collections.abc, None),
    "decimal": (decimal, None),
    "fractions": (fractions, ("Fraction",)),
    "functools": (functools, ("cache", "cmp_to_key", "lru_cache", "partial", "reduce")),
    "itertools": (itertools, None),
    "json": (json, ("dumps", "loads", "JSONDecodeError")),
    "math": (math, None),
    "re": (re, None),
    "statistics": (statistics, None),
}
#: Names of those modules that draw random numbers.
RANDOM = frozenset({"NormalDist", "kde_random"})

#: The built-in functions a policy has; exceptions come on top.
BUILTINS = (
    "abs", "all", "any", "bin", "bool", "bytes", "callable", "chr", "complex", "dict", "divmod",
    "enumerate", "filter", "float", "format", "frozenset", "hex", "int", "isinstance", "issubclass",
    "iter", "len", "list", "map", "max", "min", "next", "oct", "ord", "pow", "property", "range",
    "repr", "reversed", "round", "set", "slice", "sorted", "staticmethod", "str", "sum", "super",
    "tuple", "zip", "True", "False", "None", "NotImplemented", "Ellipsis", "__build_class__",
)  # fmt: skip

_CODES: dict[str, CodeType] = {}


def main() -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    replies = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    parent = os.getppid()
    buffer = b""
    while True:
        # Someone else may hold the other end open after the parent died, so the pipe alone is not enough.
        while not select.select([0], [], [], 2.0)[0]:
            if os.getppid() != parent:
                return
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return
        buffer += chunk
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            _send(replies, _answer(json.loads(line)))


def _answer(request: dict[str, Any]) -> bytes:
    """Run one decision in a process of its own, so that no state and no wound outlives it."""
    key = request["digest"]
    if key not in _CODES:
        if len(_CODES) > 256:
            _CODES.clear()
        _CODES[key] = compile(request["source"], request["file"], "exec", dont_inherit=True)
    results, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(results)
        try:
            _decide(_CODES[key], request, sender)
        finally:
            os._exit(1)
    os.close(sender)
    reply = b""
    while chunk := os.read(results, 1 << 16):
        reply += chunk
    os.close(results)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and reply:
        return reply
    killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return _encoded({"killed": killer})


def _decide(code: CodeType, request: dict[str, Any], sender: int) -> None:
    file, inputs = request["file"], request["inputs"]
    _bound(request["seconds"], request["megabytes"], file, sender)
    try:
        names: dict[str, Any] = {"__builtins__": _builtins(), "__name__": "policy"}
        exec(code, names)
        reply = {"output": _plain(names["decide"](inputs), "output", 1)}
    except _Misshapen as error:
        reply = {"bad": str(error)}
    except BaseException as error:
        reply = _failure(error, file)
    signal.setitimer(signal.ITIMER_PROF, 0)
    _send(sender, _encoded(reply))
    os._exit(0)


def _bound(seconds: float, megabytes: int, file: str, sender: int) -> None:
    """Bound this process: its time, its memory, and files not at all."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    def late(_: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_filename != file:
            frame = frame.f_back
        _send(sender, _encoded({"late": True, "line": frame.f_lineno if frame else 1}))
        os._exit(0)

    # The timer tells the line; a loop inside C code never lets it, so the hard limit ends the process.
    signal.signal(signal.SIGPROF, late)
    hard = math.ceil(seconds) + 1
    for limit, value in (
        (resource.RLIMIT_CPU, hard),
        (resource.RLIMIT_AS, size + megabytes * 1024 * 1024),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _builtins() -> dict[str, Any]:
    allowed = {name: getattr(builtins, name) for name in BUILTINS}
    for name, value in vars(builtins).items():
        if isinstance(value, type) and issubclass(value, BaseException):
            allowed[name] = value
    allowed["__import__"] = _import
    return allowed


def _import(name: str, _globals: Any = None, _locals: Any = None, wanted: Any = (), level: int = 0) -> Any:
    if level or name not in IMPORTS:
        raise ImportError(f"a policy cannot import {name}")
    module = _public(name)
    if "." in name and not wanted:
        root = _public(name.partition(".")[0])
        setattr(root, name.partition(".")[2], module)
        return root
    return module


def _public(name: str) -> SimpleNamespace:
    module, chosen = IMPORTS[name]
    names = chosen or getattr(module, "__all__", None) or [name for name in dir(module) if name[0] != "_"]
    return SimpleNamespace(**{name: getattr(module, name) for name in names if name not in RANDOM})


class _Misshapen(Exception):
    """The output is not JSON."""


def _plain(value: Any, path: str, depth: int) -> Any:
    """Return `value` as plain JSON data, so that no subclass of the policy's runs any code afterwards."""
    if depth > 32:
        raise _Misshapen(f"{path[:80]} is nested deeper than 32: return a flatter output")
    kind = type(value)
    if kind is int and value.bit_length() > 63:
        raise _Misshapen(f"{path} is an integer of more than 64 bits: write str(…)")
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise _Misshapen(f"{path} is {value}, which is not a JSON number: return a finite number or None")
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise _Misshapen(f"{path} has the key {key!r:.60}, which is not text: write str(key)")
        return {key: _plain(value[key], f"{path}.{key}", depth + 1) for key in value}
    if kind in (list, tuple) and path != "output":
        return [_plain(inner, f"{path}[{at}]", depth + 1) for at, inner in enumerate(value)]
    subject = "the policy returned" if path == "output" else f"{path} is"
    repair = "return one mapping such as {'branch': 'manual'}, or a word such as 'manual'"
    if path != "output":
        repair = "return text, a number, a boolean, a list or a mapping"
    raise _Misshapen(f"{subject} a {kind.__name__}: {repair}")


def _failure(error: BaseException, file: str) -> dict[str, Any]:
    """Return what went wrong and where, the column in bytes of UTF-8 from 0."""
    line, column = 1, 0
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            positions = list(trace.tb_frame.f_code.co_positions())
            start = positions[trace.tb_lasti // 2]
            line, column = trace.tb_lineno, start[2] or 0
        trace = trace.tb_next
    if isinstance(error, MemoryError):
        return {"memory": True, "line": line, "column": column}
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:
        text = type(error).__name__
    return {"error": text[:500], "line": line, "column": column}


def _encoded(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply).encode() + b"\n"


def _send(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


if __name__ == "__main__":
    main()
