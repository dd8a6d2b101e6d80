"""Where calls may go: every name is resolved once, every address is judged, and the judged one is used."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
#: Returns the addresses of a host name, as text; OSError when there are none.
Resolver: TypeAlias = Callable[[str], Sequence[str]]
#: `private` addresses are reached when the binding allows it, `never` ones not even then.
Verdict: TypeAlias = Literal["public", "private", "never"]

# Where clouds hand out credentials to whoever asks: AWS, GCP and Azure; AWS over IPv6; Alibaba; Oracle;
# Azure's wire server.
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)
# RFC 6598 (carrier-grade NAT) and RFC 7526 (the withdrawn 6to4 relay): not private to `ipaddress`.
_SHARED = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("192.88.99.0/24"))
# RFC 6052 and RFC 8215: NAT64, whose last four bytes are an IPv4 address.
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
# RFC 4291: the old "IPv4-compatible" form, and the only block handed out as global unicast.
_COMPATIBLE = ipaddress.ip_network("::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class Blocked(Exception):
    """The address may not be called; the message says which and what to do about it."""


class Unresolved(Exception):
    """The name has no address now, or none came in time."""


def system_resolver(host: str) -> list[str]:
    """Return the addresses the machine's own resolver knows, best first."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def verdict(address: Address) -> Verdict:
    """Return whether an address may be called, may be called when allowed, or may never be."""
    inner = _embedded(address)
    if inner is not None:
        # A wrapped address leads to the one inside, past every rule that only looks at the outside.
        return "never" if verdict(inner) == "never" else "private"
    if address in METADATA or address.is_multicast or address.is_unspecified or address.is_link_local:
        return "never"
    if address.is_loopback:
        return "private"
    if isinstance(address, IPv4Address):
        if address.is_reserved or address in ipaddress.ip_network("0.0.0.0/8"):
            return "never"
        return "private" if address.is_private or any(address in net for net in _SHARED) else "public"
    if address not in _GLOBAL_UNICAST:
        return "private" if address.is_private and not address.is_reserved else "never"
    return "private" if address.is_private else "public"


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address wraps: mapped, compatible, 6to4, Teredo or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in net for net in _NAT64):
        return last
    # :: and ::1 are in the same block and mean themselves.
    return last if address in _COMPATIBLE and int(address) > 1 else None


def resolve(host: str, resolver: Resolver, *, allow_private: bool, timeout: float) -> list[Address]:
    """Return the addresses of `host`, every one of them judged, within `timeout` seconds.

    One bad address refuses the host: a name that answers with a good and a bad one is an attack or a mistake.
    """
    addresses = [_address(text) for text in _within(timeout, host, resolver)]
    if not addresses:
        raise Unresolved(f"{host} has no address")
    for address in addresses:
        judged = verdict(address)
        if judged == "never":
            raise Blocked(f"{host} leads to {address}, an address that is never called")
        if judged == "private" and not allow_private:
            raise Blocked(
                f"{host} leads to {address}, a private address: "
                "if that is meant, say `allow_private: true` in its binding"
            )
    return addresses


def _address(text: str) -> Address:
    try:
        # A zone such as %eth0 says by which door, not where to: it must not make a known address look new.
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise Unresolved("the resolver gave something that is not an address") from None


def _within(timeout: float, host: str, resolver: Resolver) -> Sequence[str]:
    # The system's resolver takes no timeout, so it is asked in a thread that may be left behind.
    answers: SimpleQueue[Sequence[str] | None] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolver(host))
        except Exception:  # whatever a resolver trips over, there is no address
            answers.put(None)

    Thread(target=ask, name="resolve", daemon=True).start()
    try:
        found = answers.get(timeout=max(timeout, 0.001))
    except Empty:
        raise Unresolved(f"the address of {host} did not come in time") from None
    if found is None:
        raise Unresolved(f"{host} cannot be resolved")
    return found
