"""The servers that the nodes use; each is a process that can be stopped and started again."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.s3 import BUCKET

ROOT = Path(__file__).parents[2]
_SECONDS_TO_START = 30
_POLL_SECONDS = 0.02


def free_port() -> int:
    """Return a free port, of those that the system does not give to outgoing connections."""
    for port in random.sample(range(15_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no free port below 32,000")


class Server:
    """A process that listens on a fixed port."""

    def __init__(self, name: str, port: int, command: Sequence[str], **environ: str) -> None:
        self.name = name
        self.port = port
        self._command = list(command)
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it listens."""
        environ = {**os.environ, **self._environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            self._command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop the process."""
        if self._process:
            self._process.terminate()
            self._process.wait(_SECONDS_TO_START)
            self._process = None

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def find_command(command: str, package: str) -> str:
    """Return the path of a command; raise `RuntimeError` that names its package."""
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise RuntimeError(f"needs {command}: apt-get install {package}")
    return path


def redis(folder: Path) -> Server:
    """Return a Redis without persistence: it loses its data when it is stopped."""
    port = free_port()
    options = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder))
    without_persistence = (
        "--save",
        "",
        "--appendonly",
        "no",
        "--logfile",
        str(folder / "redis.log"),
    )
    return Server(
        "Redis",
        port,
        [find_command("redis-server", "redis-server"), *options, *without_persistence],
    )


def storage(folder: Path) -> Server:
    """Return an S3-compatible server with a bucket, stored in a folder."""
    home, port = ROOT / "tests" / "s3rver", free_port()
    if not (home / "node_modules").exists():
        raise RuntimeError("needs an S3 server: npm ci --prefix tests/s3rver")
    (folder / "s3").mkdir()
    command = [find_command("node", "nodejs"), str(home / "server.js"), str(folder / "s3"), BUCKET]
    return Server("the blob store", port, command, PORT=str(port))


def provider() -> Server:
    """Return the provider."""
    port = free_port()
    return Server("the provider", port, [sys.executable, "-m", "tests.cluster.provider", str(port)])


def nginx(folder: Path, ports: Sequence[int]) -> Server:
    """Return an nginx that balances load over the nodes."""
    port = free_port()
    file = folder / "nginx.conf"
    nodes = "\n".join(f"        server 127.0.0.1:{it} max_fails=1 fail_timeout=2s;" for it in ports)
    file.write_text(_NGINX.format(folder=folder, port=port, nodes=nodes))
    path = find_command("nginx", "nginx-light")
    return Server(
        "nginx", port, [path, "-e", f"{folder}/nginx.log", "-p", str(folder), "-c", str(file)]
    )


_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream easel {{
{nodes}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 32m;
        location / {{
            proxy_pass http://easel;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_connect_timeout 2s;
            proxy_read_timeout 900s;
            proxy_buffering off;
        }}
    }}
}}
"""
