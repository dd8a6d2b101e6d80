"""Events that nobody emits, stages that nothing reaches, stages that wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.expressions import ExpressionError, compile_expression, compile_template
from openclaw_dagster.spec.model import Decision, Stage, Step
from openclaw_dagster.spec.order import Circle, order_stages


def check_events(draft: Draft) -> None:
    """Every event that is listened to is a trigger or is emitted by something in the system."""
    if any(not draft.names(layer) for layer in ("triggers", "decisions", "execution")):
        return  # the layer that is missing would have emitted it
    known = draft.events()
    for layer, items in (("decisions", draft.decisions), ("execution", draft.steps)):
        for item in items:
            says = draft.says(layer, item.name).get("on")
            listed = says is not None and isinstance(says.value, list)
            for index, event in enumerate(item.on if isinstance(item, Decision) else (item.on,)):
                if event not in known:
                    mark = draft.value(layer, item.name, "on", *((index,) if listed else ()))
                    draft.findings.add(mark, "CLAW022", f"nothing emits {event!r}", allowed=known, said=event)


def order(draft: Draft) -> tuple[Stage, ...]:
    """Return the stages in the order they run; empty, with a finding, when they go in a circle."""
    items: tuple[Decision | Step, ...] = (*draft.decisions, *draft.steps)
    names = [item.name for item in items]
    if len(set(names)) < len(names):
        return ()  # reported already, and nobody could tell who waits for whom
    starts = {decision.name: draft.starts(decision) for decision in draft.decisions}
    skips = {policy.name: policy.when for policy in draft.skip_policies}
    looks = partial(uses, skips=skips)
    found = order_stages([t.name for t in draft.triggers], draft.decisions, draft.steps, starts, looks)
    if not isinstance(found, Circle):
        return found
    first = found.names[0]
    layer = "decisions" if any(d.name == first for d in draft.decisions) else "execution"
    way = " → ".join((*found.names, first))
    problem = f"these wait for each other: {way}" if len(found.names) > 1 else f"{first} waits for itself"
    hint = "a stage waits for what it listens to, for what it needs, and for every stage it looks at"
    draft.findings.add(draft.mark(layer, first), "CLAW024", problem, hint=hint)
    return ()


def uses(item: Decision | Step, skips: Mapping[str, str | None]) -> frozenset[str]:
    """Return the names a decision or step looks at; `skips` gives the condition of each skip policy."""
    if isinstance(item, Decision):
        return frozenset(item.inputs)
    names = set(item.needs)
    try:
        for condition in (item.when, item.foreach, skips.get(item.skip)):
            if condition is not None:
                names |= compile_expression(condition).names
        if item.arguments is not None:
            own = {item.item} if item.foreach is not None else set()
            names |= compile_template(item.arguments).names - own
    except ExpressionError:
        pass  # already reported by the check of expressions
    return frozenset(names)


def check_reach(draft: Draft, stages: tuple[Stage, ...]) -> None:
    """Every trigger starts something, and every stage is reached by some trigger."""
    alive = _alive(draft, stages)
    for stage in stages:
        if stage.name not in alive:
            layer = "decisions" if stage.kind == "decision" else "execution"
            problem = f"no trigger ever leads to {stage.name}"
            draft.findings.add(draft.mark(layer, stage.name), "CLAW025", problem)
    heard = {event for stage in stages for event in stage.on}
    for trigger in draft.triggers:
        if trigger.name not in heard:
            problem = f"{trigger.name} starts nothing: no decision or step listens to it"
            draft.findings.add(draft.mark("triggers", trigger.name), "CLAW025", problem)


def _alive(draft: Draft, stages: tuple[Stage, ...]) -> set[str]:
    """Return the stages that some trigger leads to; stages are in the order they run, so once is enough."""
    items: tuple[Decision | Step, ...] = (*draft.decisions, *draft.steps)
    emits = {item.name: item.emits for item in items}
    reached: set[str | None] = {trigger.name for trigger in draft.triggers}
    alive: set[str] = set()
    for stage in stages:
        if reached.intersection(stage.on):
            alive.add(stage.name)
            reached.add(emits[stage.name])
    return alive
