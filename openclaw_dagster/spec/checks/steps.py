"""The steps: actions exist, effects are honest, arguments and expressions fit."""

from __future__ import annotations

from typing import Any

from openclaw_dagster.spec.checks.expressions import check_expression, check_template, find_operation
from openclaw_dagster.spec.checks.runbooks import check_runbook
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.model import Step

APPROVAL = "write checkpoint: {approval: [the roles that may]}"
EFFECTS = ("read", "write", "irreversible")


def check_steps(draft: Draft) -> None:
    """Actions exist, effects are honest, arguments and expressions fit."""
    names = draft.known_names() | set(draft.names("sources"))
    step_names = draft.names("execution")
    for step in draft.steps:
        owner = ("execution", step.name)
        for index, need in enumerate(step.needs):
            if need not in step_names:
                mark = draft.value(*owner, "needs", index)
                draft.findings.add(mark, "CLAW025", f"{need!r} is no step", allowed=step_names, said=need)
        if step.when is not None:
            check_expression(draft.findings, step.when, names, draft.value(*owner, "when"))
        if step.foreach is not None:
            check_expression(draft.findings, step.foreach, names, draft.value(*owner, "foreach"))
        if step.arguments is not None:
            own = {step.item} if step.foreach is not None else set()
            check_template(draft.findings, draft.says(*owner)["with"], names | own)
        if step.dead_letter is not None and not step.dead_letter.startswith("queue://"):
            problem = (
                f"{step.dead_letter!r} keeps nothing: dead letters go to a queue, such as queue://ops.dlq"
            )
            draft.findings.add(draft.value(*owner, "dead_letter"), "CLAW018", problem)
        check_runbook(draft, step)
        if step.runbook is None:
            _check_action(draft, step)


def _check_action(draft: Draft, step: Step) -> None:
    operation = find_operation(draft, step.action, draft.value("execution", step.name, "action"))
    if operation is not None:
        _check_effect(draft, step, operation.effect)
    if step.unknown_outcome is not None:
        _check_partner(draft, step, step.unknown_outcome.verify, ("unknown_outcome", "verify"), reads=True)
    if step.undo is not None:
        _check_partner(draft, step, step.undo, ("undo",), reads=False)
    if step.arguments is not None and operation is not None and operation.input is not None:
        _check_arguments(draft, step, operation.input)


def _check_effect(draft: Draft, step: Step, least: str) -> None:
    effect = step.effect or least
    mark = draft.value("execution", step.name, "effect" if step.effect else "action")
    if EFFECTS.index(effect) < EFFECTS.index(least):
        allowed = EFFECTS[EFFECTS.index(least) :]
        problem = f"{step.action} is {least}: a step cannot call it {effect}"
        draft.findings.add(mark, "CLAW032", problem, allowed=allowed)
    said, asked = "checkpoint" in draft.says("execution", step.name), step.checkpoint
    # a checkpoint that is not right, or asks nobody, is reported as such
    if effect == "irreversible" and (not said or (asked and asked.acknowledge and not asked.approval)):
        seen = ", and an acknowledgement is not enough" if said else ""
        problem = f"{step.name} cannot be taken back, so people have to approve it{seen}"
        draft.findings.add(mark, "CLAW032", problem, hint=APPROVAL)


def _check_partner(draft: Draft, step: Step, name: str, path: tuple[str, ...], *, reads: bool) -> None:
    mark = draft.value("execution", step.name, *path)
    partner = find_operation(draft, name, mark)
    if partner is None:
        return
    if reads != (partner.effect == "read"):
        problem = "writes; verify only asks" if reads else "only reads; undo takes something back"
        draft.findings.add(mark, "CLAW033", f"{name} {problem}")
    elif partner.effect == "irreversible":
        problem = f"{name} cannot be taken back, and an undo runs without asking anybody"
        hint = "make it a step of its own, behind a checkpoint with approval"
        draft.findings.add(mark, "CLAW032", problem, hint=hint)
    elif name.split(".")[0] != step.action.split(".")[0]:
        draft.findings.add(mark, "CLAW033", f"{name} belongs to another adapter than {step.action}")


def _check_arguments(draft: Draft, step: Step, schema: dict[str, Any]) -> None:
    given = step.arguments or {}
    mark = draft.mark("execution", step.name, "with")
    for name in schema.get("required", []):
        if name not in given:
            draft.findings.add(mark, "CLAW034", f"{step.action} needs the argument {name!r}")
    if schema.get("additionalProperties") is False:
        known = schema.get("properties", {})
        for name in given.keys() - known.keys():
            place = draft.mark("execution", step.name, "with", name)
            problem = f"{step.action} takes no argument {name!r}"
            draft.findings.add(place, "CLAW034", problem, allowed=known, said=name)
