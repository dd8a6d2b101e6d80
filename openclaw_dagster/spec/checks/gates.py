"""Checkpoints, skip policies, the owner: nothing critical runs unasked, and silence never approves."""

from __future__ import annotations

from typing import Any

from openclaw_dagster.spec.checks.expressions import check_expression
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.gates import NEVER, Checkpoint, SkipPolicy
from openclaw_dagster.spec.model import Step
from openclaw_dagster.spec.units import format_duration

CODE = "CLAW037"


def check_gates(draft: Draft) -> None:
    """Every gate holds, names what is there, and somebody takes over what it stops."""
    for step in draft.steps:
        if step.critical and "checkpoint" not in draft.says("execution", step.name):
            problem = f"{step.name} is critical, and nobody is asked before it runs: give it a checkpoint"
            hint = "write checkpoint: {approval: [the roles that may]}, or {acknowledge: [the roles that see it]}"
            draft.findings.add(draft.mark("execution", step.name, "critical"), CODE, problem, hint=hint)
        if step.checkpoint is not None:
            _Times(draft, step.name, step.checkpoint).check()
            _check_questions(draft, step.name, step.checkpoint)
        if step.skip != NEVER:
            _check_skip(draft, step)
    for policy in draft.skip_policies:
        _check_policy(draft, policy)
    _check_owner(draft)


def _check_questions(draft: Draft, step: str, checkpoint: Checkpoint) -> None:
    """One question to people, and each field of its form with one kind of answer."""
    if bool(checkpoint.approval) == bool(checkpoint.acknowledge):
        said = "both" if checkpoint.approval else "neither"
        problem = f"a checkpoint needs exactly one of acknowledge and approval; it has {said}"
        draft.findings.add(draft.mark("execution", step, "checkpoint"), "CLAW013", problem)
    for name, field in checkpoint.form.items():
        if bool(field.choose) == (field.text is not None):
            said = "both" if field.choose else "neither"
            problem = f"{name} is answered by exactly one of choose and text; it has {said}"
            mark = draft.mark("execution", step, "checkpoint", "form", name)
            draft.findings.add(mark, "CLAW013", problem)


class _Times:
    """What happens to one checkpoint when nobody answers."""

    def __init__(self, draft: Draft, step: str, checkpoint: Checkpoint) -> None:
        self.draft, self.step, self.checkpoint = draft, step, checkpoint
        node = draft.says("execution", step)["checkpoint"]
        self.says = node.value if isinstance(node.value, dict) else {}

    def problem(self, word: str, problem: str, hint: str = "") -> None:
        mark = self.draft.value("execution", self.step, "checkpoint", word)
        self.draft.findings.add(mark, CODE, problem, hint=hint)

    def check(self) -> None:
        """The times fit each other, and whoever is asked at the deadline is named."""
        one = self.checkpoint
        if "overdue" in self.says and one.deadline is None:
            hint = "add a deadline, such as deadline: 2h"
            self.problem(
                "overdue", "overdue says what happens at the deadline, and there is no deadline", hint
            )
        if one.overdue == "escalate" and one.escalate_to is None:
            hint = "add escalate_to: with the role that is asked then"
            self.problem("overdue", "nobody is named to whom it escalates", hint)
        if one.overdue != "escalate" and one.escalate_to is not None:
            said = one.overdue if "overdue" in self.says else f"{one.overdue}, as nothing else is said"
            hint = "write overdue: escalate, or leave escalate_to out"
            self.problem("escalate_to", f"{one.escalate_to} is never asked: overdue is {said}", hint)
        if one.remind is not None and one.deadline is not None and one.remind >= one.deadline:
            deadline = format_duration(one.deadline)
            problem = (
                f"a reminder after {format_duration(one.remind)} never comes: the deadline is {deadline}"
            )
            self.problem("remind", problem)


def _check_skip(draft: Draft, step: Step) -> None:
    mark = draft.value("execution", step.name, "skip")
    policies = draft.names("skip_policies")
    if not policies and "skip_policies" in draft.root.value:
        return  # what is wrong with the block has been said
    if step.skip not in policies:
        hint = "" if policies else "describe the policy under skip_policies:, or leave skip out"
        problem = f"{step.skip!r} is no skip policy of this system"
        draft.findings.add(mark, "CLAW038", problem, allowed=[*policies, NEVER], said=step.skip, hint=hint)
        return
    policy = next((one for one in draft.skip_policies if one.name == step.skip), None)
    if policy is not None and step.name not in policy.steps:
        problem = f"{policy.name} does not let {step.name} be skipped: it lets {', '.join(policy.steps)}"
        hint = f"add {step.name} to its steps, or write skip: {NEVER}"
        draft.findings.add(mark, "CLAW038", problem, hint=hint)


def _check_policy(draft: Draft, policy: SkipPolicy) -> None:
    steps = draft.names("execution")
    for index, name in enumerate(policy.steps):
        mark = draft.value("skip_policies", policy.name, "steps", index)
        if name not in steps:
            draft.findings.add(mark, "CLAW038", f"{name!r} is no step", allowed=steps, said=name)
        elif (said := _skip_of(draft, name)) in (
            NEVER,
            *draft.names("skip_policies"),
        ) and said != policy.name:
            problem = f"{name} does not name this policy: its skip is {said}"
            hint = f"write skip: {policy.name} at the step, or take {name} out here"
            draft.findings.add(mark, "CLAW038", problem, hint=hint)
    if policy.when is not None:
        mark = draft.value("skip_policies", policy.name, "when")
        known = draft.known_names() | set(draft.names("sources"))
        check_expression(draft.findings, policy.when, known, mark)


def _skip_of(draft: Draft, step: str) -> Any:
    """Return what a step says under `skip`, also when it is not right."""
    said = draft.says("execution", step).get("skip")
    return NEVER if said is None else said.value


def _check_owner(draft: Draft) -> None:
    if "owner" in draft.root.value:
        return
    gated = [
        ("execution", step)
        for step in draft.names("execution")
        if "checkpoint" in draft.says("execution", step)
    ]
    gated += [("skip_policies", policy) for policy in draft.names("skip_policies")]
    for layer, name in gated[:1]:
        mark = draft.mark(layer, name, *(["checkpoint"] if layer == "execution" else []))
        problem = "'owner' is missing: nobody takes over what people here do not let pass"
        hint = "add a line below version: with the role that does, such as owner: ops_lead"
        draft.findings.add(mark, CODE, problem, hint=hint)
