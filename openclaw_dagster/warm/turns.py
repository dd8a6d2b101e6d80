"""Whose turn it is: claims due cases within the limits, critical ones first, for express and the sensor alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from openclaw_dagster.runtime.backlog import batch_size
from openclaw_dagster.runtime.tags import OF_CASES, run_tags
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.store.agenda import Waiting, waiting
from openclaw_dagster.store.ledger import Claim
from openclaw_dagster.store.views import MANY
from openclaw_dagster.warm.limits import Room


@dataclass(slots=True)
class Line:
    """Due cases of one system that may share a run, in the order of their turns."""

    system: System
    tags: Mapping[str, str]  # of the system's job
    cases: list[Waiting]

    @property
    def turn(self) -> tuple[int, int]:
        """When its first case is served: critical ones first, then who has been due longest."""
        return self.cases[0].rank, self.cases[0].due_at

    def run_tags(self, size: int) -> dict[str, str]:
        """Return the tags of a run that would carry its first `size` cases."""
        return {**self.tags, **run_tags(Load("", self.system.name, self.cases[:size]))}


@dataclass(frozen=True, slots=True)
class Load:
    """Cases that a run would carry, before anybody claims them."""

    id: str
    system: str
    cases: list[Waiting]


def turns(
    shop: Workspace,
    room: Room,
    systems: Collection[str],
    *,
    most: int,
    by: str,
    job_tags: Callable[[str], Mapping[str, str] | None],
) -> Iterator[Claim]:
    """Claim what is due of some systems, for at most `most` runs, each of which may begin within the limits.

    `job_tags` gives the tags every run of a system has, or None when no run of it can begin at all.
    """
    lines = _lines(shop, room, systems, most, job_tags)
    left = most
    while left > 0 and lines:
        line = min(lines, key=lambda one: one.turn)
        if not (size := _size(room, line, lines, left)):
            lines.remove(line)
            continue
        claim = shop.ledger.claim(
            line.system.name,
            limit=size,
            lease=shop.environment.lease,
            by=by,
            only=[case.id for case in line.cases[:size]],
        )
        del line.cases[:size]
        if not line.cases:
            lines.remove(line)
        if claim is not None:
            room.take(line.system, {**line.tags, **run_tags(claim)})
            left -= 1
            yield claim


def _lines(
    shop: Workspace,
    room: Room,
    systems: Collection[str],
    most: int,
    job_tags: Callable[[str], Mapping[str, str] | None],
) -> list[Line]:
    """Line up what is due: critical cases apart, and by what else the limits count."""
    now, apart = shop.clock.now(), room.minds(OF_CASES)
    found: list[Line] = []
    for name in systems:
        if (tags := job_tags(name)) is None:
            continue
        system = shop.systems[name]
        limit = MANY if apart else min(MANY, most * system.batch)
        lines: dict[object, Line] = {}
        for case in waiting(shop.ledger.database, name, now, limit):
            key = (case.rank, case.trigger, case.digest) if apart else case.rank
            lines.setdefault(key, Line(system, tags, [])).cases.append(case)
        found += lines.values()
    return found


def _size(room: Room, line: Line, lines: list[Line], left: int) -> int:
    """Return how many cases the next run of a line carries: one while there is room for all; 0 when none may begin."""
    rank, batch = line.turn[0], line.system.batch
    ahead = sum(len(one.cases) for one in lines if one.turn[0] == rank)
    size = min(len(line.cases), batch_size(ahead, left, batch))
    fitting = room.fits(line.system, line.run_tags(size), left)
    larger = min(len(line.cases), batch_size(len(line.cases), fitting, batch))
    if fitting and larger > size and room.fits(line.system, line.run_tags(larger), 1):
        return larger  # the limits let fewer runs of this line begin than there are workers
    return size if fitting else 0
