"""Who is who: people and roles as the environment names them."""

from __future__ import annotations

from collections.abc import Iterable

from openclaw_dagster.spec.environment import Environment


def person_of(environment: Environment, said: str) -> str:
    """Return the id of the person that an id, an email or a Slack id names; the text itself when nobody has it."""
    wanted = said.strip()
    for name, person in environment.people.items():
        known = (name, person.email or "", person.slack or "")
        if wanted and wanted.casefold() in (one.casefold() for one in known if one):
            return name
    return wanted


def member_of(environment: Environment, team: str, member: str, ours: str) -> str:
    """Return the id of the person with a Slack id in our workspace; a text that is nobody's id for everybody else."""
    for name, person in environment.people.items() if team == ours else ():
        if person.slack == member:
            return name
    return f"slack:{team}/{member}"


def roles_of(environment: Environment, person: str) -> frozenset[str]:
    """Return the roles a person has."""
    return frozenset(name for name, role in environment.roles.items() if person in role.people)


def members(environment: Environment, roles: Iterable[str]) -> frozenset[str]:
    """Return the people who have any of the roles."""
    return frozenset(
        person for name in roles if name in environment.roles for person in environment.roles[name].people
    )


def places(environment: Environment, roles: Iterable[str]) -> tuple[str, ...]:
    """Return where the roles are told something, each place once."""
    known = (environment.roles[name].notify for name in roles if name in environment.roles)
    return tuple(dict.fromkeys(place for place in known if place))
