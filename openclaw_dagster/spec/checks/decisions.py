"""The decisions: one way of deciding, a clear start, a table without gaps or a policy that compiles."""

from __future__ import annotations

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.checks.expressions import check_expression
from openclaw_dagster.spec.coverage import find_gap, find_overlap
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.draft import Draft, Path
from openclaw_dagster.spec.model import Decision, TableRow

WAYS = ("policy", "table", "score", "model")
KINDS = (".policy.ts", ".policy.py", ".table.yaml")


def check_decisions(draft: Draft) -> None:
    """Each decision has one way of deciding, a clear start, and a table or policy that holds."""
    for decision in draft.decisions:
        says = draft.says("decisions", decision.name)
        mark = draft.mark("decisions", decision.name)
        ways = [way for way in WAYS if way in says]
        if len(ways) != 1:
            said = f"it has {' and '.join(ways)}" if ways else "it has neither"
            problem = f"{decision.name} needs exactly one of policy and table; {said}"
            draft.findings.add(mark, "CLAW013", problem)
        if "on" not in says and draft.triggers and not draft.starts(decision):
            problem = f"which trigger starts {decision.name}? Say it with on:"
            draft.findings.add(mark, "CLAW026", problem, allowed=draft.names("triggers"))
        if decision.table is not None:
            _Table(draft, decision).check()
        elif decision.policy is not None and not decision.policy.endswith(".table.yaml"):
            _check_policy(draft, decision.policy, draft.value("decisions", decision.name, "policy"))


def _check_policy(draft: Draft, policy: str, mark: Mark) -> None:
    if not policy.endswith((".ts", ".py")):
        draft.findings.add(mark, "CLAW029", f"{policy[:80]!r} is no kind of policy", allowed=KINDS)
        return
    opened = draft.file(policy, mark)
    if opened is None:
        return
    source, findings = opened
    try:
        draft.check_policy(policy.removeprefix("./"), source)
    except ClawError as error:
        said = error.details
        if {"line", "column", "problem"} <= said.keys():
            place = Mark(int(str(said["line"])), int(str(said["column"])))
            findings.add(place, "CLAW029", str(said["problem"]))
        else:
            draft.findings.add(mark, "CLAW029", str(error))


class _Table:
    """The rows of one decision, in the `.claw` file or in one of their own."""

    def __init__(self, draft: Draft, decision: Decision) -> None:
        self.decision = decision
        self.rows: tuple[TableRow, ...] = decision.table or ()
        apart = draft.tables.get(decision.name)
        self.findings: Findings = apart[0] if apart else draft.findings
        self.root = apart[1] if apart else draft.root
        self.base: Path = ("rows",) if apart else (*draft.places["decisions", decision.name], "table")

    def place(self, index: int, *keys: str) -> Mark:
        return self.root.value_mark((*self.base, index, *keys))

    def check(self) -> None:
        """Check every row, and if each is right, that they leave no gap and do not overlap."""
        before = len(self.findings.found)
        for index, row in enumerate(self.rows):
            self.check_row(index, row)
        if len(self.findings.found) == before:
            self.check_coverage([row.when for row in self.rows if row.when is not None])

    def check_row(self, index: int, row: TableRow) -> None:
        if (row.when is None) == (row.otherwise is None):
            said = "neither" if row.when is None else "both"
            problem = f"row {index + 1} needs exactly one of when and else; it has {said}"
            self.findings.add(self.place(index), "CLAW013", problem)
        elif row.when is not None:
            names = frozenset(self.decision.inputs)
            check_expression(self.findings, row.when, names, self.place(index, "when"))
        elif index != len(self.rows) - 1:
            problem = "else is the last row: nothing after it could ever be decided"
            self.findings.add(self.place(index), "CLAW028", problem)

    def check_coverage(self, conditions: list[str]) -> None:
        try:
            overlap = find_overlap(conditions)
            gap = None if self.rows[-1].otherwise else find_gap(conditions)
        except ClawError as error:
            self.findings.add(self.place(0), "CLAW028", str(error))
            return
        if overlap is not None:
            first, second, example = overlap
            problem = f"rows {first + 1} and {second + 1} are both true for {example}"
            hint = "say in one of them what keeps it from the other"
            self.findings.add(self.place(second, "when"), "CLAW028", problem, hint=hint)
        if gap is not None:
            hint = "add a row for it, or end with - {else: true, then: …}"
            self.findings.add(self.place(len(self.rows) - 1), "CLAW027", f"no row decides {gap}", hint=hint)
