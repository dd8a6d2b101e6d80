"""Expressions and actions as the checks of several layers need them: findings at the very place."""

from __future__ import annotations

import re

from openclaw_dagster.spec.contracts import Operation
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.expressions import ExpressionError, compile_expression, compile_template
from openclaw_dagster.spec.reader import Node
from openclaw_dagster.spec.runbooks import runbook_of


def check_expression(findings: Findings, text: str, names: frozenset[str] | None, mark: Mark) -> None:
    """Add a finding, at its place inside the value at `mark`, when a condition is not right."""
    try:
        compile_expression(text, names)
    except ExpressionError as error:
        _report(findings, text, error, mark)


def check_template(findings: Findings, node: Node, names: frozenset[str]) -> None:
    """Check every `${…}` below a `with`, each at its own place."""
    if isinstance(node.value, dict | list):
        for inner in node.value.values() if isinstance(node.value, dict) else node.value:
            check_template(findings, inner, names)
    elif isinstance(node.value, str):
        try:
            compile_template(node.value, names)
        except ExpressionError as error:
            _report(findings, node.value, error, node.mark)


def _report(findings: Findings, text: str, error: ExpressionError, mark: Mark) -> None:
    problem = _plain(error.problem)
    inside = _inside(findings.source, text, mark)
    if inside is not None and error.line == 1:
        findings.add(Mark(mark.line, inside + error.column - 1), "CLAW021", problem)
    else:
        place = f"line {error.line}, column {error.column} of the expression"
        findings.add(mark, "CLAW021", f"{problem} ({place})")


def _inside(source: str, text: str, mark: Mark) -> int | None:
    """Return the column at which the text of a scalar begins, when it stands in the file as it is meant."""
    lines = source.split("\n", mark.line)
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    column = mark.column + (line[mark.column - 1 : mark.column] in ("'", '"'))
    return column if line[column - 1 :].startswith(text) and "\n" not in text else None


def _plain(problem: str) -> str:
    """Say the commonest complaints of the CEL library in the words of somebody who writes files."""
    problem = re.sub(r"\Ait (?=is|ends)", "the expression ", problem.removeprefix("Syntax error: "))
    found = re.match(r"found no matching overload for '_?([^']*?)_?' applied to '\((.*)\)'", problem)
    return f"`{found[1]}` does not go with {found[2].replace(', ', ' and ')}" if found else problem


def find_operation(draft: Draft, name: str, mark: Mark) -> Operation | None:
    """Return the contract of an action; a finding when no adapter has it."""
    operation = draft.catalog.get(name)
    if operation is not None:
        return operation
    if runbook_of(name) is not None:
        problem = f"{name} is begun by a step under action, and by nothing else"
        draft.findings.add(mark, "CLAW041", problem)
        return None
    adapter = name.split(".")[0]
    same = [known for known in draft.catalog if known.startswith(f"{adapter}.")]
    hint = "" if same else f"or describe the adapter in adapters/{adapter}.yaml"
    problem = f"no adapter has the action {name!r}"
    draft.findings.add(mark, "CLAW023", problem, allowed=same or draft.catalog, said=name, hint=hint)
    return None
