"""The one way in which a person's answer to a checkpoint counts, whatever the channel it comes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from openclaw_dagster.runtime.intake import announce_answer
from openclaw_dagster.runtime.people import members, person_of
from openclaw_dagster.runtime.trouble import short
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.gates import FormField
from openclaw_dagster.spec.login import Level
from openclaw_dagster.spec.model import Step
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.entries import Entry, Kind
from openclaw_dagster.store.gates import GateFact
from openclaw_dagster.store.ledger import Change

Verdict = Literal["approve", "acknowledge", "deny"]
#: The level that lets a token answer for its person.
ANSWERS: Level = "approver"
#: How often an answer is judged anew because the case changed while it was judged.
MOST_TRIES = 50
#: How many refusals one case's journal keeps: a flood of them must not fill it.
MOST_REFUSALS = 200
#: The longest name (letters) that is kept of a step, a person, a verdict or a channel in a refusal.
LONGEST_NAME = 200


@dataclass(frozen=True)
class Answer:
    """What one person says to one request, by one channel (page, slack, cli or api)."""

    case_id: str
    step: str
    digest: str  # of what the person was shown
    person: str
    verdict: Verdict
    channel: str
    reason: str = ""
    form: Mapping[str, Any] = field(default_factory=dict)
    request: int | None = (
        None  # which request was shown; None where the channel shows only the one that stands
    )
    token: frozenset[str] | None = None  # what the token may that speaks for the person; None: they speak


@dataclass(frozen=True)
class Settled:
    """The answer was the last one: the checkpoint is cleared or denied, and the case is due."""

    case: Case
    state: str


@dataclass(frozen=True)
class Counted:
    """The answer counts, and so many more people have to answer."""

    case: Case
    missing: int


@dataclass(frozen=True)
class Refused:
    """The answer does not count; the journal of the case says so too."""

    why: str


Outcome = Settled | Counted | Refused


def answer(shop: Workspace, given: Answer) -> Outcome:
    """Judge an answer and write it down; the case goes on at once when it was the last one.

    Silence never approves, and nothing here guesses: what was not shown, or not said by somebody entitled, is refused.
    """
    for _ in range(MOST_TRIES):
        case = shop.ledger.case(given.case_id)
        if case is None:
            return Refused(f"there is no case {given.case_id}")
        gate = case.facts.gates.get(given.step)
        why = refusal(shop, case, gate, given)
        if why is None:
            assert gate is not None
            entry = Entry(Kind.CLEARANCE, {
                "step": given.step, "request": gate.request, "digest": gate.digest, "person": given.person,
                "verdict": given.verdict, "channel": given.channel, "reason": short(given.reason),
                "form": dict(given.form),
            })  # fmt: skip
            told = (announce_answer(shop, case, entry.body),)
            change = Change(case.id, (entry,), emitted=told, seen=case.seq)
        else:
            change = Change(
                case.id,
                (refused(given.step, given.person, given.verdict, given.channel, why),),
                seen=case.seq,
            )
        if why is not None and too_many(shop, case):
            return Refused(why)
        written = shop.ledger.write([change])
        if case.id in written.cases:
            return _outcome(written.cases[case.id], given, why)
    return Refused("the case changes faster than it can be answered: try again")


def refuse(shop: Workspace, given: Answer, why: str) -> None:
    """Write down that an answer was refused before it could be judged, where there is a case to write it to."""
    entry = refused(given.step, given.person, given.verdict, given.channel, why)
    for _ in range(MOST_TRIES):
        case = shop.ledger.case(given.case_id)
        if case is None or too_many(shop, case):
            return
        if case.id in shop.ledger.write([Change(case.id, (entry,), seen=case.seq)]).cases:
            return


def _outcome(case: Case, given: Answer, why: str | None) -> Outcome:
    if why is not None:
        return Refused(why)
    gate = case.facts.gates[given.step]
    return Counted(case, gate.missing) if gate.open else Settled(case, gate.state)


def refusal(shop: Workspace, case: Case, gate: GateFact | None, given: Answer) -> str | None:
    """Decide the one question whether an answer counts; return why it does not, or None when it does."""
    environment = shop.environment
    if (why := unheard(environment, given.person, given.token)) is not None:
        return why
    if gate is None:
        return f"{given.step} of this case asks nobody for anything"
    if given.person not in members(environment, gate.roles):
        return (
            f"{given.step} is answered by {' or '.join(gate.roles)}, and {given.person} is neither"
            if len(gate.roles) > 1
            else f"{given.step} is answered by {gate.roles[0]}, which {given.person} is not"
        )
    if case.facts.requester and person_of(environment, case.facts.requester) == given.person:
        return f"{given.person} asked for it, and nobody clears what they asked for themselves"
    if given.request is not None and given.request != gate.request:
        return "it has been asked anew since: look at the newest request"
    if not gate.open:
        return f"it is {gate.state} already"
    if gate.digest != given.digest:
        return "what was shown is not what would run now: look at it again"
    if gate.deadline_at is not None and gate.overdue == "deny" and shop.clock.now() >= gate.deadline_at:
        return "its deadline has passed"
    if any(one["person"] == given.person for one in gate.answers):
        return f"{given.person} has answered already, and counts once"
    wanted = ("deny", "approve" if gate.kind == "approval" else "acknowledge")
    if given.verdict not in wanted:
        return f"the answer is one of {', '.join(wanted)}, not {given.verdict}"
    if given.verdict == "deny":
        return None if given.reason.strip() else "say why it is denied: it is kept for whoever reads it later"
    return _form_problem(shop.version(case.digest).step(given.step), given.form)


def unheard(environment: Environment, person: str, token: frozenset[str] | None) -> str | None:
    """Return why a word counts for nothing, whatever it says: it is nobody's, or comes by a token not made for it."""
    if person not in environment.people:
        return f"{person or 'somebody without a name'} is not one of the people of this environment"
    if token is not None and ANSWERS not in token:
        return f"the token was not made for answering: it takes the level {ANSWERS}"
    return None


def objection(
    shop: Workspace, case: Case, step: str, person: str, token: frozenset[str] | None = None
) -> str | None:
    """Return why a person may answer the request of a step in no way whatever, or None when they may."""
    gate = case.facts.gates.get(step)
    # a denial with a reason for what stands there is refused for nothing but who says it
    trial = Answer(
        case.id, step, gate.digest if gate else "", person, "deny", "page", "a reason", token=token
    )
    return refusal(shop, case, gate, trial)


def _form_problem(step: Step, form: Mapping[str, Any]) -> str | None:
    fields = step.checkpoint.form if step.checkpoint else {}
    for name in form:
        if name not in fields:
            return f"the form has no field {name}"
    for name, wanted in fields.items():
        if (problem := _field_problem(wanted, form.get(name))) is not None:
            return f"{name}: {problem}"
    return None


def _field_problem(wanted: FormField, said: Any) -> str | None:
    if not isinstance(said, str) or not said.strip():
        return "it is not filled in"
    if wanted.choose and said not in wanted.choose:
        return f"one of {', '.join(wanted.choose)}"
    if wanted.text is not None and len(said) > wanted.text:
        return f"at most {wanted.text} characters"
    return None


def refused(step: str, person: str, verdict: str, channel: str, why: str) -> Entry:
    """Return the line that says who tried what; whoever sends it chooses the words, so that they are cut."""
    about = {"step": step, "person": person, "verdict": verdict, "channel": channel}
    return Entry(
        Kind.REFUSED, {**{name: said[:LONGEST_NAME] for name, said in about.items()}, "why": short(why)}
    )


def too_many(shop: Workspace, case: Case) -> bool:
    """Tell whether the journal keeps so many refusals that one more would tell nothing new."""
    if case.seq < MOST_REFUSALS:
        return False
    return sum(one.kind is Kind.REFUSED for one in shop.ledger.journal(case.id)) >= MOST_REFUSALS
