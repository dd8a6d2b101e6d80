"""The data layer: sources read, and only read."""

from __future__ import annotations

from openclaw_dagster.spec.checks.expressions import check_template, find_operation
from openclaw_dagster.spec.draft import Draft


def check_data(draft: Draft) -> None:
    """Sources read, and only read."""
    names = draft.known_names()
    for source in draft.data.sources if draft.data else ():
        mark = draft.value("sources", source.name, "read")
        operation = find_operation(draft, source.read, mark)
        if operation is not None and operation.effect != "read":
            draft.findings.add(mark, "CLAW032", f"{source.read} writes; a source only reads")
        if source.arguments:
            check_template(draft.findings, draft.says("sources", source.name)["with"], names)
