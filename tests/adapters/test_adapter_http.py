"""The http adapter against servers on loopback that do everything a far side can do."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from openclaw_dagster.adapters.call import Call
from openclaw_dagster.adapters.outcome import Absent, Answered, Failed, Outcome, Refused, Unknown
from openclaw_dagster.adapters.registry import Adapters

from .far_side import FarSide, answering, dripping, far_side, once, response, silent

SHOP = {
    "operations": {
        "book": {"effect": "write", "http": {"method": "POST", "path": "/bookings"}},
        "cancel": {"effect": "irreversible", "http": {"method": "DELETE", "path": "/bookings/{id}"}},
        "find": {"effect": "read", "http": {"method": "GET", "path": "/bookings/{id}"}},
        "rates": {"effect": "read", "http": {"method": "GET", "path": "/rates"}},
        "search": {"effect": "read", "http": {"method": "POST", "path": "/search"}},
    }
}


@pytest.fixture
def shop(world) -> Callable[..., Adapters]:
    def shop(side: FarSide | None, **binding: Any) -> Adapters:
        url = f"{side.url}/v1" if side else "http://127.0.0.1:1"
        return world.open(
            {"shop": SHOP}, {"shop": {"use": "http", "url": url, "allow_private": True, **binding}}
        )

    return shop


def test_a_write_is_a_json_body_with_key_and_trace(shop, send) -> None:
    with far_side(answering(response(201, b'{"id": "b1"}'))) as side:
        assert send(shop(side), "shop.book", key="order 1/é%", order={"id": "1"}) == Answered({"id": "b1"})
    (request,) = side.received
    assert (request.method, request.target) == ("POST", "/v1/bookings")
    assert json.loads(request.body) == {"order": {"id": "1"}}
    assert request.headers["idempotency-key"] == "order%201/%C3%A9%25"
    assert request.headers["traceparent"] == "00-ab-cd-01"
    assert request.headers["user-agent"].startswith("openclaw-dagster/")
    assert request.headers["host"] == f"127.0.0.1:{side.port}"
    assert request.headers["accept"] == "application/json"


def test_a_read_takes_path_and_query(shop, send) -> None:
    with far_side(answering(response(200, b"[]"))) as side:
        send(shop(side), "shop.find", id="a/b ?#", deep={"x": [1, 2]}, flag=True, none=None, n=1.5)
    (request,) = side.received
    assert request.target == "/v1/bookings/a%2Fb%20%3F%23?deep=%7B%22x%22%3A%5B1%2C2%5D%7D&flag=true&n=1.5"
    assert "idempotency-key" not in request.headers
    assert request.body == b""


@pytest.mark.parametrize("bad", ["", ".", "..", None, {}, []])
def test_a_path_argument_cannot_leave_its_place(shop, send, bad) -> None:
    with far_side(answering(response(200, b"[]"))) as side:
        outcome = send(shop(side), "shop.find", id=bad)
        assert isinstance(outcome, Refused)
        assert "id" in outcome.reason
        assert isinstance(send(shop(side), "shop.find"), Refused)
    assert side.received == []


CERTAIN = [
    (response(200, b""), Answered({}), Answered({})),
    (response(204), Answered({}), Answered({})),
    (response(201, b"<html>"), Answered({"status": 201}), Failed),
    (response(200, b'{"n": NaN}'), Answered({"status": 200}), Failed),
    (response(200, b'{"n": 1e999}'), Answered({"status": 200}), Failed),
    (response(200, b'"\\ud800"'), Answered({"status": 200}), Failed),
    (response(200, b"[" * 5000 + b"]" * 5000), Answered({"status": 200}), Failed),
    (response(200, b"[" * 100 + b"]" * 100), Answered({"status": 200}), Failed),
    (response(400), Refused, Refused),
    (response(401), Refused, Refused),
    (response(404), Refused, Absent()),
    (response(409), Refused, Refused),
    (response(408), Failed, Failed),
    (response(425), Failed, Failed),
    (response(429), Failed, Failed),
    (response(500), Unknown, Failed),
    (response(503), Failed, Failed),
    (response(507), Failed, Failed),
    (response(502), Unknown, Failed),
    (response(504), Unknown, Failed),
    (response(200, b"x" * (10 * 1024 * 1024)), Unknown, Failed),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Unknown, Failed),
    (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a"', Unknown, Failed),
    (b"\x00\xff garbage \r\n\r\n", Unknown, Failed),
    (b"", Unknown, Failed),
]


@pytest.mark.parametrize(("data", "write", "read"), CERTAIN, ids=lambda x: repr(x)[:40])
def test_what_each_answer_means(shop, send, data: bytes, write: object, read: object) -> None:
    with far_side(once(data)) as side:
        adapters = shop(side)
        for action, expected in (("shop.book", write), ("shop.find", read)):
            outcome = send(adapters, action, id="1")
            matches = isinstance(outcome, expected) if isinstance(expected, type) else outcome == expected
            assert matches, (action, outcome)
    assert [request.method for request in side.received] == ["POST", "GET"]


@pytest.mark.parametrize(
    "behave",
    [
        silent,
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-A: 1\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "endless headers", "endless body", "endless continue"],
)
def test_a_call_ends_at_its_timeout(shop, send, behave) -> None:
    with far_side(behave) as side:
        adapters = shop(side)
        for action, kind in (("shop.book", Unknown), ("shop.find", Failed)):
            began = time.monotonic()
            assert isinstance(send(adapters, action, timeout=300, id="1"), kind)
            assert 0.2 < time.monotonic() - began < 0.9
    assert len(side.received) == 2


def _deaf(side: FarSide, connection: socket.socket) -> None:
    side.closing.wait(10)


def _sipping(side: FarSide, connection: socket.socket) -> None:
    while not side.closing.wait(0.02):
        connection.recv(200_000)


@pytest.mark.parametrize("behave", [_deaf, _sipping])
def test_a_request_nobody_reads_ends_at_its_timeout(shop, send, behave) -> None:
    with far_side(behave) as side:
        began = time.monotonic()
        outcome = send(shop(side), "shop.book", timeout=400, blob="x" * 50_000_000)
        assert isinstance(outcome, Unknown)
        assert time.monotonic() - began < 5


def test_nothing_was_sent_when_nobody_listens(shop, send) -> None:
    for action in ("shop.book", "shop.find"):
        assert isinstance(send(shop(None), action, id="1"), Failed)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_connection_that_breaks_after_the_request(shop, send) -> None:
    def broken(side: FarSide, connection: socket.socket) -> None:
        side.read(connection)
        _reset(connection)

    with far_side(broken) as side:
        assert isinstance(send(shop(side), "shop.book"), Unknown)
        assert isinstance(send(shop(side), "shop.find", id="1"), Failed)
    assert len(side.received) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(shop, send, status) -> None:
    with far_side(answering(response(200, b"{}"))) as target:
        moved = response(status, b"", f"Location: http://metadata.internal:{target.port}/?token=x")
        with far_side(answering(moved)) as side:
            for action in ("shop.book", "shop.find"):
                outcome = send(shop(side), action, id="1")
                assert isinstance(outcome, Refused)
                assert "metadata.internal" in outcome.reason
                assert "token" not in outcome.reason
    assert target.received == []


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7_000),
        ("0", 0),
        ("999999", 3_600_000),
        ("9" * 5000, 3_600_000),
        ("Sat, 31 Jan 2026 09:30:30 GMT", 30_000),
        ("Sat, 31 Jan 2026 09:29:00 GMT", 0),
        (formatdate(4e9, usegmt=True), 3_600_000),
        ("soon", None),
        ("-5", None),
    ],
    ids=lambda x: str(x)[:32],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(shop, send, header, wait, status) -> None:
    with far_side(answering(response(status, b"", f"Retry-After: {header}"))) as side:
        outcome = send(shop(side), "shop.book")
    assert isinstance(outcome, Failed)
    assert outcome.retry_after == wait


def test_connections_are_kept(shop, send) -> None:
    with far_side(answering(response(200, b"{}"))) as side:
        adapters = shop(side)
        for _ in range(3):
            assert send(adapters, "shop.book") == Answered({})
    assert (side.connections, len(side.received)) == (1, 3)


def test_a_connection_closed_between_calls_is_not_used_again(shop, send) -> None:
    with far_side(once(response(200, b"{}"))) as side:
        adapters = shop(side)
        for number in range(6):
            action = "shop.book" if number % 2 else "shop.find"
            assert send(adapters, action, id="1") == Answered({}), number
            time.sleep(0.03)
    assert (side.connections, len(side.received)) == (6, 6)


def test_a_connection_that_dies_under_the_request(shop, send) -> None:
    """The far side closes a kept connection when the next request is already on its way."""

    def behave(side: FarSide, connection: socket.socket) -> None:
        side.read(connection)
        connection.sendall(response(200, b"{}"))
        if side.connections == 1:
            side.read(connection)
            _reset(connection)

    for action, expected, seen in (("shop.find", Answered({}), 3), ("shop.book", Unknown, 2)):
        with far_side(behave) as side:
            adapters = shop(side)
            assert send(adapters, "shop.find", id="1") == Answered({})
            outcome = send(adapters, action, id="1")
            assert outcome == expected or (isinstance(expected, type) and isinstance(outcome, expected))
            assert len(side.received) == seen


def test_half_an_answer_on_a_kept_connection_is_not_asked_for_again(shop, send) -> None:
    def behave(side: FarSide, connection: socket.socket) -> None:
        side.read(connection)
        connection.sendall(response(200, b"{}"))
        side.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")

    with far_side(behave) as side:
        adapters = shop(side)
        assert send(adapters, "shop.find", id="1") == Answered({})
        assert isinstance(send(adapters, "shop.find", id="1"), Failed)
    assert len(side.received) == 2


def test_many_threads_share_the_adapter(shop, send) -> None:
    def echo(side: FarSide, connection: socket.socket) -> None:
        while (request := side.read(connection)) is not None:
            connection.sendall(response(200, request.body))

    outcomes: dict[int, Outcome] = {}
    with far_side(echo) as side:
        adapters = shop(side)

        def one(number: int) -> None:
            outcomes[number] = send(adapters, "shop.book", key=str(number), n=number)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == {n: Answered({"n": n}) for n in range(30)}
    assert len(side.received) == 30


SECRET = 'planted-"s3cret/+value'


def test_a_secret_appears_nowhere(shop, send, world, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    world.secrets["TOKEN"] = SECRET + "\n"
    world.secrets["OTHER"] = "second-planted-secret"

    def echo(side: FarSide, connection: socket.socket) -> None:
        while (request := side.read(connection)) is not None:
            status = int(request.headers["idempotency-key"])
            said = {"detail": f"no: {dict(request.headers)}", **request.headers}
            connection.sendall(
                response(status, json.dumps(said).encode(), f"X-Echo: {SECRET}", f"Location: {SECRET}")
            )

    with far_side(echo) as side:
        auth = {"bearer": "TOKEN", "header": {"X-Api-Key": "OTHER"}}
        adapters = shop(side, auth=auth)
        outcomes = [
            send(adapters, "shop.book", key=key) for key in ("200", "302", "400", "429", "500", "502")
        ]
    assert side.received[0].headers["authorization"] == f"Bearer {SECRET}"
    assert side.received[0].headers["x-api-key"] == "second-planted-secret"
    assert "Bearer [secret]" in str(outcomes[0])
    seen = str(outcomes) + caplog.text + str(adapters.problems())
    for planted in ("s3cret", "second-planted"):
        assert planted not in seen


@pytest.mark.parametrize("value", ["", "  ", "with\r\nX-Evil: 1 line", "ünicode-value", "nul\x00byte-value"])
def test_a_secret_that_cannot_be_sent_is_not_sent_nor_shown(shop, send, world, caplog, value) -> None:
    world.secrets["TOKEN"] = value
    with far_side(answering(response(200, b"{}"))) as side:
        adapters = shop(side, auth={"bearer": "TOKEN"})
        outcome = send(adapters, "shop.book")
        assert isinstance(outcome, Failed)
        assert "TOKEN" in outcome.reason
        problems = str(adapters.problems())
        assert "TOKEN" in problems
    assert side.received == []
    if value.strip():
        assert value not in outcome.reason + problems + caplog.text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://user:hunter22@example.org", "under `auth`"),
        ("https://example.org/?a=b", "query"),
        ("https://example.org/#x", "query"),
    ],
)
def test_a_url_that_cannot_be_a_base(shop, send, url, said) -> None:
    adapters = shop(None, url=url)
    assert said in str(adapters.problems())
    outcome = send(adapters, "shop.book")
    assert isinstance(outcome, Refused)
    assert "hunter22" not in outcome.reason + str(adapters.problems())


@pytest.mark.parametrize("name", ["Host", "content-length", "X Y", "X:\r\nY", "Idempotency-Key"])
def test_a_header_that_cannot_be_set(shop, send, world, name) -> None:
    world.secrets["TOKEN"] = "planted-secret"
    with far_side(answering(response(200, b"{}"))) as side:
        adapters = shop(side, auth={"header": {name: "TOKEN"}})
        assert "cannot set" in str(adapters.problems())
        assert isinstance(send(adapters, "shop.book"), Refused)
    assert side.received == []


def test_arguments_that_are_not_json(shop, send) -> None:
    with far_side(answering(response(200, b"{}"))) as side:
        for bad in (float("nan"), float("inf"), "\ud800", object(), {1: 2}):
            for action in ("shop.book", "shop.find"):
                assert isinstance(send(shop(side), action, id="1", x=bad), Refused)
    assert side.received == []


def test_a_verify_asks_only_for_what_its_contract_lists(world, send) -> None:
    from openclaw_dagster.adapters.shipped import shipped_contracts

    with far_side(answering(response(404))) as side:
        binding = {"use": "http", "url": side.url, "allow_private": True}
        adapters = world.open(shipped_contracts(), {"carrier": binding})
        order = {"id": "1", "customer": "private"}
        assert send(adapters, "carrier.find_booking", order=order, idempotency_key="k/1") == Absent()
    assert side.received[0].target == "/bookings/k%2F1"


def test_proxies_of_the_environment_are_not_used(shop, send, monkeypatch) -> None:
    with (
        far_side(answering(response(200, b"{}"))) as side,
        far_side(answering(response(200, b"[1]"))) as proxy,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert send(shop(side), "shop.book") == Answered({})
    assert proxy.connections == 0


def test_a_broken_server_that_honours_the_key_is_simply_asked_again(world) -> None:
    with far_side(answering(response(500))) as side:
        operations = {
            "book": {"effect": "write", "idempotent": True, "http": {"method": "POST", "path": "/b"}},
            "pay": {"effect": "write", "http": {"method": "POST", "path": "/p"}},
        }
        binding = {"use": "http", "url": side.url, "allow_private": True}
        adapters = world.open({"shop": {"operations": operations}}, {"shop": binding})
        outcomes = [
            adapters.call(Call(action, adapters.operation(action), {}, "k", 2_000))
            for action in ("shop.book", "shop.pay")
        ]
    assert [type(one) for one in outcomes] == [Failed, Unknown]
