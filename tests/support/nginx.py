"""A real nginx in front of a gateway.

It is Debian's: `apt-get install nginx-light`. Where it is missing, tests are skipped;
in CI they fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_SECONDS = 2
"""Less than a picture takes, and more than the shortest keepalive."""


CONFIG = """
daemon off;
pid {folder}/pid;
error_log {folder}/error_log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{before}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_read_timeout {patience}s;
{more}
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str, before: str = "", more: str = "") -> Iterator[str]:
    """Run nginx before a server; gives its URL.

    `before` stands in the configuration before its server, `more` where it passes requests on.
    """
    command = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if command is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs the package nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        file = folder / "nginx.conf"
        values = {"upstream": upstream, "patience": PATIENCE_SECONDS, "before": before}
        file.write_text(CONFIG.format(folder=folder, port=port, more=more, **values))
        # It takes over a socket that listens already, as in an upgrade of its binary: the port is
        # ours beyond doubt, and a client need not wait for its start.
        with subprocess.Popen(  # noqa: S603 - Debian's own command
            [command, "-e", str(folder / "error_log"), "-p", str(folder), "-c", str(file)],
            env={**os.environ, "NGINX": f"{listening.fileno()};"},
            pass_fds=[listening.fileno()],
        ) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
