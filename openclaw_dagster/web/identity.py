"""Who asks: the person, what they may do with the host, and how they are known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from starlette.requests import HTTPConnection

from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.login import Level

How = Literal["session", "token", "proxy", "local"]

#: Where the guard leaves the identity for whatever answers the request.
SCOPE = "claw.identity"

_BELOW: dict[Level, frozenset[Level]] = {
    "viewer": frozenset(),
    "operator": frozenset({"viewer"}),
    "approver": frozenset({"viewer"}),
    "auditor": frozenset({"viewer"}),
    "admin": frozenset({"operator", "viewer"}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is known."""

    person: str  # the id under `people`, or the e-mail address of somebody who is not listed there
    name: str  # for people to read
    levels: frozenset[Level]  # what they may do with the host, implied levels included
    how: How
    roles: frozenset[str] = frozenset()  # roles of the systems that `roles` gives the person
    token: str | None = None  # id of the session or API token

    @property
    def token_levels(self) -> frozenset[Level] | None:
        """What a program may that came with a token for somebody; None when they are there themselves."""
        return self.levels if self.how == "token" else None


#: Who asks on loopback when the environment has no `login:`; nobody in particular, so it cannot approve.
LOCAL = Identity("local", "this machine", frozenset({"viewer", "operator", "auditor", "admin"}), "local")


def identity_of(connection: HTTPConnection) -> Identity:
    """Return who asks; LookupError behind an address that is open to everybody."""
    found = connection.scope.get(SCOPE)
    if not isinstance(found, Identity):
        raise LookupError("this address is open: nobody was asked who they are")
    return found


def with_implied(levels: frozenset[Level]) -> frozenset[Level]:
    """Return levels with those that they include."""
    return levels.union(*(_BELOW[level] for level in levels))


def person_of(environment: Environment, *, email: str | None, sub: str | None = None) -> str | None:
    """Return the id under which `people` has somebody: by their account at the provider, or by a verified address.

    An address does not lead to a person whose `sub` says another account than the one that came with it.
    """
    people = environment.people.items()
    if sub and (found := [name for name, person in people if person.sub == sub]):
        return found[0]
    for name, person in people:
        if email and person.email and person.email.lower() == email.lower() and (not sub or not person.sub):
            return name
    return None


def describe(
    environment: Environment,
    person: str,
    how: How,
    *,
    name: str = "",
    groups: frozenset[str] = frozenset(),
    levels: frozenset[Level] | None = None,
    token: str | None = None,
) -> Identity | None:
    """Return the identity of a person as the environment has them now; None for an id that is not there any more.

    Without `levels` the environment's `access` says them.
    """
    listed = environment.people.get(person)
    if listed is None and "@" not in person:
        return None
    roles = frozenset(role for role, held in environment.roles.items() if person in held.people)
    held = environment.access.levels(person, groups) if levels is None else levels
    shown = (listed.name if listed else "") or name or person
    return Identity(person, shown, with_implied(held), how, roles, token)


_ADDRESS = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}\Z")


def is_address(text: str) -> bool:
    """Decide whether a text is an e-mail address."""
    return _ADDRESS.match(text) is not None
