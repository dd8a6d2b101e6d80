"""Reads a Python policy before it runs: what it imports, names and touches must be on the list."""

from __future__ import annotations

import ast

from openclaw_dagster.policy.host import BUILTINS, IMPORTS, RANDOM
from openclaw_dagster.policy.verdict import SOURCE_LIMIT, PolicyFailed

_CLOCK = frozenset({"calendar", "datetime", "time", "zoneinfo", "timeit"})
_DICE = frozenset({"random", "secrets", "uuid"})
_ESCAPES = frozenset({
    "breakpoint", "classmethod", "compile", "delattr", "dir", "eval", "exec", "exit", "getattr",
    "globals", "hasattr", "hash", "help", "id", "input", "locals", "memoryview", "object", "open",
    "print", "quit", "setattr", "type", "vars",
})  # fmt: skip
_INSIDES = frozenset({
    "ag_await", "ag_code", "ag_frame", "cr_await", "cr_code", "cr_frame", "cr_origin", "f_back",
    "f_builtins", "f_code", "f_globals", "f_locals", "f_trace", "format", "format_map", "gi_code",
    "gi_frame", "gi_yieldfrom", "mro", "samples", "tb_frame", "tb_next", "with_traceback",
})  # fmt: skip
_DUNDERS = frozenset({"__init__"})


def check_source(file: str, source: str) -> None:
    """Raise `PolicyFailed`, with line and column, when `source` is no policy that could be run safely."""
    try:
        if len(source.encode()) > SOURCE_LIMIT:
            raise _failed(file, 1, 1, f"the policy is longer than {SOURCE_LIMIT} bytes: split it")
        tree = ast.parse(source, file)
        compile(tree, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _failed(
            file, error.lineno or 1, error.offset or 1, f"this is not Python: {error.msg}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        problem = f"this is not Python: {str(error) or 'it is nested too deep'}"
        raise _failed(file, 1, 1, problem) from None
    checker = _Checker(file, source)
    try:
        checker.visit(tree)
    except RecursionError:
        raise _failed(file, 1, 1, "this is not a policy: it is nested too deep") from None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "decide"]
    if len(found) != 1:
        problem = "there must be one top-level function: def decide(inputs): …"
        raise _failed(file, found[1].lineno if found else 1, 1, problem)


def column_of(source: str, line: int, offset: int) -> int:
    """Return the column, from 1 and in characters, of a byte `offset` in a line."""
    lines = source.split("\n")
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    return len(text.encode(errors="replace")[:offset].decode(errors="ignore")) + 1


def _failed(file: str, line: int, column: int, problem: str) -> PolicyFailed:
    return PolicyFailed(file=file, line=line, column=column, problem=problem)


class _Checker(ast.NodeVisitor):
    def __init__(self, file: str, source: str) -> None:
        self.file, self.source = file, source

    def fail(self, node: ast.AST, problem: str) -> PolicyFailed:
        line = getattr(node, "lineno", 1)
        column = column_of(self.source, line, getattr(node, "col_offset", 0))
        return _failed(self.file, line, column, problem)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.module(alias, alias.name)
            self.word(node, alias.asname or "")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            raise self.fail(node, "a policy is one file: paste the code it needs")
        self.module(node, node.module or "")
        _, chosen = IMPORTS[node.module or ""]
        for alias in node.names:
            self.word(alias, alias.name)
            self.word(alias, alias.asname or "")
            if alias.name in RANDOM:
                raise self.fail(alias, "a policy has no randomness: pass the number as an input")
            if alias.name == "*" or (chosen and alias.name not in chosen):
                allowed = ", ".join(chosen or ("names, not *",))
                raise self.fail(alias, f"{alias.name} cannot be imported here, allowed: {allowed}")

    def module(self, node: ast.AST, name: str) -> None:
        if name in _CLOCK:
            raise self.fail(node, f"a policy has no clock: pass what {name} would give as an input")
        if name in _DICE:
            raise self.fail(node, f"a policy has no randomness: pass what {name} would give as an input")
        if name not in IMPORTS:
            problem = f"a policy cannot import {name or 'this'}, allowed: {', '.join(sorted(IMPORTS))}"
            raise self.fail(node, problem)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in _ESCAPES and node.id not in BUILTINS:
            raise self.fail(node, f"{node.id} does not exist in a policy: decide from the inputs only")
        self.word(node, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in ("format", "format_map"):
            raise self.fail(node, "str.format reaches inside objects: write an f-string")
        if node.attr == "samples" or node.attr in RANDOM:
            raise self.fail(node, "a policy has no randomness: pass the numbers as inputs")
        if node.attr in _INSIDES:
            raise self.fail(node, f".{node.attr} reaches inside Python: a policy only works on its inputs")
        self.word(node, node.attr)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            self.word(node, name)
            if name in _INSIDES:
                raise self.fail(node, f".{name} reaches inside Python: a policy only works on its inputs")
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        raise self.fail(node, "a policy answers at once: write def, not async def")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.keywords:
            raise self.fail(node, "a class in a policy has no metaclass: remove it")
        self.word(node, node.name)
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for field in ("name", "arg", "rest"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                self.word(node, value)
        for name in getattr(node, "names", ()) if isinstance(node, ast.Global | ast.Nonlocal) else ():
            self.word(node, name)
        super().generic_visit(node)

    def word(self, node: ast.AST, word: str) -> None:
        if word.startswith("__") and word not in _DUNDERS:
            raise self.fail(node, f"{word} reaches inside Python: a policy only works on its inputs")
