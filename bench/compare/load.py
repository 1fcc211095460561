"""Many requests, by wrk. An answer that is no success, or not whole, is no measurement."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .servers import LOAD, Server, on_core

_TIMEOUT = 60
_LUA = """\
wrk.method = "POST"
wrk.body = {body}
{headers}
{more}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("MEASURED %d %d %d %d %d %d %d %d %d %d\\n",
    summary.requests, summary.duration, summary.bytes,
    e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class BadAnswersError(Exception):
    """A server did not answer as it should; the message says how."""


@dataclass(frozen=True)
class Asked:
    """A request: a POST. Its answer has `least` bytes.

    `more` is Lua for wrk that makes each request another one.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]
    least: int = 1
    more: str = ""


@dataclass(frozen=True)
class Load:
    """What wrk has measured: `p50` and `p99` in seconds."""

    requests: int
    seconds: float
    size: int
    p50: float
    p99: float


def script(asked: Asked) -> str:
    """Write a request in Lua, for wrk."""
    headers = "\n".join(
        f"wrk.headers[ {_quoted(name)} ] = {_quoted(value)}"
        for name, value in asked.headers.items()
    )
    return _LUA.format(body=_quoted(asked.body.decode()), headers=headers, more=asked.more)


def _quoted(text: str) -> str:
    return f"[==[{text}]==]"


def read(output: str, least: int) -> Load:
    """Read what the script printed; raises `BadAnswersError`. An answer has `least` bytes."""
    found = re.search(r"^MEASURED ([\d ]+)$", output, re.MULTILINE)
    if not found:
        raise BadAnswersError(f"wrk measured nothing: {output[-300:]}")
    requests, microseconds, size, *errors, p50, p99 = map(int, found[1].split())
    if any(errors):
        kinds = ("connect", "read", "write", "status", "timeout")
        told = ", ".join(f"{count} {kind}" for kind, count in zip(kinds, errors, strict=True))
        raise BadAnswersError(f"of {requests} answers some were errors: {told}")
    if not requests:
        raise BadAnswersError("no answer")
    if size < requests * least:
        raise BadAnswersError(f"{size / requests:.0f} bytes an answer, {least} expected")
    return Load(requests, microseconds / 1e6, size, p50 / 1e6, p99 / 1e6)


@dataclass(frozen=True)
class Loader:
    """wrk, and a folder for its scripts."""

    wrk: str
    folder: Path

    async def load(self, server: Server, asked: Asked, connections: int, seconds: int) -> Load:
        """Ask a server over and over; raises `BadAnswersError`."""
        file = self.folder / f"{server.name}.lua"
        file.write_text(script(asked), encoding="utf-8")
        how = ("-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_TIMEOUT}s")
        with on_core(LOAD):
            process = await asyncio.create_subprocess_exec(
                *(self.wrk, *how, "-s", str(file), server.url + asked.path),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        output, _ = await process.communicate()
        try:
            return read(output.decode(), asked.least)
        except BadAnswersError as error:
            raise BadAnswersError(f"{server.name}, {asked.path}: {error}") from None
