"""The way of a case: decisions and steps in the order they run, and what each waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

from openclaw_dagster.spec.model import Decision, Stage, Step

#: Decisions before steps, then where it stands; the name comes along.
Rank = tuple[int, int, str]


@dataclass(frozen=True)
class Circle:
    """Stages that wait for each other."""

    names: tuple[str, ...]


def order_stages(
    triggers: Iterable[str],
    decisions: tuple[Decision, ...],
    steps: tuple[Step, ...],
    starts: Mapping[str, tuple[str, ...]],
    uses: Callable[[Decision | Step], frozenset[str]],
) -> tuple[Stage, ...] | Circle:
    """Return every stage once, what it needs before it; the order decisions stand in means nothing.

    `starts` gives the triggers and events of each decision; `uses` the names an item's expressions look at.
    """
    trigger_names = frozenset(triggers)
    items: tuple[Decision | Step, ...] = (*sorted(decisions, key=lambda d: d.name), *steps)
    emitters: dict[str, list[str]] = {}
    for item in items:
        if item.emits:
            emitters.setdefault(item.emits, []).append(item.name)
    stage_names = frozenset(item.name for item in items)
    waiting: dict[str, Stage] = {}
    rank: dict[str, Rank] = {}
    for index, item in enumerate(items):
        on = starts[item.name] if isinstance(item, Decision) else (item.on,)
        before = {name for event in on if event not in trigger_names for name in emitters.get(event, ())}
        before |= uses(item) & stage_names
        kind: Literal["decision", "step"] = "decision" if isinstance(item, Decision) else "step"
        stage = Stage(
            kind=kind, name=item.name, after=tuple(sorted(before - {item.name})), on=tuple(sorted(on))
        )
        waiting[item.name] = stage
        rank[item.name] = (0 if kind == "decision" else 1, index, item.name)
        if item.name in before:
            return Circle((item.name,))
    return _sorted(waiting, rank)


def _sorted(waiting: dict[str, Stage], rank: Mapping[str, Rank]) -> tuple[Stage, ...] | Circle:
    """Return the stages, each after what it waits for, those that could change places by rank."""
    followers: dict[str, list[str]] = {name: [] for name in waiting}
    missing = {name: len(stage.after) for name, stage in waiting.items()}
    for name, stage in waiting.items():
        for before in stage.after:
            followers[before].append(name)
    ready = [rank[name] for name, count in missing.items() if not count]
    heapify(ready)
    done: list[Stage] = []
    while ready:
        *_, name = heappop(ready)
        done.append(waiting.pop(name))
        for following in followers[name]:
            missing[following] -= 1
            if not missing[following]:
                heappush(ready, rank[following])
    return Circle(_circle(waiting)) if waiting else tuple(done)


def _circle(waiting: Mapping[str, Stage]) -> tuple[str, ...]:
    """Return one circle among stages that all wait for another."""
    walk = [min(waiting)]
    while True:
        following = min(name for name in waiting[walk[-1]].after if name in waiting)
        if following in walk:
            return tuple(walk[walk.index(following) :])
        walk.append(following)
