"""Who answers: the people and roles of one environment, against each other and the roles that systems name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openclaw_dagster.spec.diagnostics import Findings
from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.reader import Node, read

CODE = "CLAW039"
#: What tells a person apart beside the id, as far as an environment knows it.
KNOWN_BY = ("email", "slack", "sub")


def check_people(findings: Findings, root: Node, environment: Environment) -> None:
    """Roles and levels have people who are there, and no two ids are one person, who would count twice."""
    people = root.at(("people",))  # as they are written, so that one that is not right is told once
    known = people.value if people is not None and isinstance(people.value, dict) else {}
    held = {("roles", name): role.people for name, role in environment.roles.items()}
    held |= {("access", level): one.people for level, one in environment.access.held().items()}
    for place, ids in held.items() if known or not findings.found else ():
        for index, person in enumerate(ids):
            if person not in known:
                mark = root.value_mark((*place, "people", index))
                findings.add(mark, CODE, f"{person!r} is none of the people", allowed=known, said=person)
    seen = {name: name for name in environment.people}
    for name, body in environment.people.items():
        for word in KNOWN_BY:
            said = getattr(body, word, None)
            first = seen.setdefault(said.casefold(), name) if said else name
            if first != name:
                problem = f"{first} is known by this too: one person has one id, and counts once"
                findings.add(root.value_mark(("people", name, word)), CODE, problem)


def check_roles(findings: Findings, root: Node, environment: Environment, systems: Iterable[System]) -> None:
    """Every role that systems name is in the environment, and has people enough for each quorum."""
    mark = root.mark_of(("roles",))
    for system in systems:
        for role, where in named_roles(system):
            if role not in environment.roles:
                problem = f"{where} names the role {role!r}, and this environment does not have it"
                hint = f"add under roles: {role}: {{people: [ids of people]}}"
                findings.add(mark, CODE, problem, allowed=environment.roles, said=role, hint=hint)
        for step in system.execution:
            asked = step.checkpoint
            if asked is None or any(role not in environment.roles for role in asked.roles):
                continue
            people = sorted({person for role in asked.roles for person in environment.roles[role].people})
            if len(people) < asked.quorum:
                problem = (
                    f"{system.name}.{step.name} waits for {asked.quorum} different people; "
                    f"of {', '.join(asked.roles)} this environment has {', '.join(people)}"
                )
                findings.add(root.mark_of(("roles", asked.roles[0])), CODE, problem)


def check_cast(findings: Findings, system: System, environment: Environment) -> None:
    """Everybody who does something in a scenario is one of the people; findings go to the system's own file."""
    root = read(system.files[system.path].encode(), findings)
    written = root.at(("tests",)) if root is not None else None
    places = (
        {name: index for index, item in enumerate(written.value) for name in item.value} if written else {}
    )
    for scenario in system.scenarios:
        for number, deed in enumerate(scenario.do):
            if root is not None and deed.person is not None and deed.person not in environment.people:
                place = ("tests", places[scenario.name], scenario.name, "do", number, "as")
                problem = f"{deed.person!r} is none of the people of this environment"
                findings.add(
                    root.value_mark(place), CODE, problem, allowed=environment.people, said=deed.person
                )


def named_roles(system: System) -> Iterator[tuple[str, str]]:
    """Yield every role a system names, with where it does."""
    if system.owner is not None:
        yield system.owner, f"{system.name}, under owner,"
    for step in system.execution:
        asked = step.checkpoint
        named = () if asked is None else (*asked.roles, *([asked.escalate_to] if asked.escalate_to else []))
        for role in dict.fromkeys(named):
            yield role, f"the checkpoint of {system.name}.{step.name}"
    for policy in system.skip_policies:
        for role in policy.approval:
            yield role, f"the skip policy {system.name}.{policy.name}"
    for alert in system.observability.alerts:
        if alert.route.startswith("role://"):
            yield alert.route.removeprefix("role://"), f"an alert of {system.name}"
