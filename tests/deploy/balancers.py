"""A real nginx and a real HAProxy with the files of deploy/, in front of nodes on loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.tools import DEPLOY, program, run_tool

NGINX = DEPLOY / "nginx"
HAPROXY_FILE = DEPLOY / "haproxy" / "haproxy.cfg"
_NODE = re.compile(r"easel-(\d):8787")

_WRITTEN_OR_READ = ("/tmp", "/var/log/nginx", "/etc/nginx/conf.d")  # noqa: S108 - nginx.conf's own
"""The folders of nginx.conf; a test has its own for all of them."""


@dataclass(frozen=True)
class Balancer:
    """A running load balancer; `log` is its access log."""

    url: str
    log: Path


Run = Callable[[Path, Sequence[str]], AbstractContextManager[Balancer]]


def with_nodes(text: str, nodes: Sequence[str]) -> str:
    """Set the addresses of some nodes in a configuration, and remove the lines of other nodes."""
    named = {str(number): node for number, node in enumerate(nodes, 1)}
    lines = (
        _NODE.sub(lambda found: named[found[1]], line)
        for line in text.splitlines(keepends=True)
        if all(number in named for number in _NODE.findall(line))
    )
    return "".join(lines)


def moved(text: str, places: Mapping[str, Path]) -> str:
    """Replace folders in a configuration."""
    for place, other in places.items():
        text = text.replace(place, str(other))
    return text


@contextmanager
def nginx(folder: Path, nodes: Sequence[str]) -> Iterator[Balancer]:
    """Run nginx in front of nodes, each `host:port`."""
    command = program("nginx", "nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, log = listening.getsockname()[1], folder / "access.log"
        text = with_nodes((NGINX / "easel.conf").read_text(), nodes)
        text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};", 1)
        places = dict.fromkeys(_WRITTEN_OR_READ, folder)
        frame = folder / "nginx"
        frame.write_text(moved((NGINX / "nginx.conf").read_text(), places))
        (folder / "easel.conf").write_text(moved(text, places))
        command_line = [command, "-e", str(folder / "error_log"), "-p", str(folder), "-c"]
        run_tool(*command_line, frame, "-g", "daemon off;", "-t")
        # It takes over a socket that listens already, as in an upgrade of its binary.
        environ = {**os.environ, "NGINX": f"{listening.fileno()};"}
        with _running([*command_line, str(frame), "-g", "daemon off;"], environ, listening):
            yield Balancer(f"http://127.0.0.1:{port}", log)


@contextmanager
def haproxy(folder: Path, nodes: Sequence[str]) -> Iterator[Balancer]:
    """Run HAProxy in front of nodes, each `host:port`."""
    command = program("haproxy", "haproxy")
    log = folder / "access.log"
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as logged:
        text = with_nodes(HAPROXY_FILE.read_text(), nodes)
        text = text.replace("bind :8080", f"bind fd@{listening.fileno()}", 1)
        file = folder / "haproxy.cfg"
        file.write_text(text)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with _running([command, "-f", str(file)], dict(os.environ), listening, logged.fileno()):
            yield Balancer(url, log)


@contextmanager
def _running(
    command: list[str],
    environ: dict[str, str],
    listening: socket.socket,
    output: int | None = None,
) -> Iterator[None]:
    # Of two that see one client come, one would wait for the next in vain, and hear no signal.
    listening.setblocking(False)  # noqa: FBT003 - the library's
    with subprocess.Popen(  # noqa: S603 - Debian's own command
        command, env=environ, pass_fds=[listening.fileno()], stdout=output
    ) as process:
        # It has its own: should it end, clients are refused instead of left to wait.
        listening.close()
        try:
            yield
        finally:
            process.terminate()
