"""A real RabbitMQ for the tests: private, on loopback, with a password, its messages on disk; gone when the tests are."""

from __future__ import annotations

import atexit
import contextlib
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

from .redis import free_port

#: Where the Debian package puts it: its wrapper in /usr/sbin would change the user, and take the settings of /etc.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitMQ:
    """One server with an epmd of its own, which Erlang's nodes are found by; it may be killed and started again."""

    def __init__(self, **variables: str) -> None:
        if not PROGRAM.exists():
            raise RuntimeError(
                "no RabbitMQ is installed: apt-get install --no-install-recommends rabbitmq-server"
            )
        self.variables = variables
        self.home = Path(tempfile.mkdtemp(prefix="rabbit_", dir="/tmp"))
        self.port, self.names, self.between = free_port(), free_port(), free_port()
        self.password = secrets.token_urlsafe(12)
        self._processes: list[subprocess.Popen[bytes]] = []
        atexit.register(self.remove)
        self.start()

    @property
    def url(self) -> str:
        """The address of its virtual host."""
        return f"amqp://claw:{self.password}@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        (self.home / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            f"default_user = claw\ndefault_pass = {self.password}\nloopback_users = none\n"
            "log.file = false\nlog.console = true\nlog.console.level = warning\n"
        )
        (self.home / "plugins").write_text("[].\n")
        environment = {
            **os.environ, **self.variables, "HOME": str(self.home), "ERL_EPMD_PORT": str(self.names),
            "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_NODENAME": f"claw{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.between), "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "none"), "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home), "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"), "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }  # fmt: skip
        with (self.home / "log").open("ab") as log:
            for command in (["epmd", "-port", str(self.names), "-address", "127.0.0.1"], [str(PROGRAM)]):
                process = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True
                )
                self._processes.append(process)
        end = time.monotonic() + 60
        while not self._answers():
            if self._processes[-1].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"RabbitMQ did not start: {(self.home / 'log').read_text()[-3000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Say hello as AMQP 0-9-1 does; a server that is ready names itself."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"AMQP\x00\x00\x09\x01")
            return b"RabbitMQ" in line.recv(4096)
        return False

    def kill(self) -> None:
        """Pull the plug: what is on its disk is there when it starts again."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        self._processes.clear()

    def remove(self) -> None:
        """End the server and take away everything it wrote."""
        atexit.unregister(self.remove)
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def running(**variables: str) -> Iterator[RabbitMQ]:
    """Give a server of one's own, to be killed and started at will."""
    server = RabbitMQ(**variables)
    try:
        yield server
    finally:
        server.remove()
