"""A server and an application that nobody here wrote: Kinto, a record store, with everything in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from .ports import free_port

VERSION = "26.5"

CONFIG = """\
[app:main]
use = egg:kinto
kinto.userid_hmac_secret = only-for-this-test
kinto.storage_backend = kinto.core.storage.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.permission_backend = kinto.core.permission.memory
kinto.bucket_create_principals = system.Everyone
"""
SERVE = """\
import sys
from pyramid.paster import get_app
from waitress import serve
serve(get_app(sys.argv[1], name="main"), host="127.0.0.1", port=int(sys.argv[2]))
"""


class Kinto:
    """One server with the bucket `shop` and its collection `bookings`, open to everyone."""

    def __init__(self, installed: Path, folder: Path) -> None:
        _install(installed)
        (folder / "kinto.ini").write_text(CONFIG)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.bookings_url = f"{self.url}/buckets/shop/collections/bookings"
        with (folder / "kinto.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", SERVE, str(folder / "kinto.ini"), str(self.port)],
                env={**os.environ, "PYTHONPATH": str(installed)}, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + 30
        while True:
            try:
                self._ask("GET", f"{self.url}/")
                break
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError((folder / "kinto.log").read_text()) from None
                time.sleep(0.1)
        self._ask("PUT", f"{self.url}/buckets/shop", {"permissions": {"write": ["system.Everyone"]}})
        self._ask("PUT", self.bookings_url, {})

    def bookings(self) -> list[dict[str, Any]]:
        """Return the records it holds."""
        found: list[dict[str, Any]] = self._ask("GET", f"{self.bookings_url}/records")["data"]
        return found

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    @staticmethod
    def _ask(method: str, url: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def _install(folder: Path) -> None:
    """Install it once, in a folder of its own: what it requires must not meet what this package requires."""
    done = folder / f"kinto-{VERSION}"
    if not done.exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-input",
            "--disable-pip-version-check",
            "--no-warn-conflicts",
        ]
        subprocess.run(
            [*pip, "--upgrade", "--target", str(folder), f"kinto=={VERSION}"], check=True, timeout=240
        )
        done.touch()
