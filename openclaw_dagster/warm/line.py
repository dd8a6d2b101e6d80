"""How a process talks to the pool: one line of JSON each way over a unix socket."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from openclaw_dagster.settings import Settings


class PoolDown(Exception):
    """No pool answers at the socket."""


def socket_of(settings: Settings) -> Path:
    """Return where the pool of a home is asked."""
    return _socket("claw-pool", settings)


def code_socket_of(settings: Settings) -> Path:
    """Return where the code server of a home is asked."""
    return _socket("claw", settings)


def _socket(name: str, settings: Settings) -> Path:
    """Return a socket's path, which may have a hundred letters only, whatever the home is called."""
    mark = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}-{mark}.sock"


def ask(path: Path, question: dict[str, Any], seconds: float = 5.0) -> dict[str, Any]:
    """Ask the pool something and return its answer; PoolDown when none comes."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                part = connection.recv(65536)
                if not part:
                    raise PoolDown(f"the pool at {path} hung up")
                answer += part
    except OSError as error:
        raise PoolDown(f"no pool answers at {path}: {error}") from error
    found: dict[str, Any] = json.loads(answer)
    return found
