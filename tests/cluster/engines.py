"""What the nodes stand on, each a process that can be stopped and started where it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.s3 import BUCKET

ROOT = Path(__file__).parents[2]
_SECONDS_TO_START = 30
_LOOK_AGAIN_SECONDS = 0.02


def free_port() -> int:
    """Give a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class Engine:
    """A process that listens at a port, which stays the same."""

    def __init__(self, name: str, port: int, command: Sequence[str], **environ: str) -> None:
        self.name = name
        self.port = port
        self._command = list(command)
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        environ = {**os.environ, **self._environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            self._command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def stop(self) -> None:
        """End it."""
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


def found(command: str, package: str) -> str:
    """Find a command; raises `RuntimeError` that names its package."""
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise RuntimeError(f"needs {command}: apt-get install {package}")
    return path


def redis(folder: Path) -> Engine:
    """Make a Redis that keeps nothing on disk: what it knew is gone when it was stopped."""
    port = free_port()
    options = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder))
    quiet = ("--save", "", "--appendonly", "no", "--logfile", str(folder / "redis.log"))
    return Engine("Redis", port, [found("redis-server", "redis-server"), *options, *quiet])


def storage(folder: Path) -> Engine:
    """Make an S3-compatible server on a folder, with a bucket."""
    home, port = ROOT / "tests" / "s3rver", free_port()
    if not (home / "node_modules").exists():
        raise RuntimeError("needs an S3 server: npm ci --prefix tests/s3rver")
    (folder / "s3").mkdir()
    command = [found("node", "nodejs"), str(home / "server.js"), str(folder / "s3"), BUCKET]
    return Engine("the store", port, command, PORT=str(port))


def provider() -> Engine:
    """Make the provider."""
    port = free_port()
    return Engine("the provider", port, [sys.executable, "-m", "tests.cluster.provider", str(port)])


def nginx(folder: Path, ports: Sequence[int]) -> Engine:
    """Make an nginx before nodes."""
    port = free_port()
    file = folder / "nginx.conf"
    nodes = "\n".join(f"        server 127.0.0.1:{it} max_fails=1 fail_timeout=2s;" for it in ports)
    file.write_text(_NGINX.format(folder=folder, port=port, nodes=nodes))
    path = found("nginx", "nginx-light")
    return Engine(
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
