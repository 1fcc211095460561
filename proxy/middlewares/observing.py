"""The outermost link: a trace id, the settings in force, the answer's headers, the access line."""

from __future__ import annotations

import itertools
import os
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.receipts import RECORD_LIMIT
from proxy.forwarded import client_of
from proxy.incoming import usable_trace
from proxy.keys import (
    ATTEMPT,
    CALLER,
    COMMITTED,
    CURRENT,
    DRAINING,
    FAILURE,
    JOB,
    JOINED,
    LOG,
    RELOADING,
    RUNNING,
    TRACE,
)

_PREFIX = os.urandom(8).hex()
_COUNTER = itertools.count(1)


@web.middleware
async def observing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the request, count it while it runs, and write its line."""
    started = time.perf_counter()
    given = request.headers.get("x-portkey-trace-id", "")
    request[TRACE] = given if usable_trace(given) else f"{_PREFIX}-{next(_COUNTER):08x}"
    request[CURRENT] = request.app[RELOADING].current
    running = request.app[RUNNING]
    running.add(id(request))
    status = 0
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        running.discard(id(request))
        request.app[LOG].write(_line(request, status, time.perf_counter() - started))


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Set the gateway's own headers on an answer that is about to go (a prepare signal)."""
    request[COMMITTED] = True
    headers = response.headers
    headers["x-portkey-trace-id"] = request.get(TRACE, "")
    headers["server"] = "easel"
    if request.app[DRAINING]:
        # Whoever keeps connections is told to send what is next elsewhere.
        response.force_close()
        headers["connection"] = "close"
    attempt = request.get(ATTEMPT)
    # What a job answers has said the rest already, onto its tape.
    if attempt is None or "x-portkey-provider" in headers:
        return
    for name, told in attempt.headers.items():
        headers[name] = told


def _line(request: web.Request, status: int, seconds: float) -> dict[str, object]:
    """Say what became of a request. Never a prompt, a key, a query or a header of the client's."""
    # What is not there costs a request's own `get` an exception.
    left = request._state  # noqa: SLF001 - see above
    attempt, caller, job = left.get(ATTEMPT), left.get(CALLER), left.get(JOB)
    resource = request.match_info.route.resource
    return {
        "time": round(time.time(), 3),
        "status": status,
        "method": request.method,
        # The route's own path: what a stranger wrote into a URL stays out of the log.
        "path": "(no route)" if resource is None else resource.canonical,
        "ms": round(seconds * 1000, 1),
        "client": client_of(request),
        "caller": caller.name if caller else "",
        "provider": attempt.target.adapter.id if attempt else "",
        "cache": attempt.cache_status if attempt else "",
        "error": left.get(FAILURE, ""),
        "receipt": attempt.receipt.written(RECORD_LIMIT) if attempt else "",
        "job": job.id if job else "",
        "joined": left.get(JOINED, ""),
        "trace": request[TRACE],
    }
