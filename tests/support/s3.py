"""A real S3-compatible server, as a process of its own.

It checks signatures as S3 does. `npm ci --prefix tests/s3rver` installs it; where it is not
installed, the tests that need it are skipped, and fail in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

BUCKET = "pictures"
ACCESS_KEY = "S3RVER"
"""The server's own, and its secret as well."""
_HOME = Path(__file__).parents[1] / "s3rver"


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Run the server on a folder, with a bucket; gives its endpoint."""
    node = shutil.which("node")
    if node is None or not (_HOME / "node_modules").exists():
        _missing("needs Node.js 20 or newer and: npm ci --prefix tests/s3rver")
    command = [node, str(_HOME / "server.js"), str(folder), BUCKET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"http://\S+", line)
            assert found, "the S3 server did not start; its complaint is above"
            yield found[0]
        finally:
            process.terminate()


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
