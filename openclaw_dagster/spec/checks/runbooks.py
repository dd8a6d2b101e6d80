"""Steps that are runbooks: what only they can say, and what only the steps inside them can."""

from __future__ import annotations

from openclaw_dagster.spec.draft import BUILT_IN, Draft
from openclaw_dagster.spec.model import Step

CODE = "CLAW041"
#: What a runbook's own steps say, each for its own call.
THEIRS = ("effect", "retries", "timeout", "unknown_outcome", "undo")


def check_runbook(draft: Draft, step: Step) -> None:
    """A list goes with a runbook, its item has a name of its own, and calls are described where they are made."""
    says = draft.says("execution", step.name)
    if step.runbook is None:
        if "foreach" in says:
            problem = f"foreach begins a case for each item, and {step.action} is a single call"
            hint = (
                "put the call into a system of its own with a manual trigger, and write action: runbook.NAME"
            )
            draft.findings.add(draft.mark("execution", step.name, "foreach"), CODE, problem, hint=hint)
    else:
        for word in THEIRS:
            if word in says:
                problem = f"{word} says nothing of a runbook: its own steps say it, each for its call"
                draft.findings.add(draft.mark("execution", step.name, word), CODE, problem)
    if "as" in says and step.foreach is None:
        problem = "as names the item of a list, and there is no foreach"
        draft.findings.add(draft.mark("execution", step.name, "as"), CODE, problem)
    elif step.foreach is not None and step.item in {*draft.known_names(), *draft.names("sources"), *BUILT_IN}:
        mark = (
            draft.value("execution", step.name, "as") if "as" in says else draft.mark("execution", step.name)
        )
        problem = f"{step.item} is something else already: say with as: what the item is called"
        draft.findings.add(mark, "CLAW016", problem)
