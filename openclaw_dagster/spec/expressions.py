"""CEL expressions: the conditions and `${…}` values of a `.claw` file, compiled once, run many times."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

from cel_expr_python import cel

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.tree import Node, NotUsed, tree_of

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

#: Longest expression, in bytes of UTF-8.
TEXT_LIMIT = 4 * 1024
#: How deep `map`, `filter`, `all` and `exists` may stand inside each other.
NESTING_LIMIT = 3

#: What a name may hold. Numbers stay dynamic: CEL's checker refuses `double < int`, and JSON does not tell
#: the two apart, while its run time compares them exactly.
KINDS: Mapping[str, Any] = {
    "bool": cel.Type.BOOL,
    "string": cel.Type.STRING,
    "list": cel.Type.List(cel.Type.DYN),
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "int": cel.Type.DYN,
    "double": cel.Type.DYN,
    "number": cel.Type.DYN,
    "dyn": cel.Type.DYN,
}

_TYPE_NAMES = frozenset(
    {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}
)
_COMPLAINT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")


class ExpressionError(ClawError):
    """The expression `{text}` is wrong at {line}:{column}: {problem}"""

    code: ClassVar[str] = "CLAW150"

    text: str
    line: int
    column: int
    problem: str


class ExpressionFailed(ClawError):
    """The expression `{text}` has no value here: {cause}"""

    code: ClassVar[str] = "CLAW151"

    text: str
    cause: str


@dataclass(frozen=True)
class Expression:
    """A compiled expression: cheap to run, without a clock, safe to share between threads."""

    text: str
    names: frozenset[str]
    _program: Any = field(repr=False, compare=False)

    def value(self, bindings: Mapping[str, JSON]) -> JSON:
        """Return the value under `bindings`; mappings come out with sorted keys.

        Raises `ExpressionFailed` when a field is missing, types do not fit, or it takes too long.
        """
        try:
            data = {name: bindings[name] for name in self.names if name in bindings}
            if _holds_nul(data):
                raise ExpressionFailed(
                    text=self.text, cause="the data holds a NUL character: send it without"
                )
            outcome = self._program.eval(data=data)
            kind = outcome.type().name()
            if kind == "ERROR":
                raise ExpressionFailed(text=self.text, cause=_cause(str(outcome.value())))
            return _json(outcome.plain_value(), self.text)
        except (RuntimeError, TypeError, ValueError, RecursionError) as error:
            raise ExpressionFailed(text=self.text, cause=_cause(str(error))) from None

    def test(self, bindings: Mapping[str, JSON]) -> bool:
        """Return whether the condition holds; raise `ExpressionFailed` also when it is not true or false."""
        value = self.value(bindings)
        if not isinstance(value, bool):
            cause = f"a condition is true or false, this is {value!r:.60}: compare it, as in `… == …`"
            raise ExpressionFailed(text=self.text, cause=cause)
        return value


def compile_expression(
    text: str, names: Collection[str] | None = None, *, kinds: Mapping[str, str] | None = None
) -> Expression:
    """Compile CEL `text`, whose root identifiers must be among `names` unless that is None.

    `kinds` says what a name holds (`string`, `number`, `bool`, `list`, `map`, …); other names are dynamic.
    Raises `ExpressionError` with the line and column inside `text`, both from 1.
    """
    allowed = None if names is None else frozenset(names)
    return _compiled(text, allowed, frozenset((kinds or {}).items()))


def _compiled(text: str, allowed: frozenset[str] | None, kinds: frozenset[tuple[str, str]]) -> Expression:
    roots = _roots_of(text)
    if allowed is not None:
        for name, offset in roots.items():
            if name not in allowed and name not in _TYPE_NAMES:
                raise _wrong(text, offset, _unknown(name, allowed))
    held = dict(kinds)
    names = sorted(roots.keys() - _TYPE_NAMES)
    return _program(text, tuple((name, held.get(name, "dyn")) for name in names))


@lru_cache(maxsize=4096)
def _roots_of(text: str) -> Mapping[str, int]:
    return _roots(syntax(text))


@lru_cache(maxsize=4096)
def _program(text: str, kinds: tuple[tuple[str, str], ...]) -> Expression:
    try:
        program = _environment(kinds).compile(text)
    except RuntimeError as error:
        raise _refused(text, str(error)) from None
    return Expression(text=text, names=frozenset(name for name, _ in kinds), _program=program)


@lru_cache(maxsize=256)
def _environment(kinds: tuple[tuple[str, str], ...]) -> Any:
    """Return the library's environment for names of given kinds: its first compilation is the slow one."""
    return cel.NewEnv(variables={name: KINDS[kind] for name, kind in kinds})


@lru_cache(maxsize=1024)
def syntax(text: str) -> Node:
    """Return the parsed form of `text`; raise `ExpressionError` when it is not CEL, too long or too deep."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _wrong("…", error.start, "it holds half of a character (a lone surrogate)") from None
    if size > TEXT_LIMIT:
        problem = f"it is {size} bytes long, the limit is {TEXT_LIMIT}: move the rule into a policy file"
        raise ExpressionError(text=f"{text[:40]}…", line=1, column=1, problem=problem)
    if not text.strip():
        problem = "it is empty: write a condition such as `order.value > 0`"
        raise ExpressionError(text=text, line=1, column=1, problem=problem)
    try:
        parsed = _environment(()).compile(text, disable_check=True).serialize()
    except (RuntimeError, ValueError) as error:
        raise _refused(text, str(error)) from None
    try:
        node = tree_of(parsed)
    except NotUsed as error:
        raise _wrong(text, error.offset, error.problem) from None
    _check_nesting(text, node, 0)
    return node


def _check_nesting(text: str, node: Node, depth: int) -> None:
    depth += node.kind == "loop"
    if depth > NESTING_LIMIT:
        problem = f"loops stand more than {NESTING_LIMIT} deep: move the rule into a policy file"
        raise _wrong(text, node.offset, problem)
    for inner in node.inner:
        _check_nesting(text, inner, depth)


def _roots(node: Node) -> dict[str, int]:
    """Return each root identifier with the offset of its first use, leaving out names that loops bind."""
    found: dict[str, int] = {}
    if node.kind == "name" and not node.word.startswith("@"):
        found[node.word.removeprefix(".")] = node.offset
    for inner in node.inner:
        for name, offset in _roots(inner).items():
            if name not in node.binds:
                found[name] = min(offset, found.get(name, offset))
    return found


def _unknown(name: str, allowed: frozenset[str]) -> str:
    if not allowed:
        return f"`{name}` is unknown, and no names can be used here"
    close = get_close_matches(name, sorted(allowed), n=1)
    hint = f", did you mean `{close[0]}`?" if close else ""
    more = ", …" if len(allowed) > 20 else ""
    return f"`{name}` is unknown{hint} (allowed: {', '.join(sorted(allowed)[:20])}{more})"


def _refused(text: str, complaint: str) -> ExpressionError:
    """Turn the library's complaint, several lines with a caret, into one error at its first place."""
    match = _COMPLAINT.search(complaint)
    if match is None or int(match[1]) < 1:
        deep = "it is nested too deep (limit 32): move the rule into a policy file"
        problem = deep if "recursion" in complaint else complaint[:200]
        return ExpressionError(text=_short(text), line=1, column=1, problem=problem)
    problem = match[3].removesuffix(" [INVALID_ARGUMENT]").replace(" (in container '')", "")
    problem = re.sub(r"(mismatched|extraneous) input '<EOF>' expecting .*", "it ends too early", problem)
    problem = re.sub(r" expecting \{.*", "", problem)
    unknown = re.match(r"undeclared reference to '([\w.]+)'", problem)
    if unknown:
        clock = ": there is no clock, compare with a field of the event" if unknown[1] == "now" else ""
        problem = f"there is no function `{unknown[1]}`{clock}"
    return ExpressionError(text=_short(text), line=int(match[1]), column=int(match[2]), problem=problem)


def _wrong(text: str, offset: int, problem: str) -> ExpressionError:
    before = text[:offset]
    line = before.count("\n") + 1
    column = offset - (before.rfind("\n") + 1) + 1
    return ExpressionError(text=_short(text), line=line, column=column, problem=problem)


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}…"


def _cause(complaint: str) -> str:
    """Say a run-time complaint of the library in the words of somebody who writes `.claw` files."""
    complaint = re.sub(r" \[[A-Z_]+\]$", "", re.sub(r"^[A-Z_]+: ", "", complaint))
    missing = re.search(r'Key not found in map : "?(.*?)"?$', complaint)
    if missing:
        return f"the field `{missing[1]}` is missing: guard it with `has(…)`, or send it"
    unbound = re.search(r'No value with name "(.*)" found', complaint)
    if unbound:
        return f"`{unbound[1]}` was not given"
    overload = re.search(r"No matching overloads found : (.*)", complaint)
    if overload:
        return f"these types do not fit together: {overload[1]}"
    if "non-message type" in complaint:
        return "a field was read from something that is not a mapping"
    if "basic_string" in complaint:
        return "the data holds half of a character (a lone surrogate)"
    if "budget exceeded" in complaint:
        return "it loops too long: send shorter lists, or move the rule into a policy file"
    return complaint[:300]


def _holds_nul(value: Any) -> bool:
    """Return whether a text or key holds a NUL: the library cuts it there, and `paid\\0x` becomes `paid`."""
    if type(value) is str:
        return "\0" in value
    if type(value) is dict:
        return any("\0" in key for key in value) or any(map(_holds_nul, value.values()))
    return type(value) is list and any(map(_holds_nul, value))


def _json(value: Any, text: str) -> JSON:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise ExpressionFailed(text=text, cause=f"its value is {value}, which is not a JSON number")
    if isinstance(value, list):
        return [_json(inner, text) for inner in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ExpressionFailed(text=text, cause="its value is a mapping whose keys are not all text")
        return {key: _json(value[key], text) for key in sorted(value)}
    cause = f"its value is a {type(value).__name__}, which is not JSON: write `string(…)` around it"
    raise ExpressionFailed(text=text, cause=cause)


@dataclass(frozen=True)
class Template:
    """A compiled `with:` mapping: its `${…}` strings are expressions, everything else stands for itself."""

    names: frozenset[str]
    _parts: Any = field(repr=False)

    def render(self, bindings: Mapping[str, JSON]) -> JSON:
        """Return the mapping with expressions replaced by their values, types kept, or `ExpressionFailed`."""
        return _rendered(self._parts, bindings)


def compile_template(value: JSON, names: Collection[str] | None = None) -> Template:
    """Compile the strings that are exactly `${ CEL }`; any other `${` is an `ExpressionError`."""
    found: set[str] = set()
    parts = _parts(value, names, found)
    return Template(names=frozenset(found), _parts=parts)


def _parts(value: Any, names: Collection[str] | None, found: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _parts(inner, names, found) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_parts(inner, names, found) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    problem = "text around `${…}` is not computed: write one CEL expression, such as `${'a' + b}`"
    if not (value.startswith("${") and value.endswith("}")):
        raise _wrong(value, value.index("${"), problem)
    try:
        expression = compile_expression(value[2:-1], names)
    except ExpressionError as error:
        if "${" in value[2:]:
            raise _wrong(value, value.index("${", 2), problem) from None
        column = error.column + 2 if error.line == 1 else error.column
        details = {**error.details, "text": _short(value), "column": column}
        raise ExpressionError(**details) from None
    found |= expression.names
    return expression


def _rendered(part: Any, bindings: Mapping[str, JSON]) -> JSON:
    if isinstance(part, Expression):
        return part.value(bindings)
    if isinstance(part, dict):
        return {key: _rendered(inner, bindings) for key, inner in part.items()}
    if isinstance(part, list):
        return [_rendered(inner, bindings) for inner in part]
    return part  # type: ignore[no-any-return]
