"""Whether this machine's clock is the database's: leases end by the clocks of hosts, so hosts have to agree."""

from __future__ import annotations

import time

import sqlalchemy as sa

from openclaw_dagster.clock import MINUTE, SECOND, Clock, SystemClock, iso, span
from openclaw_dagster.errors import ClawError
from openclaw_dagster.store import guards
from openclaw_dagster.store.database import Database

#: How far (ms) a host's clock may be from the database's. Two hosts are then twice that apart at most, and a lease
#: ends no sooner than 5 s after the call it covers.
APART = 2 * SECOND
#: For how long (ms) a process relies on having looked.
FRESH = MINUTE
#: A clock that was set by more than this (ms) since then is looked at again at once.
LEAP = SECOND


class ClocksApart(ClawError):
    """
    This machine's clock says {here} and the database's {there}, {apart} apart: another host could take over what runs here
    before its lease ends, so nothing is claimed on this machine until they agree within 2 s. Events are accepted all
    the same. Let both machines follow a time server (timedatectl set-ntp true).
    """

    code = "CLAW203"


class Clocks:
    """This process's clock beside the database's, which are compared about once a minute.

    A file is on the machine that uses it, and a clock that is moved by hand is nobody else's: neither is compared.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.compared = database.dialect == "postgresql" and isinstance(clock, SystemClock)
        self._looked = float("-inf")  # ms of a clock that nobody sets
        self._ahead = 0.0  # how far this clock was ahead of that one then

    def agree(self) -> None:
        """Return if it is known that the clocks agree; ClocksApart if they do not."""
        steady = time.monotonic() * 1000
        ahead = self.clock.now() - steady
        if not self.compared or (steady - self._looked < FRESH and abs(ahead - self._ahead) < LEAP):
            return
        here, there = self.compare()
        if abs(here - there) > APART:
            raise ClocksApart(here=iso(here), there=iso(there), apart=span(abs(here - there)))
        self._looked, self._ahead = steady, ahead

    def compare(self) -> tuple[int, int]:
        """Return what this clock says and what the database's does; the time an answer takes is no difference."""
        with self.database.read() as connection:
            before = self.clock.now()
            there = of_database(connection)
            after = self.clock.now()
        return sorted((before, there, after))[1], there


def of_database(connection: sa.Connection) -> int:
    """Return what the database's own clock says, in ms since 1970; of a file, that is this machine's clock."""
    return int(connection.execute(sa.select(sa.text(guards.NOW[connection.dialect.name]))).scalar_one())
