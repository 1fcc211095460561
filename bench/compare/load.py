"""Load generation with wrk. A failed or incomplete response invalidates the measurement."""

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
{lua}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("MEASURED %d %d %d %d %d %d %d %d %d %d\\n",
    summary.requests, summary.duration, summary.bytes,
    e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class BadAnswersError(Exception):
    """A server returned a wrong response; the message describes it."""


@dataclass(frozen=True)
class Request:
    """A POST request. Its response has at least `min_bytes` bytes.

    `lua` is additional wrk script that varies each request.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]
    min_bytes: int = 1
    lua: str = ""


@dataclass(frozen=True)
class Load:
    """Result of wrk; `p50` and `p99` in seconds."""

    requests: int
    seconds: float
    size: int
    p50: float
    p99: float


def script(request: Request) -> str:
    """Return the wrk script (Lua) for a request."""
    headers = "\n".join(
        f"wrk.headers[ {_quoted(name)} ] = {_quoted(value)}"
        for name, value in request.headers.items()
    )
    return _LUA.format(body=_quoted(request.body.decode()), headers=headers, lua=request.lua)


def _quoted(text: str) -> str:
    return f"[==[{text}]==]"


def read(output: str, min_bytes: int) -> Load:
    """Parse the script's output; raise `BadAnswersError` on errors or too short responses."""
    found = re.search(r"^MEASURED ([\d ]+)$", output, re.MULTILINE)
    if not found:
        raise BadAnswersError(f"wrk measured nothing: {output[-300:]}")
    requests, microseconds, size, *errors, p50, p99 = map(int, found[1].split())
    if any(errors):
        kinds = ("connect", "read", "write", "status", "timeout")
        counts = ", ".join(f"{count} {kind}" for kind, count in zip(kinds, errors, strict=True))
        raise BadAnswersError(f"errors in {requests} responses: {counts}")
    if not requests:
        raise BadAnswersError("no response")
    if size < requests * min_bytes:
        raise BadAnswersError(f"{size / requests:.0f} bytes per response, {min_bytes} expected")
    return Load(requests, microseconds / 1e6, size, p50 / 1e6, p99 / 1e6)


@dataclass(frozen=True)
class Loader:
    """wrk and the folder for its scripts."""

    wrk: str
    folder: Path

    async def load(self, server: Server, request: Request, connections: int, seconds: int) -> Load:
        """Send requests for `seconds`; raise `BadAnswersError` on wrong responses."""
        file = self.folder / f"{server.name}.lua"
        file.write_text(script(request), encoding="utf-8")
        how = ("-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_TIMEOUT}s")
        with on_core(LOAD):
            process = await asyncio.create_subprocess_exec(
                *(self.wrk, *how, "-s", str(file), server.url + request.path),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        output, _ = await process.communicate()
        try:
            return read(output.decode(), request.min_bytes)
        except BadAnswersError as error:
            raise BadAnswersError(f"{server.name}, {request.path}: {error}") from None
