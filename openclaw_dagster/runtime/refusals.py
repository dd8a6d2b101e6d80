"""What was refused where no case is concerned: an event in the log, so that an auditor finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.trouble import short
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.case import KEEP
from openclaw_dagster.store.events import Arrival
from openclaw_dagster.store.ids import new_id

#: The system under which the log keeps what concerns the host as a whole.
HOST = "host"


def note(
    shop: Workspace, what: str, why: str, *, person: str = "", about: Mapping[str, str] | None = None
) -> None:
    """Write down that something was refused: what was tried, why not, by whom as far as it is known."""
    payload = {"what": short(what), "why": short(why), "person": person, "about": dict(about or {})}
    key = new_id("refusal", shop.clock.now())
    shop.ledger.receive(
        [Arrival(system=HOST, name="refused", source=HOST, key=key, payload=payload, retention=KEEP)]
    )


@contextmanager
def noted(shop: Workspace, what: str, *, person: str) -> Iterator[None]:
    """Write down that what is done inside was refused, and pass the error on."""
    try:
        yield
    except ClawError as error:
        note(shop, what, str(error), person=person)
        raise
