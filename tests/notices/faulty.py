"""A server between us and another one, that goes wrong the way it is told to."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


class Faulty:
    """Passes calls on to `target`; a fault planned for a method is met once, in the order of planning."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.calls: Counter[str] = Counter()
        self.plans: dict[str, list[str]] = {}
        #: What was asked and answered where nothing went wrong: method, fields, answer.
        self.exchanges: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._late: list[threading.Thread] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def plan(self, method: str, *faults: str) -> None:
        """Let the next calls of a method meet these: 429:SECONDS, 500, hang, drop, late, garbage, endless, big."""
        self.plans.setdefault(method, []).extend(faults)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        method = handler.path.rpartition("/")[2]
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            self.calls[method] += 1
            waiting = self.plans.get(method)
            fault = waiting.pop(0) if waiting else ""
        headers = {
            name: handler.headers[name] for name in ("Authorization", "Content-Type") if handler.headers[name]
        }
        request = urllib.request.Request(self.target + handler.path, body, headers, method="POST")
        handler.close_connection = True
        match fault.partition(":")[0]:
            case "":
                status, said = _pass_on(request)
                fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                self.exchanges.append((method, fields, json.loads(said)))
                _answer(handler, status, said)
            case "429":
                _answer(handler, 429, b'{"ok":false,"error":"ratelimited"}', {"Retry-After": fault[4:]})
            case "500":
                _answer(handler, 500, b"upstream failed")
            case "broken":  # it was done, and the answer is an error
                _pass_on(request)
                _answer(handler, 500, b"upstream failed")
            case "hang":
                time.sleep(3)
            case "drop":  # it was done, and the line breaks before the answer
                _pass_on(request)
                handler.connection.shutdown(socket.SHUT_RDWR)
            case "late":  # the line breaks, and it is done afterwards
                handler.connection.shutdown(socket.SHUT_RDWR)
                late = threading.Timer(0.2, _pass_on, (request,))
                self._late.append(late)
                late.start()
            case "never":
                handler.connection.shutdown(socket.SHUT_RDWR)
            case "garbage":
                _pass_on(request)
                _answer(handler, 200, b"<html>maintenance</html>")
            case "big":
                _pass_on(request)
                _answer(handler, 200, b'{"ok":true,"ts":"' + b"1" * 10_000_000 + b'"}')
            case "endless":
                _pass_on(request)
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
                for _ in range(40):
                    handler.wfile.write(b" ")
                    time.sleep(0.1)
            case _:
                raise AssertionError(fault)

    def said(self, method: str) -> list[dict[str, str]]:
        """Return what was sent by a method and taken."""
        assert all(answer["ok"] for _, _, answer in self.exchanges), self.exchanges
        return [fields for name, fields, _ in self.exchanges if name == method]

    def settle(self) -> None:
        """Wait until everything that comes late has come."""
        for late in self._late:
            late.join(5)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _pass_on(request: urllib.request.Request) -> tuple[int, bytes]:
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, answer.read()


def _answer(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    try:
        handler.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Connection": "close",
            **(headers or {}),
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
    except OSError:
        pass
