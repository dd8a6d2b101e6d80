"""The threads that tell people, one for each channel, so that a slow one holds up no other."""

from __future__ import annotations

import logging
import threading

from openclaw_dagster.adapters.ways import SCHEMES
from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.outbox import Sender
from openclaw_dagster.runtime.workspace import Workspace

log = logging.getLogger(__name__)

#: Seconds between looks when nobody woke us: what is to be said is written down by workers, in other processes.
QUIET = 1.0
#: And for places to which no channel leads: that is only written down.
NOWHERE = 30.0


class Teller:
    """Says what is due, woken by what this process commits; a sensor says it where no host runs."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        self._stop = threading.Event()
        self._wakes = {scheme: threading.Event() for scheme in SCHEMES}
        self._threads = [
            threading.Thread(target=self._run, args=(scheme,), name=f"claw-{scheme}", daemon=True)
            for scheme in self._wakes
        ]

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Say no more; what is on its way is waited for, a little."""
        self._stop.set()
        self.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(3)

    def wake(self) -> None:
        """Say that there may be something to say."""
        for wake in self._wakes.values():
            wake.set()

    def _run(self, scheme: str) -> None:
        sender: Sender | None = None
        while not self._stop.is_set():
            pause = QUIET if scheme in self.shop.ways.by_scheme else NOWHERE
            try:
                if sender is None:
                    sender = Sender(self.shop)
                    sender.begin()
                sender.drain(scheme, seconds=60, stop=self._stop.is_set)
            except ClawError as error:
                log.warning("nobody is told by %s for a moment: %s", scheme, error)
                pause *= 5
            except Exception:
                log.exception("telling people by %s failed; it goes on", scheme)
                pause *= 5
            self._wakes[scheme].wait(pause)
            self._wakes[scheme].clear()
