"""Decision tables in files of their own: `.table.yaml`, read into the same rows as a table in place."""

from __future__ import annotations

from pydantic import Field

from openclaw_dagster.spec.build import build
from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.model import Decision, TableRow
from openclaw_dagster.spec.reader import Node, read


class _Rows(Frozen):
    """What a `.table.yaml` file holds."""

    rows: tuple[TableRow, ...] = Field(strict=False, min_length=1, description="The rows.")


def read_table(draft: Draft, decision: Decision) -> Decision:
    """Return the decision with the rows of its `.table.yaml`, so that the rest knows one kind of table."""
    if decision.policy is None or decision.table is not None or not decision.policy.endswith(".table.yaml"):
        return decision
    opened = draft.file(decision.policy, draft.value("decisions", decision.name, "policy"))
    if opened is None:
        return decision
    text, findings = opened
    node = read(text.encode(), findings)
    if node is None:
        return decision
    if not isinstance(node.value, list):
        findings.add(node.mark, "CLAW014", "a table is a list of rows such as - {when: …, then: …}")
        return decision
    whole = Node({"rows": node}, node.mark, {"rows": node.mark})
    draft.tables[decision.name] = (findings, whole)
    rows = build(_Rows, whole, findings)
    return decision.model_copy(update={"table": rows.rows, "policy": None}) if rows else decision
