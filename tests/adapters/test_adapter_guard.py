"""Where calls may go, in every spelling, and that the judged address is the one connected to."""

from __future__ import annotations

import ipaddress
import ssl
import time
from pathlib import Path

import pytest

from openclaw_dagster.adapters.guard import Blocked, Unresolved, resolve, system_resolver, verdict
from openclaw_dagster.adapters.outcome import Answered, Failed, Refused

from .far_side import FarSide, answering, far_side, response

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2001:4860:4860::8888"]
PRIVATE = [
    "127.0.0.1", "127.255.0.9", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "fc00::1", "fd12::1", "100.64.0.1", "100.127.255.255", "198.18.0.1", "192.0.2.1", "2001:db8::1",
    "192.88.99.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "2002:7f00:1::", "2002:808:808::", "::127.0.0.1",
    "2001:0:808:808::f5ff:fffe",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fd00:ec2::254%2",
    "100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1",
    "ff02::1", "240.0.0.1", "255.255.255.255", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::", "::169.254.169.254", "::ffff:0.0.0.0",
    "2001:0:808:808::5601:5601", "4000::1", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text) -> None:
    assert verdict(ipaddress.ip_address(text)) == "public"


@pytest.mark.parametrize("text", PRIVATE)
def test_private(text) -> None:
    with pytest.raises(Blocked, match="allow_private: true"):
        resolve("name", lambda host: [text], allow_private=False, timeout=1)
    assert resolve("name", lambda host: [text], allow_private=True, timeout=1)


@pytest.mark.parametrize("text", NEVER)
@pytest.mark.parametrize("allowed", [True, False])
def test_never(text, allowed) -> None:
    with pytest.raises(Blocked):
        resolve("name", lambda host: [text], allow_private=allowed, timeout=1)


def test_one_bad_address_is_enough() -> None:
    with pytest.raises(Blocked):
        resolve("name", lambda host: ["8.8.8.8", "10.0.0.1"], allow_private=False, timeout=1)


@pytest.mark.parametrize("answer", [[], ["not an address"]])
def test_no_address(answer) -> None:
    with pytest.raises(Unresolved):
        resolve("name", lambda host: answer, allow_private=True, timeout=1)


CONTRACT = {"operations": {"book": {"effect": "write", "http": {"method": "POST", "path": "/b"}}}}

SPELLINGS = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001",
    "localhost", "localhost.", "LOCALHOST", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:0:0:1]", "１２７.0.0.1", "①②⑦.0.0.1", "0", "0.0.0.0", "ⓛocalhost", "[::ffff:7f00:1]",
    "127。0。0。1",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_loopback_in_every_spelling(world, send, host) -> None:
    """Through the machine's own resolver: nothing arrives, however the address is written."""
    with far_side(answering(response(200, b"{}"))) as side:
        adapters = world.open({"x": CONTRACT}, {"x": {"use": "http", "url": f"http://{host}:{side.port}"}})
        assert isinstance(send(adapters, "x.book"), Refused | Failed)
    assert side.connections == 0


def bound(world, side: FarSide, resolver, **binding):
    url = binding.pop("url", f"http://carrier.example:{side.port}")
    return world.open(
        {"x": CONTRACT},
        {"x": {"use": "http", "url": url, "allow_private": True, **binding}},
        resolver=resolver,
    )


def test_the_judged_address_is_the_one_that_is_called(world, send) -> None:
    asked = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with far_side(answering(response(200, b"{}"))) as side:
        adapters = bound(world, side, rebinding, url=f"http://carrier.example.:{side.port}")
        assert send(adapters, "x.book") == Answered({})
        assert side.received[0].headers["host"] == f"carrier.example:{side.port}"
    assert asked == ["carrier.example"]


def test_an_address_that_does_not_answer_is_passed_over(world, send) -> None:
    with far_side(answering(response(200, b"{}"))) as side:
        adapters = bound(world, side, lambda host: ["127.0.0.2", "::1", "127.0.0.1"])
        assert send(adapters, "x.book") == Answered({})


def test_a_resolver_that_hangs_or_fails(world, send) -> None:
    def failing(host: str) -> list[str]:
        raise OSError("no such host")

    def hanging(host: str) -> list[str]:
        time.sleep(2)
        return ["127.0.0.1"]

    with far_side(answering(response(200, b"{}"))) as side:
        for resolver in (failing, hanging):
            began = time.monotonic()
            assert isinstance(send(bound(world, side, resolver), "x.book", timeout=200), Failed)
            assert time.monotonic() - began < 1
    assert side.connections == 0


def test_the_system_resolver_gives_addresses() -> None:
    assert "127.0.0.1" in system_resolver("127.1")


CERTIFICATE = Path(__file__).parent / "carrier_example.pem"


def _tls(names: list[str | None]):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda connection, name, ctx: names.append(name)

    def behave(side: FarSide, connection) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            answering(response(200, b'{"tls": true}'))(side, secure)

    return behave


def test_tls_keeps_the_name(world, send, monkeypatch) -> None:
    names: list[str | None] = []
    with far_side(_tls(names)) as side:
        untrusted = bound(
            world, side, lambda host: ["127.0.0.1"], url=f"https://carrier.example.:{side.port}"
        )
        outcome = send(untrusted, "x.book")
        assert isinstance(outcome, Failed)
        assert "certificate" in outcome.reason
        trusted = ssl.create_default_context(cafile=CERTIFICATE)
        monkeypatch.setattr(
            "openclaw_dagster.adapters.exchange.httpx2.create_ssl_context", lambda **kwargs: trusted
        )
        for host, kind in (("carrier.example", Answered), ("other.example", Failed)):
            adapters = bound(world, side, lambda host: ["127.0.0.1"], url=f"https://{host}:{side.port}")
            for _ in range(2):
                assert isinstance(send(adapters, "x.book"), kind)
    assert names == ["carrier.example", "carrier.example", "other.example", "other.example"]
    assert len(side.received) == 2
