"""A gateway as a process of its own, started through the command that users type."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.process_log import messages

_ROOT = Path(__file__).parents[2]
_EASEL = (sys.executable, "-m", "proxy")
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 60
_LOOK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True)
class Served:
    """Where a gateway listens, and its process."""

    url: str
    pid: int


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Run a gateway as `running` does; gives its URL."""
    with running(folder, *options) as served:
        yield served.url


@contextmanager
def running(
    folder: Path,
    *options: str,
    complains: bool = False,
    easel: Sequence[str] = _EASEL,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Run `python -m proxy serve` in a folder, on a free port, or `serve` of another `easel`.

    SIGTERM ends it. It must then exit with 0 and, unless it `complains`, have complained of
    nothing: what it printed is in the folder's files `out` and `err`.
    """
    command = [*easel, "serve", "--port", "0", *options]
    environ = environ or {**os.environ, "PYTHONPATH": str(_ROOT)}
    out, err = folder / "out", folder / "err"
    with (
        out.open("wb") as out_file,
        err.open("wb") as err_file,
        subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=folder, env=environ, stdout=out_file, stderr=err_file
        ) as process,
    ):
        try:
            yield Served(_address(process, out, err), process.pid)
        finally:
            process.terminate()
            status = _exit_status(process)
    complaints = messages(err.read_text())
    good = status == 0 and (complains or not complaints)
    assert good, f"exit status {status}: {complaints[-2000:]}"


def _address(process: subprocess.Popen[bytes], out: Path, err: Path) -> str:
    """Wait until the gateway has printed where it listens."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"is listening on (http://\S+)\n", out.read_text()):
            return found[1]
        time.sleep(_LOOK_AGAIN_SECONDS)
    raise AssertionError(f"the gateway did not start: {out.read_text()}{err.read_text()}")


def _exit_status(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
