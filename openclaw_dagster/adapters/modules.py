"""Finds the `@action` functions of a project by importing its `actions/` modules by path."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from openclaw_dagster.adapters.python import BadAction, Registered, declared_in
from openclaw_dagster.spec.contracts import Contract


def load_actions(paths: Sequence[Path]) -> dict[str, Registered]:
    """Return the actions of the given modules, or of the modules in the given folders, by action name.

    Files whose name begins with `_` are left out. BadAction names file and line of what cannot be imported
    and of an action that is there twice.
    """
    found: dict[str, Registered] = {}
    for path in _files(paths):
        for registered in declared_in(_import(path)):
            other = found.get(registered.action)
            if other is not None:
                raise BadAction(
                    file=registered.file,
                    line=registered.line,
                    problem=f"the action {registered.action} stands already at {other.file}:{other.line}",
                )
            found[registered.action] = registered
    return found


def with_actions(contracts: Mapping[str, Contract], actions: Mapping[str, Registered]) -> dict[str, Contract]:
    """Return the contracts with the operations the actions bring.

    An action may implement an operation of a contract file, which then says what it takes. BadAction when the
    two disagree about its effect, its verify, its undo or whether it is idempotent.
    """
    merged = dict(contracts)
    for name, registered in sorted(actions.items()):
        adapter, _, operation = name.partition(".")
        known = merged[adapter].operations if adapter in merged else {}
        if operation in known:
            _check_agree(registered, known[operation].model_dump())
            continue
        base = merged.get(adapter) or Contract(operations={operation: registered.operation})
        operations = {**known, operation: registered.operation}
        merged[adapter] = base.model_copy(update={"operations": operations})
    return merged


def _check_agree(registered: Registered, contract: Mapping[str, object]) -> None:
    said = registered.operation.model_dump()
    for word in ("effect", "verify", "undo", "idempotent"):
        if said[word] != contract[word]:
            raise BadAction(
                file=registered.file,
                line=registered.line,
                problem=f"{registered.action} clashes with its contract file: "
                f"{word} is {contract[word]!r} there and {said[word]!r} here; "
                "make them equal, or give the action another name",
            )


def _files(paths: Sequence[Path]) -> Iterable[Path]:
    for path in paths:
        inside = sorted(path.glob("*.py")) if path.is_dir() else [path]
        yield from (file.resolve() for file in inside if not file.name.startswith("_"))


def _import(path: Path) -> str:
    # A private name: a project's actions/json.py must not become `json` for anybody else.
    name = f"_claw_actions_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadAction(file=str(path), line=1, problem="there is no Python module here")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look their module up by name
    try:
        spec.loader.exec_module(module)
    except BadAction:
        del sys.modules[name]
        raise
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        problem = f"it cannot be imported: {type(error).__name__}: {error}"
        raise BadAction(file=str(path), line=_line(error, path), problem=problem) from error
    return name


def _line(error: BaseException, path: Path) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path) and frame.lineno]
    return lines[-1] if lines else 1
