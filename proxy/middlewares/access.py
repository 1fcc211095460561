"""The outermost link: a trace id, the settings in force, the answer's headers, the access line."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.table.receipt import RECORD_LIMIT
from proxy.context import (
    ATTEMPT,
    CALLER,
    COMMITTED,
    DRAINING,
    ERROR_CODE,
    IN_FLIGHT,
    JOIN_STATUS,
    PLAN,
    TIMELINE,
    TRACE_ID,
)
from proxy.http.headers import usable_trace
from proxy.http.proxy_headers import client_of
from proxy.jobs.keys import JOB
from proxy.observability.access_log import ACCESS_LOG
from proxy.observability.metrics.registry import METRICS
from proxy.observability.metrics.request import bytes_in, bytes_out, record_request
from proxy.reload.live_settings import LIVE_SETTINGS
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import AttemptLog, RequestTimeline
from proxy.routing.plan import Plan

_TRACE_PREFIX = os.urandom(8).hex()
_TRACE_COUNTER = itertools.count(1)

_INLINE, _DIGEST_LENGTH = "inline:", 12
"""How the scope of a config begins that came with the request, and how much is told of the rest."""
_PROMPT_LIMIT = 500
"""Characters of a prompt that are logged where the operator wants them."""


@web.middleware
async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the request, count it while it runs, and write its line."""
    trail = request[TIMELINE] = RequestTimeline(time.perf_counter())
    given = request.headers.get("x-portkey-trace-id", "")
    request[TRACE_ID] = (
        given if usable_trace(given) else f"{_TRACE_PREFIX}-{next(_TRACE_COUNTER):08x}"
    )
    app = request.app
    request[SNAPSHOT] = app[LIVE_SETTINGS].snapshot
    running = app[IN_FLIGHT]
    running.add(id(request))
    response = None
    try:
        response = await handler(request)
        return response
    finally:
        running.discard(id(request))
        ended = time.perf_counter()
        record_request(app[METRICS], request, response, ended, has_job=JOB in request)
        if (log := app[ACCESS_LOG]).is_enabled:
            log.write(access_line(request, response, trail, ended))


async def set_gateway_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the gateway's own headers on an answer that is about to go (a prepare signal)."""
    request[COMMITTED] = True
    if (trail := request.get(TIMELINE)) is not None:
        # A job's answer comes by here twice: last when it goes to the client.
        trail.headed = time.perf_counter()
    headers = response.headers
    headers["x-portkey-trace-id"] = request.get(TRACE_ID, "")
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


def access_line(
    request: web.Request, response: web.StreamResponse | None, trail: RequestTimeline, ended: float
) -> dict[str, object]:
    """Say what became of a request. Never a key, a query or a header of the client's.

    Nor a prompt, unless the operator wants it.
    """
    # What is not there costs a request's own `get` an exception.
    left = request._state  # noqa: SLF001 - see above
    attempt, caller, job = left.get(ATTEMPT), left.get(CALLER), left.get(JOB)
    resource, plan = request.match_info.route.resource, left.get(PLAN)
    line = {
        "time": round(time.time(), 3),
        "status": response.status if response is not None else 0,
        "method": request.method,
        # The route's own path: what a stranger wrote into a URL stays out of the log.
        "path": "(no route)" if resource is None else resource.canonical,
        "ms": _milliseconds(trail.arrived_at, ended),
        "client": client_of(request, request[SNAPSHOT].settings.server.trusted_proxies),
        "caller": caller.name if caller else "",
        "config": config_label(plan),
        "provider": attempt.target.adapter.id if attempt else "",
        "cache": attempt.cache_status if attempt else "",
        "error": left.get(ERROR_CODE, ""),
        "receipt": attempt.receipt.written(RECORD_LIMIT) if attempt else "",
        "tried": [_attempt_fields(it) for it in trail.attempts or ()],
        "pictures": len(attempt.drawn) if attempt else 0,
        "bytes_in": bytes_in(request),
        "bytes_out": bytes_out(request, response),
        **_durations(trail, trail.first_byte_at or ended),
        "job": job.id if job else "",
        "joined": left.get(JOIN_STATUS, ""),
        "trace": request[TRACE_ID],
    }
    if plan and request[SNAPSHOT].settings.log.prompts:
        line["prompt"] = prompt_excerpt(plan)
    return line


def config_label(plan: Plan | None) -> str:
    """Name the config of a request: by its own name, or an inline one by a short digest.

    >>> config_told(Plan(None, {}, scope="saved:fast")), config_told(Plan(None, {}))
    ('fast', '')
    """
    scope = plan.scope if plan else ""
    if scope.startswith(_INLINE):
        return scope[: len(_INLINE) + _DIGEST_LENGTH]
    return scope.partition(":")[2]


def prompt_excerpt(plan: Plan) -> str:
    """Give the beginning of a prompt, for an operator who asked for it."""
    return str(plan.params.get("prompt", ""))[:_PROMPT_LIMIT]


def _attempt_fields(tried: AttemptLog) -> dict[str, Any]:
    return {name: getattr(tried, name) for name in tried.__struct_fields__}


def _durations(trail: RequestTimeline, headed: float) -> dict[str, float]:
    """Tell the parts of a request's time that are known, in milliseconds."""
    times = {"first_byte_ms": _milliseconds(trail.arrived_at, headed)}
    if trail.first_upstream_at:
        times["queue_ms"] = _milliseconds(trail.arrived_at, trail.first_upstream_at)
        times["provider_ms"] = round(sum(it.ms for it in trail.attempts or ()), 1)
    return times


def _milliseconds(since: float, until: float) -> float:
    return round((until - since) * 1000, 1)
