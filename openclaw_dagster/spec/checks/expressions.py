"""Expressions and actions as the checks of several layers need them: a result, or a finding at its place."""

from __future__ import annotations

from typing import Any

from openclaw_dagster.spec.contracts import Operation
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.expressions import (
    ExpressionError,
    compile_expression,
    compile_template,
)


def check_expression(findings: Findings, text: str, names: frozenset[str] | None, mark: Mark) -> None:
    """Add a finding at its place when a condition is not right."""
    try:
        compile_expression(text, names)
    except ExpressionError as error:
        findings.add(mark, "CLAW021", str(error))


def check_template(
    draft: Draft, value: dict[str, Any], names: frozenset[str], owner: tuple[str, str]
) -> None:
    """Check a `with`, argument by argument, so that each problem has its own place."""
    for key, part in value.items():
        try:
            compile_template(part, names)
        except ExpressionError as error:
            draft.findings.add(draft.value(*owner, "with", key), "CLAW021", str(error))


def find_operation(draft: Draft, name: str, mark: Mark) -> Operation | None:
    """Return the contract of an action; a finding when no adapter has it."""
    operation = draft.catalog.get(name)
    if operation is not None:
        return operation
    adapter = name.split(".")[0]
    same = [known for known in draft.catalog if known.startswith(f"{adapter}.")]
    hint = "" if same else f"or describe the adapter in adapters/{adapter}.yaml"
    problem = f"no adapter has the action {name!r}"
    draft.findings.add(mark, "CLAW023", problem, allowed=same or draft.catalog, said=name, hint=hint)
    return None
