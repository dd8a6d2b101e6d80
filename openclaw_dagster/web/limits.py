"""How often one caller may knock: a token bucket each, so that a flood slows the flooder only."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from openclaw_dagster.clock import SECOND, Clock

#: Callers remembered at once, about 2 MB of memory.
MAX_CALLERS = 10_000


@dataclass(frozen=True)
class Rate:
    """The size of one caller's bucket and how fast it fills."""

    burst: int = 5_000  #: requests at once from a caller that was quiet
    refill: int = 2  #: milliseconds until one more is allowed: 2 is 500 a second

    def __post_init__(self) -> None:
        if self.burst < 1 or self.refill < 1:
            raise ValueError(f"burst and refill must be 1 or more, not {self.burst} and {self.refill}")


class RateLimit:
    """Token buckets by caller, a caller being a client address and a trigger.

    When more than `callers` are remembered, the one not heard of for longest is forgotten, which gives it a
    full bucket. A flooder is heard of all the time, so it is the last to be forgotten. Ask only for triggers
    that exist: names made up by a caller would give it a bucket each. Made for one event loop.
    """

    def __init__(self, clock: Clock, rate: Rate | None = None, callers: int = MAX_CALLERS) -> None:
        """Start with every bucket full; `callers` is how many are remembered, 1 or more."""
        if callers < 1:
            raise ValueError(f"at least one caller has to be remembered, not {callers}")
        self._clock = clock
        self._rate = rate or Rate()
        self._callers = callers
        #: When each caller's bucket is full again, in milliseconds since 1970; the last one heard of last.
        self._full_at: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: str, trigger: str) -> int | None:
        """Take one token: return None if there was one, else the whole seconds to wait for one.

        The answer to a refused request is 429 (RFC 6585, 4) with those seconds as `Retry-After` (RFC 9110,
        10.2.3). It takes nothing from the bucket.
        """
        caller = (network_of(address), trigger)
        now = self._clock.now()
        capacity = self._rate.burst * self._rate.refill
        # Never more than an empty bucket's debt, so that a clock set back does not lock anybody out.
        full_at = min(max(self._full_at.pop(caller, now), now), now + capacity)
        wait = full_at + self._rate.refill - (now + capacity)
        self._remember(caller, full_at if wait > 0 else full_at + self._rate.refill)
        return -(-wait // SECOND) if wait > 0 else None

    def _remember(self, caller: tuple[str, str], full_at: int) -> None:
        self._full_at[caller] = full_at
        if len(self._full_at) > self._callers:
            self._full_at.popitem(last=False)


def network_of(address: str) -> str:
    """Return who stands behind a client address: an IPv4 address itself, the /64 of an IPv6 one.

    One IPv6 customer has at least 2^64 addresses (RFC 6177), and would have as many buckets. What is no IP
    address, such as the path of a socket, stands for itself, cut to 64 characters.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))
