"""Decision tables: rows of a CEL condition and an output, without gap and without overlap."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from openclaw_dagster.policy.verdict import PolicyFailed, Verdict, frozen_inputs, verdict_of
from openclaw_dagster.spec.coverage import CoverageError, find_gap, find_overlap
from openclaw_dagster.spec.expressions import (
    JSON,
    Expression,
    ExpressionError,
    ExpressionFailed,
    compile_expression,
)

#: Name of the engine; part of a table's digest.
ENGINE = "table 1"


@dataclass(frozen=True)
class Row:
    """One row: the condition, None for the else row; its output; and where it stands in its file, from 1."""

    when: str | None
    then: Mapping[str, JSON]
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class TablePolicy:
    """A decision table, ready to decide once it is made.

    Making it raises `PolicyFailed` at the first row that is wrong: a bad condition, an else row before the
    last, two rows that can both hold, or a case that no row decides.
    """

    file: str
    rows: tuple[Row, ...]
    digest: str = field(init=False)
    _conditions: tuple[Expression, ...] = field(init=False, repr=False)

    def __init__(self, file: str, rows: Sequence[Row], names: frozenset[str] | None = None) -> None:
        """Compile `rows`, whose conditions look only at `names` unless that is None."""
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "rows", tuple(rows))
        object.__setattr__(self, "_conditions", self._compiled(names))
        object.__setattr__(self, "digest", self._digest())
        self._check_coverage()
        for row in self.rows:
            verdict_of(file, dict(row.then))

    def decide(self, inputs: Mapping[str, JSON]) -> Verdict:
        """Return the output of the one row that holds; raise `PolicyFailed` when a condition has no value."""
        frozen_inputs(self.file, inputs)
        held: list[int] = []
        for index, condition in enumerate(self._conditions):
            try:
                if condition.test(inputs):
                    held.append(index)
            except ExpressionFailed as error:
                raise self._failed(index, f"row {index + 1} cannot be decided: {error}") from None
        if not held and self._has_else:
            held.append(len(self.rows) - 1)
        if len(held) != 1:
            rows = ", ".join(str(index + 1) for index in held) or "none"
            raise self._failed(held[-1] if held else 0, f"exactly one row must hold, these do: {rows}")
        return self._verdict(held[0])

    @property
    def _has_else(self) -> bool:
        return bool(self.rows) and self.rows[-1].when is None

    def _verdict(self, index: int) -> Verdict:
        row = self.rows[index]
        reason = f"row {index + 1}: {'else' if row.when is None else row.when.strip()}"
        # Read back from text, so that nobody can change the table through a verdict.
        output = json.loads(json.dumps(dict(row.then)))
        given = output.get("reason")
        return Verdict(output=output, reason=given if isinstance(given, str) else reason)

    def _compiled(self, names: frozenset[str] | None) -> tuple[Expression, ...]:
        if not self.rows:
            raise PolicyFailed(
                file=self.file, line=1, column=1, problem="the table has no rows: write at least one"
            )
        conditions: list[Expression] = []
        for index, row in enumerate(self.rows):
            if row.when is None:
                if index != len(self.rows) - 1:
                    raise self._failed(
                        index, "else is the last row: what stands below could never be decided"
                    )
                continue
            try:
                conditions.append(compile_expression(row.when, names))
            except ExpressionError as error:
                raise self._failed(index, f"row {index + 1}: {error}") from None
        return tuple(conditions)

    def _check_coverage(self) -> None:
        texts = [condition.text for condition in self._conditions]
        try:
            overlap = find_overlap(texts)
            gap = None if self._has_else else find_gap(texts)
        except CoverageError as error:
            raise self._failed(0, str(error)) from None
        if overlap is not None:
            first, second, example = overlap
            problem = (
                f"rows {first + 1} and {second + 1} both hold for {example}: make one of them exclude it"
            )
            raise self._failed(second, problem)
        if gap is not None:
            problem = f"no row decides {gap}: add a row for it, or end with else"
            raise self._failed(len(self.rows) - 1, problem)

    def _digest(self) -> str:
        rows = [[row.when, dict(row.then)] for row in self.rows]
        text = json.dumps([ENGINE, rows], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _failed(self, index: int, problem: str) -> PolicyFailed:
        row = self.rows[index]
        return PolicyFailed(file=self.file, line=row.line, column=row.column, problem=problem)
