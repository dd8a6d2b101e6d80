"""The other side: a carrier in a process of its own, on a server that is not ours, which keeps its own books.

It believes nobody: a second POST under one Idempotency-Key is a second booking, so that calling twice shows.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from .ports import free_port

#: What it does with an order it was not told about.
FINE = {"mode": "ok", "seconds": 0, "times": -1}


class Books:
    """Everything the carrier was asked and everything it accepted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.posts: list[dict[str, Any]] = []
        self.accepted: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.plans: dict[str, dict[str, Any]] = {}

    def plan(self, order: str) -> dict[str, Any]:
        """Return how to treat the next call for an order, one time fewer from now on."""
        plan = self.plans.get(order, FINE)
        if plan["times"] == 0:
            return FINE
        plan["times"] -= 1
        return dict(plan)

    def accept(self, key: str, order: str) -> dict[str, Any]:
        """Write a booking down; there is no looking whether the key is known."""
        with self.lock:
            booking = {
                "id": f"BK-{len(self.accepted) + 1}",
                "status": "booked",
                "key": key,
                "order": order,
                "at": time.time(),
            }
            self.accepted.append(booking)
        return booking

    def book(self, request: Request) -> Response:
        """Answer a POST as planned for its order."""
        body = json.loads(request.get_data())
        key, order = request.headers.get("Idempotency-Key", ""), str(body["order"]["id"])
        with self.lock:
            plan = self.plan(order)
            self.posts.append(
                {
                    "at": time.time(),
                    "key": key,
                    "order": order,
                    "body": body,
                    "headers": dict(request.headers),
                    "mode": plan["mode"],
                }
            )
        match plan["mode"]:
            case "error":
                return Response("out of order", 500)
            case "busy":
                return Response("later", 503, {"Retry-After": str(plan["seconds"])})
            case "hang":
                time.sleep(plan["seconds"])
                return Response("too late", 500)
            case "accept_then_hang":
                booking = self.accept(key, order)
                time.sleep(plan["seconds"])
            case "slow":
                time.sleep(plan["seconds"])
                booking = self.accept(key, order)
            case _:
                booking = self.accept(key, order)
        return _json(booking, 201)

    def answer(self, request: Request) -> Response:
        """Answer any call."""
        if request.path == "/books":
            with self.lock:
                return _json({"posts": self.posts, "accepted": self.accepted, "cancelled": self.cancelled})
        if request.path == "/plan":
            plan = json.loads(request.get_data())
            with self.lock:
                self.plans[plan.pop("order")] = {**FINE, **plan}
            return _json({})
        if request.method == "POST":
            return self.book(request)
        key = request.path.removeprefix("/bookings/")
        with self.lock:
            found = next(
                (one for one in self.accepted if one["key"] == key and key not in self.cancelled), None
            )
            if found is None:
                return _json({"error": "no such booking"}, 404)
            if request.method == "DELETE":
                self.cancelled.append(key)
        return _json(found)


def _json(content: object, status: int = 200) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")


class Carrier:
    """The process of the carrier as the tests see it: what it is told and what its books say."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        package = Path(__file__).parent
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{package.name}.carrier", str(self.port)], cwd=package.parent,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 20
        while True:
            try:
                self.books()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def books(self) -> dict[str, Any]:
        """Return what it was asked and what it accepted."""
        with urllib.request.urlopen(f"{self.url}/books", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def tell(self, order: str, mode: str, *, seconds: float = 0, times: int = -1) -> None:
        """Say how to treat the calls for an order, the next `times` of them; -1 is all."""
        plan = {"order": order, "mode": mode, "seconds": seconds, "times": times}
        urllib.request.urlopen(f"{self.url}/plan", json.dumps(plan).encode(), timeout=10).close()

    def posts(self, order: str) -> list[dict[str, Any]]:
        """Return the POSTs it saw for an order."""
        return [one for one in self.books()["posts"] if one["order"] == order]

    def bookings(self, order: str) -> list[dict[str, Any]]:
        """Return the bookings it accepted for an order."""
        return [one for one in self.books()["accepted"] if one["order"] == order]

    def saw(self, order: str, seconds: float = 60) -> float:
        """Wait for the first POST for an order; return when it came, in seconds since 1970."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if posts := self.posts(order):
                return float(posts[0]["at"])
            time.sleep(0.05)
        raise AssertionError(f"the carrier was not asked about {order} within {seconds} s")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def main(port: int) -> None:
    """Serve until killed."""
    server = HTTPServer(host="127.0.0.1", port=port, threaded=True)
    server.expect_request(re.compile(".*")).respond_with_handler(Books().answer)
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
