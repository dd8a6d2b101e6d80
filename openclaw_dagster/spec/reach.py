"""Events that nobody emits, stages that nothing reaches, stages that wait for each other."""

from __future__ import annotations

from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.expressions import ExpressionError, compile_expression, compile_template
from openclaw_dagster.spec.model import Decision, Stage, Step
from openclaw_dagster.spec.order import Circle, order_stages


def check_events(draft: Draft) -> None:
    """Every event that is listened to is a trigger or is emitted by something in the system."""
    triggers = {trigger.name for trigger in draft.triggers}
    emitted = {item.emits for item in (*draft.decisions, *draft.steps) if item.emits}
    known = triggers | emitted
    for decision in draft.decisions:
        for index, event in enumerate(decision.on):
            if event not in known:
                listed = isinstance(draft.root.mark_of(()), object) and len(decision.on) > 1
                path = ("on", index) if listed else ("on",)
                _unknown(draft, event, known, ("decisions", decision.name), path)
    for step in draft.steps:
        if step.on not in known:
            _unknown(draft, step.on, known, ("execution", step.name), ("on",))


def _unknown(draft: Draft, event: str, known: set[str], owner: tuple[str, str], path: tuple[object, ...]) -> None:
    draft.findings.add(draft.value(*owner, *path), "CLAW022", f"nothing emits {event!r}", allowed=known, said=event)


def order(draft: Draft) -> tuple[Stage, ...]:
    """Return the stages in the order they run; empty, with a finding, when they go in a circle."""
    starts = {decision.name: draft.starts(decision) for decision in draft.decisions}
    found = order_stages([t.name for t in draft.triggers], draft.decisions, draft.steps, starts, uses)
    if not isinstance(found, Circle):
        return found
    first = found.names[0]
    layer = "decisions" if any(d.name == first for d in draft.decisions) else "execution"
    way = " → ".join((*found.names, first))
    draft.findings.add(draft.mark(layer, first), "CLAW024", f"these wait for each other: {way}")
    return ()


def uses(item: Decision | Step) -> frozenset[str]:
    """Return the names a decision or step looks at."""
    if isinstance(item, Decision):
        return frozenset(item.inputs)
    names = set(item.needs)
    try:
        if item.when is not None:
            names |= compile_expression(item.when).names
        if item.arguments is not None:
            names |= compile_template(item.arguments).names
    except ExpressionError:
        pass  # already reported by the check of expressions
    return frozenset(names)


def check_reach(draft: Draft, stages: tuple[Stage, ...]) -> None:
    """Every trigger starts something, and every stage is reached by some trigger."""
    reached = {trigger.name for trigger in draft.triggers}
    emits = {item.name: item.emits for item in (*draft.decisions, *draft.steps)}
    alive: set[str] = set()
    grown = True
    while grown:
        grown = False
        for stage in stages:
            if stage.name not in alive and reached.intersection(stage.on):
                alive.add(stage.name)
                reached |= {emits[stage.name]} - {None}  # type: ignore[arg-type]
                grown = True
    for stage in stages:
        if stage.name not in alive:
            layer = "decisions" if stage.kind == "decision" else "execution"
            draft.findings.add(draft.mark(layer, stage.name), "CLAW025", f"no trigger ever leads to {stage.name}")
    heard = {event for stage in stages for event in stage.on}
    for trigger in draft.triggers:
        if trigger.name not in heard:
            draft.findings.add(
                draft.mark("triggers", trigger.name), "CLAW025", f"{trigger.name} starts nothing: no decision or step listens to it"
            )
