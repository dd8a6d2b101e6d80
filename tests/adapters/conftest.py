from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Outcome
from openclaw_dagster.adapters.registry import Adapters
from openclaw_dagster.clock import VirtualClock
from openclaw_dagster.spec.contracts import Contract
from openclaw_dagster.spec.environment import Environment

#: 2026-01-31T09:30:00Z
NOW = 1_769_851_800_000


class World:
    """Opens adapters and calls them, the way the runtime does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = VirtualClock(NOW)
        self.secrets: dict[str, str] = {}
        self.opened: list[Adapters] = []

    def open(self, contracts: Mapping[str, Any], bindings: Mapping[str, Any], **more: Any) -> Adapters:
        parsed = {
            name: one if isinstance(one, Contract) else Contract.model_validate(one)
            for name, one in contracts.items()
        }
        environment = Environment.model_validate({"adapters": dict(bindings)})
        adapters = Adapters.open(
            parsed, environment, self.secrets.__getitem__, home=self.home, clock=self.clock, **more
        )
        self.opened.append(adapters)
        return adapters


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for adapters in world.opened:
        adapters.close()


@pytest.fixture
def send() -> Callable[..., Outcome]:
    def send(
        adapters: Adapters, action: str, /, *, key: str = "k", timeout: int = 2_000, **args: Any
    ) -> Outcome:
        return adapters.call(Call(action, adapters.operation(action), args, key, timeout, "00-ab-cd-01"))

    return send
