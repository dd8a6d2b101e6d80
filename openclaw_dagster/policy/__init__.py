"""How a decision is computed: inputs in, output and reason out, the same every time.

`verdict` what every engine agrees on · `typescript`, with `strip` and `realm`, policies in `.ts` ·
`python`, with `guard` and `host`, policies in `.py` · `table` decision tables.
"""

from __future__ import annotations

from collections.abc import Sequence

from openclaw_dagster.policy.python import PythonPolicy
from openclaw_dagster.policy.table import Row, TablePolicy
from openclaw_dagster.policy.typescript import TypeScriptPolicy
from openclaw_dagster.policy.verdict import Policy, PolicyFailed, Verdict

__all__ = [
    "Policy",
    "PolicyFailed",
    "PythonPolicy",
    "Row",
    "TablePolicy",
    "TypeScriptPolicy",
    "Verdict",
    "open_policy",
]


def open_policy(path: str, source: str, rows: Sequence[Row] | None = None) -> Policy:
    """Return the policy that stands in the file at `path`, a table when its `rows` are given.

    Raises `PolicyFailed` when it is wrong, or of no kind that can be run.
    """
    if rows is not None:
        return TablePolicy(path, rows)
    if path.endswith(".ts"):
        return TypeScriptPolicy(path, source)
    if path.endswith(".py"):
        return PythonPolicy(path, source)
    problem = "this is no kind of policy: its name must end in .ts, .py or .table.yaml"
    raise PolicyFailed(file=path, line=1, column=1, problem=problem)
