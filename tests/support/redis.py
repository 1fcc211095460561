"""A real Redis process that can be stopped, suspended and restarted.

It needs Debian's package: `apt-get install redis-server`. Without it the tests are skipped, and
fail in CI.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_SECONDS_TO_START = 20
_LOOK_AGAIN_SECONDS = 0.02


@dataclass
class RedisServer:
    """Redis on a loopback port, with its data in memory only."""

    command: str
    folder: Path
    options: tuple[str, ...] = ()
    file: Path | None = None
    port: int = 0
    password: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, at its port."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        file = [self.file] if self.file else []
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        quiet = ("--save", "", "--appendonly", "no", "--logfile", str(self.folder / "log"))
        self.processes.append(
            subprocess.Popen([self.command, *file, *options, *quiet, *self.options])  # noqa: S603 - Debian's own command
        )
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._responds():
            assert self.processes[-1].poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(_LOOK_AGAIN_SECONDS)

    def stop(self) -> None:
        """Stop it; all data is lost."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Stop the process: it accepts connections but does not respond."""
        self.processes[-1].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.processes[-1].send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Delete all keys."""
        self._send(b"FLUSHALL")

    def _responds(self) -> bool:
        try:
            return bool(self._send(b"PING"))
        except OSError:
            return False

    def _send(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as asking:
            asking.sendall(command + b"\r\n")
            return asking.recv(1)


@contextmanager
def redis_server(folder: Path, *options: str, file: Path | None = None) -> Iterator[RedisServer]:
    """Run Redis with its files in a folder, and with a config file if given.

    REDIS_SERVER in the environment names another command, such as Valkey's.
    """
    command = shutil.which(os.environ.get("REDIS_SERVER", "")) or shutil.which("redis-server")
    if command is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs the package redis-server")
    server = RedisServer(command, folder, options, file)
    try:
        server.start()
        yield server
    finally:
        server.stop()
