"""Leaving a step out: only under an exception policy, by a person it names, for one case, for a limited time."""

from __future__ import annotations

from dataclasses import dataclass

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.clearance import refused, too_many, unheard
from openclaw_dagster.runtime.people import members, person_of
from openclaw_dagster.runtime.scope import SourceTrouble, Time, looked_up, scope
from openclaw_dagster.runtime.trouble import short
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.expressions import compile_expression
from openclaw_dagster.spec.gates import SkipPolicy
from openclaw_dagster.spec.model import Step, System
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.ledger import Change


@dataclass(frozen=True)
class Skip:
    """What one person wants left out of one case, and by which channel it is said."""

    case_id: str
    step: str
    person: str
    channel: str
    reason: str
    token: frozenset[str] | None = None  # what the token may that speaks for the person; None: they speak


@dataclass(frozen=True)
class Granted:
    """The step may be left out until `until` (ms since 1970), once."""

    case: Case
    until: int


@dataclass(frozen=True)
class NotGranted:
    """The step stays; the journal of the case says so too."""

    why: str


def grant(shop: Workspace, given: Skip) -> Granted | NotGranted:
    """Judge the wish and write it down; a case that waits at the step goes on without it at once."""
    for _ in range(50):
        case = shop.ledger.case(given.case_id)
        if case is None:
            return NotGranted(f"there is no case {given.case_id}")
        verdict = _judge(shop, case, given)
        if isinstance(verdict, SkipPolicy):
            until = shop.clock.now() + verdict.expires
            body = {
                "step": given.step, "policy": verdict.name, "by": given.person, "until": until,
                "reason": short(given.reason), "channel": given.channel,
            }  # fmt: skip
            entry = Entry(Kind.SKIP_GRANTED, body)
        else:
            until = 0
            entry = refused(given.step, given.person, "skip", given.channel, verdict)
        if isinstance(verdict, str) and too_many(shop, case):
            return NotGranted(verdict)
        written = shop.ledger.write([Change(case.id, (entry,), seen=case.seq)])
        if case.id in written.cases:
            return NotGranted(verdict) if isinstance(verdict, str) else Granted(written.cases[case.id], until)
    return NotGranted("the case changes faster than it can be answered: try again")


def _judge(shop: Workspace, case: Case, given: Skip) -> SkipPolicy | str:
    """Decide the one question whether a step may be left out; return the policy that allows it, or why not."""
    if case.ended:
        return f"the case is {case.state}"
    if (why := unheard(shop.environment, given.person, given.token)) is not None:
        return why
    system = shop.version(case.digest)
    step = next((one for one in system.execution if one.name == given.step), None)
    if step is None:
        return f"there is no step {given.step}"
    policy = policy_of(system, step)
    if policy is None:
        return f"{step.name} is never skipped: no exception policy covers it"
    gate, fact = case.facts.gates.get(step.name), case.facts.steps.get(step.name)
    if gate is not None and gate.stopped:
        return f"{step.name} is {gate.state}, and that is not undone by leaving it out"
    if fact is not None and (fact.state not in ("waiting", "held") or fact.attempt):
        return f"{step.name} has begun already: it is {fact.state}"
    if given.person not in members(shop.environment, policy.approval):
        return f"{policy.name} is granted by {' or '.join(policy.approval)}, which {given.person} is not"
    if case.facts.requester and person_of(shop.environment, case.facts.requester) == given.person:
        return f"{given.person} asked for what this case does, and cannot shorten its way"
    if not given.reason.strip():
        return "say why it is left out: it is kept for whoever reads it later"
    try:
        applies = _applies(shop, system, case, policy, lambda most: most)
    except SourceTrouble as trouble:
        return f"whether {policy.name} applies is not known: {trouble}"
    return policy if applies else f"{policy.name} does not apply: {policy.when} is false"


def policy_of(system: System, step: Step) -> SkipPolicy | None:
    """Return the exception policy under which a step may be left out, if there is one."""
    return next((one for one in system.skip_policies if one.name == step.skip), None)


def _applies(shop: Workspace, system: System, case: Case, policy: SkipPolicy, time: Time) -> bool:
    """Tell whether a policy's condition is true; SourceTrouble when what it looks at does not answer."""
    if policy.when is None:
        return True
    event = shop.ledger.events([case.event_id]).get(case.event_id)
    known = scope(shop, case, (event.payload if event else None) or {})
    condition = compile_expression(policy.when)
    sources = [one for one in system.data.sources if one.name in condition.names]
    try:
        return condition.test({**known, **looked_up(shop, sources, policy.name, case, known, time)})
    except ClawError:
        return False


def left_out(shop: Workspace, system: System, case: Case, step: Step, time: Time) -> Entry | None:
    """Return the entry that leaves a step out, when somebody entitled said so and it still holds."""
    granted = case.facts.skips.get(step.name)
    policy, gate = policy_of(system, step), case.facts.gates.get(step.name)
    if gate is not None and gate.stopped:
        return None  # who denied it meanwhile is heard
    if granted is None or policy is None or granted.policy != policy.name:
        return None
    if shop.clock.now() >= granted.until or not _applies(shop, system, case, policy, time):
        return None
    why = f"left out under {policy.name} by {granted.by}: {granted.reason}"
    return Entry(Kind.SKIPPED, {"step": step.name, "why": why, "policy": policy.name, "by": granted.by})
