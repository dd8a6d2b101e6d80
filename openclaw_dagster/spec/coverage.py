"""Finds the case that no row of a decision table decides, or that two rows do: such tables do not compile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import ClassVar, TypeAlias

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.expressions import syntax
from openclaw_dagster.spec.tree import Node

#: Most rows a table may have.
ROW_LIMIT = 64
#: Most steps the search takes before the table counts as too complicated; a step takes about 0.1 ms.
STEP_LIMIT = 2_000

_FLIPPED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_UNITS = {
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}


class CoverageError(ClawError):
    """{problem}"""

    code: ClassVar[str] = "CLAW152"

    problem: str


@dataclass(frozen=True)
class Cell:
    """A part of what a path can hold that no row tells apart, with one value that stands for it.

    `kind` is `number`, `duration` (seconds), `string`, `bool`, `null`, `opaque` or `other` (any other value).
    """

    kind: str
    value: Fraction | str | bool | None = None


@dataclass(frozen=True)
class _Atom:
    path: str
    operator: str
    cell: Cell


@dataclass(frozen=True)
class _Within:
    path: str
    cells: frozenset[Cell]


@dataclass(frozen=True)
class _Group:
    every: bool
    members: tuple[_Formula, ...]


@dataclass(frozen=True)
class _Not:
    inner: _Formula


_Formula: TypeAlias = "_Atom | _Within | _Group | _Not"
_Domains: TypeAlias = dict[str, tuple[Cell, ...]]
_Allowed: TypeAlias = dict[str, frozenset[Cell]]

_TRUE = _Group(True, ())
_FALSE = _Group(False, ())


def find_overlap(conditions: Sequence[str]) -> tuple[int, int, str] | None:
    """Return two rows, counted from 0, that can both hold, with an example; None when no two can.

    Raises `CoverageError` for a table too long or too complicated, `ExpressionError` for a bad condition.
    """
    formulas, domains = _read(conditions)
    alone = [_Search(domains).alone(formula) for formula in formulas]
    for second in range(len(formulas)):
        for first in range(second):
            if _apart(alone[first], alone[second]):
                continue
            found = _Search(domains).run((formulas[first], formulas[second]))
            if found is not None:
                advice = _advice(domains, found, conditions, first, second)
                return first, second, _example(domains, found) + advice
    return None


def _apart(first: _Allowed | None, second: _Allowed | None) -> bool:
    """Return whether one look shows that two rows exclude each other: a table of 64 rows has 2,016 pairs."""
    if first is None or second is None:
        return True
    return any(cells.isdisjoint(second[path]) for path, cells in first.items())


def find_gap(conditions: Sequence[str]) -> str | None:
    """Return an example that no row decides, None when some row always holds; raises as `find_overlap`."""
    formulas, domains = _read(conditions)
    found = _Search(domains).run(tuple(_without_not(_Not(formula), domains) for formula in formulas))
    return None if found is None else _example(domains, found)


def _read(conditions: Sequence[str]) -> tuple[list[_Formula], _Domains]:
    if len(conditions) > ROW_LIMIT:
        problem = f"the table has {len(conditions)} rows, the limit is {ROW_LIMIT}: split it in two"
        raise CoverageError(problem=problem)
    raw = [_formula(syntax(condition)) for condition in conditions]
    domains = _domains(raw)
    return [_without_not(formula, domains) for formula in raw], domains


def _formula(node: Node) -> _Formula:
    if node.kind == "literal" and node.word == "bool":
        return _TRUE if node.value else _FALSE
    if node.kind == "call":
        match node.word, node.inner:
            case "_&&_" | "_||_", members:
                return _Group(node.word == "_&&_", tuple(map(_formula, members)))
            case "!_", (inner,):
                return _Not(_formula(inner))
            case "_?_:_", (test, yes, no):
                chosen = _formula(test)
                both = _Group(True, (chosen, _formula(yes))), _Group(True, (_Not(chosen), _formula(no)))
                return _Group(False, both)
            case "@in", (subject, Node(kind="list") as many):
                cells = [_cell(item) for item in many.inner]
                if _is_path(subject) and None not in cells:
                    return _Group(False, tuple(_Atom(_text(subject), "==", cell) for cell in cells if cell))
            case word, (left, right) if word.strip("_") in ("==", "!=", "<", "<=", ">", ">="):
                return _comparison(left, word.strip("_"), right)
    if _is_path(node):
        return _Atom(_text(node), "==", Cell("bool", True))
    return _opaque(_text(node))


def _comparison(left: Node, operator: str, right: Node) -> _Formula:
    if operator == "!=":
        return _Not(_comparison(left, "==", right))
    subject, literal = left, _cell(right)
    if literal is None and _cell(left) is not None:
        subject, literal, operator = right, _cell(left), _FLIPPED[operator]
    ordered = literal is not None and literal.kind in ("number", "duration", "string")
    if literal is not None and _is_path(subject) and (operator == "==" or ordered):
        return _Atom(_text(subject), operator, literal)
    # `<` is the one ordering that is kept, so that `a < b` and `a >= b` are known to exclude each other.
    match operator:
        case ">":
            return _opaque(f"{_text(right)} < {_text(left)}")
        case ">=":
            return _Not(_opaque(f"{_text(left)} < {_text(right)}"))
        case "<=":
            return _Not(_opaque(f"{_text(right)} < {_text(left)}"))
        case _:
            sides = [_text(left), _text(right)]
            return _opaque(" == ".join(sorted(sides)) if operator == "==" else " < ".join(sides))


def _opaque(text: str) -> _Atom:
    return _Atom(text, "==", Cell("opaque", True))


def _is_path(node: Node) -> bool:
    if node.kind == "name":
        return True
    if node.kind == "field":
        return _is_path(node.inner[0])
    if node.kind != "call":
        return False
    if node.word == "_[_]":
        return _is_path(node.inner[0]) and node.inner[1].kind == "literal"
    return node.word in ("size", "duration") and len(node.inner) == 1 and _is_path(node.inner[0])


def _cell(node: Node) -> Cell | None:
    """Return the value of a literal, None when `node` is none."""
    value = node.value
    if node.kind == "call" and node.word == "duration" and node.inner[0].word == "string":
        seconds = _seconds(str(node.inner[0].value))
        return None if seconds is None else Cell("duration", seconds)
    if node.kind != "literal":
        return None
    match node.word, value:
        case "null", _:
            return Cell("null")
        case "bool", bool():
            return Cell("bool", value)
        case "string", str():
            return Cell("string", value)
        case "int" | "double", int() | float() if abs(value) <= 1.7e308:
            return Cell("number", Fraction(value))
        case _:
            return None


def _seconds(text: str) -> Fraction | None:
    found = re.fullmatch(r"(-?)((?:(?:\d+\.?\d*|\.\d+)(?:h|ms|m|s|us|ns))+)", text)
    if found is None:
        return None
    parts = re.findall(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|ns)", found[2])
    total = sum((Fraction(f"0{number}".rstrip(".")) * _UNITS[unit] for number, unit in parts), Fraction(0))
    return -total if found[1] else total


def _text(node: Node) -> str:
    """Return the same text for the same expression, however it was spaced."""
    inner = [_text(part) for part in node.inner]
    match node.kind:
        case "literal":
            return repr(node.value) if node.word == "string" else f"{node.value}".lower()
        case "name":
            return node.word.removeprefix(".")
        case "field":
            return f"{inner[0]}.{node.word}"
        case "has":
            return f"has({inner[0]}.{node.word})"
        case "call" if node.word == "_[_]" and node.inner[1].word == "string":
            return f"{inner[0]}.{node.inner[1].value}"
        case "call":
            return f"{node.word}({', '.join(inner)})"
        case _:
            return f"{node.kind}({', '.join((*sorted(node.binds), *inner))})"


def _domains(formulas: Iterable[_Formula]) -> _Domains:
    """Cut what each path can hold into the cells that the rows tell apart."""
    atoms: dict[str, set[_Atom]] = {}
    for formula in formulas:
        _collect(formula, atoms)
    return {path: _cells(path, found) for path, found in sorted(atoms.items())}


def _collect(formula: _Formula, atoms: dict[str, set[_Atom]]) -> None:
    match formula:
        case _Atom():
            atoms.setdefault(formula.path, set()).add(formula)
        case _Group():
            for member in formula.members:
                _collect(member, atoms)
        case _Not():
            _collect(formula.inner, atoms)


def _cells(path: str, atoms: set[_Atom]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    kinds = {atom.cell.kind for atom in atoms}
    for kind in ("number", "duration"):
        marks = sorted(
            {a.cell.value for a in atoms if a.cell.kind == kind and isinstance(a.cell.value, Fraction)}
        )
        values = _whole(marks) if path.startswith("size(") else _dense(marks)
        cells += [Cell(kind, value) for value in values]
    words = {atom.cell.value for atom in atoms if atom.cell.kind == "string"}
    texts = {word for word in words if isinstance(word, str)}
    if any(atom.cell.kind == "string" and atom.operator != "==" for atom in atoms):
        # The next string after s is s + NUL, so these stand for every interval between the words.
        texts |= {"", *(word + "\0" for word in texts)}
    elif texts:
        cells.append(Cell("other"))
    cells += [Cell("string", text) for text in sorted(texts)]
    cells += [Cell(kind, value) for kind in ("bool", "opaque") if kind in kinds for value in (True, False)]
    if "null" in kinds:
        cells += [Cell("null")] if len(kinds) > 1 else [Cell("null"), Cell("other")]
    return tuple(cells)


def _dense(marks: list[Fraction]) -> list[Fraction]:
    if not marks:
        return []
    between = [_simple(low, high) for low, high in pairwise(marks)]
    return sorted({*marks, *between, marks[0] - 1, marks[-1] + 1})


def _simple(low: Fraction, high: Fraction) -> Fraction:
    """Return an easily read number strictly between two others."""
    whole = Fraction(low.__floor__() + 1)
    return whole if whole < high else (low + high) / 2


def _whole(marks: list[Fraction]) -> list[Fraction]:
    near = {Fraction(mark.__floor__() + step) for mark in marks for step in (-1, 0, 1, 2)}
    return sorted(value for value in near if value >= 0)


def _without_not(formula: _Formula, domains: _Domains, wanted: bool = True) -> _Formula:
    """Return the formula without negations and with each comparison as the set of cells that satisfy it."""
    match formula:
        case _Not():
            return _without_not(formula.inner, domains, not wanted)
        case _Group():
            members = tuple(_without_not(member, domains, wanted) for member in formula.members)
            return _Group(formula.every == wanted, members)
        case _Within():
            rest = frozenset(domains[formula.path]) - formula.cells
            return formula if wanted else _Within(formula.path, rest)
        case _Atom():
            domain = domains[formula.path]
            return _Within(
                formula.path, frozenset(cell for cell in domain if _holds(formula, cell) == wanted)
            )


def _holds(atom: _Atom, cell: Cell) -> bool:
    left, right = cell.value, atom.cell.value
    if cell.kind != atom.cell.kind:
        return False
    if atom.operator == "==":
        return left == right
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _ordered((left > right) - (left < right), atom.operator)
    if isinstance(left, str) and isinstance(right, str):
        return _ordered((left > right) - (left < right), atom.operator)
    return False


def _ordered(sign: int, operator: str) -> bool:
    return {"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[operator]


class _Search:
    """Looks for cells that satisfy all formulas at once: narrow what is certain, then split a path in two."""

    def __init__(self, domains: _Domains) -> None:
        self.full: _Allowed = {path: frozenset(cells) for path, cells in domains.items()}
        self.steps = 0

    def run(self, formulas: tuple[_Formula, ...]) -> _Allowed | None:
        """Return the cells left to each path when all formulas hold, None when they cannot."""
        return self.split(formulas, dict(self.full))

    def alone(self, formula: _Formula) -> _Allowed | None:
        """Return what one formula at least demands of each path, None when it never holds."""
        allowed = dict(self.full)
        return None if self.narrow((formula,), allowed) is None else allowed

    def split(self, formulas: tuple[_Formula, ...], allowed: _Allowed) -> _Allowed | None:
        self.steps += 1
        if self.steps > STEP_LIMIT:
            raise CoverageError(problem="the rows are too complicated to compare: split the table in two")
        open_groups = self.narrow(formulas, allowed)
        if open_groups is None:
            return None
        if not open_groups:
            return allowed
        pivot = _first_atom(min(open_groups, key=lambda group: len(group.members)))
        here = allowed[pivot.path]
        for cells in (here & pivot.cells, here - pivot.cells):
            found = self.split(tuple(open_groups), {**allowed, pivot.path: cells})
            if found is not None:
                return found
        return None

    def narrow(self, formulas: tuple[_Formula, ...], allowed: _Allowed) -> list[_Group] | None:
        """Apply the plain comparisons to `allowed`; return what is left to do, None if impossible."""
        pending = list(formulas)
        while True:
            groups: list[_Group] = []
            narrowed = False
            for formula in pending:
                simple = _simplified(formula, allowed)
                for part in simple.members if isinstance(simple, _Group) and simple.every else (simple,):
                    if isinstance(part, _Within):
                        allowed[part.path] &= part.cells
                        narrowed = True
                        if not allowed[part.path]:
                            return None
                    elif isinstance(part, _Group):
                        if part == _FALSE:
                            return None
                        groups.append(part)
            if not narrowed:
                return groups
            pending = list(groups)


def _simplified(formula: _Formula, allowed: _Allowed) -> _Formula:
    if isinstance(formula, _Within):
        cells = formula.cells & allowed[formula.path]
        if cells == allowed[formula.path]:
            return _TRUE
        return _Within(formula.path, cells) if cells else _FALSE
    assert isinstance(formula, _Group)
    neutral, decisive = (_TRUE, _FALSE) if formula.every else (_FALSE, _TRUE)
    members: list[_Formula] = []
    for member in formula.members:
        simple = _simplified(member, allowed)
        if simple == decisive:
            return decisive
        if isinstance(simple, _Group) and simple.every == formula.every:
            members += simple.members
        elif simple != neutral:
            members.append(simple)
    return members[0] if len(members) == 1 else _Group(formula.every, tuple(members))


def _first_atom(formula: _Formula) -> _Within:
    while isinstance(formula, _Group):
        formula = formula.members[0]
    assert isinstance(formula, _Within)
    return formula


def _example(domains: _Domains, found: _Allowed) -> str:
    said = [
        _said(path, domains[path], cells)
        for path, cells in found.items()
        if cells != frozenset(domains[path])
    ]
    return " and ".join(said) or "anything"


def _said(path: str, domain: tuple[Cell, ...], cells: frozenset[Cell]) -> str:
    cell = next(cell for cell in domain if cell in cells)
    match cell.kind, cell.value:
        case "opaque", value:
            return f"`{path}`" if value else f"not `{path}`"
        case "other", _:
            known = [_word(known) for known in domain if known.kind in ("string", "null")]
            return f"{path} is none of {', '.join(known)}"
        case "string", str() as text if text.endswith("\0"):
            return f"{path} is just after {text[:-1]!r}"
        case _:
            return f"{path} == {_word(cell)}"


def _word(cell: Cell) -> str:
    match cell.kind, cell.value:
        case "null", _:
            return "null"
        case "bool", value:
            return str(value).lower()
        case "number" | "duration", Fraction() as number:
            plain = str(number) if number.denominator == 1 else str(float(number))
            return f"duration('{plain}s')" if cell.kind == "duration" else plain
        case _, value:
            return repr(value)


def _advice(domains: _Domains, found: _Allowed, conditions: Sequence[str], first: int, second: int) -> str:
    """Say how to write two rows apart whose conditions cannot be compared."""
    narrowed = (path for path, cells in found.items() if cells != frozenset(domains[path]))
    if not any(domains[path][0].kind == "opaque" for path in narrowed):
        return ""
    return f" (write row {second + 1} as `!({conditions[first]}) && ({conditions[second]})`)"
