"""Cases that a step of another case began: who began a case, how each of them stands, and when the step may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openclaw_dagster.store.canonical import dumps, plain
from openclaw_dagster.store.case import Branch, Case, Facts, Origin, StepFact

#: Bytes of results that one case may hand to the step that began it, and all of a step's cases together.
MOST_RESULT, MOST_RESULTS = 16 * 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class News:
    """What a case has to tell the one that began it: `body` of the entry in that one's journal."""

    origin: Origin
    body: Mapping[str, Any]


def news(before: Case, after: Case) -> News | None:
    """Return what the case that began this one has to hear: that it has ended, or goes on after all."""
    origin = after.facts.origin
    if origin is None or before.state == after.state or not (before.ended or after.ended):
        return None
    body = {
        "step": origin.step, "index": origin.index, "case": after.id,
        "state": after.state if after.ended else "open", "reason": after.reason or "",
    }  # fmt: skip
    return News(
        origin, {**body, "result": _result(after, origin.room)} if after.state == "completed" else body
    )


def room(count: int) -> int:
    """Return how many bytes of results each of a step's cases may hand to it: the step's own row stays small."""
    return min(MOST_RESULT, MOST_RESULTS // max(1, count))


def _result(case: Case, most: int) -> dict[str, Any]:
    """Return what a completed case comes to: its decisions and the results of its steps, if that is no more than `most`."""
    facts = case.facts
    decisions = {name: dict(made.output) for name, made in facts.decisions.items()}
    steps = {name: fact.result for name, fact in facts.steps.items() if fact.state == "completed"}
    found = {"case": case.id, "key": case.key, "decisions": decisions, "steps": steps}
    if len(dumps(found)) > most:
        return {"case": case.id, "key": case.key, "too_large": True}
    return found


def begun(fact: StepFact, body: Mapping[str, Any]) -> StepFact:
    """Return a step after its cases were begun."""
    found = tuple(Branch(**one) for one in body["cases"])
    return replace(fact, state="under_way", branches=found, error="", attempt=0)


def heard(case: Case, body: Mapping[str, Any]) -> Facts:
    """Return the facts of a case after it heard of one that it began."""
    step = case.facts.steps[body["step"]]
    was = step.branches[body["index"]]
    now = replace(
        was, case=body["case"], state=body["state"], reason=body["reason"], result=body.get("result")
    )
    branches = (*step.branches[: body["index"]], now, *step.branches[body["index"] + 1 :])
    steps = {**case.facts.steps, body["step"]: replace(step, branches=branches)}
    return replace(case.facts, steps=steps)


def rests(case: Case, step: str, at: int) -> Case:
    """Let a case wait for those that it began; it is due as soon as none of them is under way."""
    branches = case.facts.steps[step].branches
    if all(one.settled for one in branches):
        return replace(case, state="open", due_at=at, claim=None, reason=None)
    given_up = [one for one in branches if one.state == "dead_lettered"]
    under_way = sum(not one.settled for one in branches) - len(given_up)
    if given_up:
        first = given_up[0]
        more = f" and {len(given_up) - 1} more" if len(given_up) > 1 else ""
        reason = f"{step} waits for {first.case}{more}, given up: {first.reason}"
        return replace(case, state="awaiting_human", due_at=None, claim=None, reason=plain(reason))
    reason = f"{step} waits for {under_way} of its {len(branches)} cases"
    return replace(case, state="waiting_retry", due_at=None, claim=None, reason=reason)


def waits(case: Case, step: str) -> bool:
    """Tell whether a case is at rest because of the cases that a step of it began."""
    fact = case.facts.steps.get(step)
    return (
        fact is not None
        and fact.state == "under_way"
        and case.state in ("waiting_retry", "awaiting_human")
        and case.due_at is None
    )


def kept(branches: Sequence[Branch], digests: Sequence[str]) -> dict[int, Branch]:
    """Return the cases that were completed for the very same payload: what holds stays done."""
    return {
        index: one
        for index, (one, digest) in enumerate(zip(branches, digests, strict=False))
        if one.state == "completed" and one.digest == digest
    }
