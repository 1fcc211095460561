"""Outermost middleware: trace id, settings snapshot, the gateway's headers, metrics, access line.

The access line never holds a key, a query string or a client header, and holds the prompt only if
`log.prompts` is set.
"""

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
from proxy.http import cors
from proxy.http.headers import is_valid_trace_id
from proxy.http.proxy_headers import client_address
from proxy.jobs.job import Job
from proxy.jobs.keys import JOB
from proxy.observability.access_log import ACCESS_LOG
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.metrics.registry import METRICS
from proxy.observability.metrics.request import bytes_in, bytes_out, record_request
from proxy.reload.live_settings import LIVE_SETTINGS
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, AttemptLog, RequestTimeline
from proxy.routing.plan import Caller, Plan

_TRACE_PREFIX = os.urandom(8).hex()
_TRACE_COUNTER = itertools.count(1)

_INLINE, _DIGEST_LENGTH = "inline:", 12
"""Scope prefix of a config sent inline, and how many characters of its digest are logged."""
_PROMPT_LIMIT = 500
"""Characters of a prompt that are logged when `log.prompts` is set."""


@web.middleware
async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the request's trace id and settings; afterwards record its metrics and access line."""
    timeline = request[TIMELINE] = RequestTimeline(time.perf_counter())
    given = request.headers.get("x-portkey-trace-id", "")
    request[TRACE_ID] = (
        given if is_valid_trace_id(given) else f"{_TRACE_PREFIX}-{next(_TRACE_COUNTER):08x}"
    )
    app = request.app
    request[SNAPSHOT] = app[LIVE_SETTINGS].snapshot
    in_flight = app[IN_FLIGHT]
    in_flight.add(id(request))
    response = None
    try:
        response = await handler(request)
        return response
    finally:
        in_flight.discard(id(request))
        ended = time.perf_counter()
        with bookkeeping("metrics"):
            record_request(app[METRICS], request, response, ended, has_job=JOB in request)
        with bookkeeping("access_log"):
            if (log := app[ACCESS_LOG]).is_enabled:
                log.write(access_line(request, response, timeline, ended))


async def set_gateway_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the gateway's own headers on a response about to be sent (an aiohttp prepare signal)."""
    request[COMMITTED] = True
    if (timeline := request.get(TIMELINE)) is not None:
        # A job's response is prepared twice: the second time is when it goes to the client.
        timeline.first_byte_at = time.perf_counter()
    headers = response.headers
    headers["x-portkey-trace-id"] = request.get(TRACE_ID, "")
    headers["server"] = "easel"
    snapshot = request.get(SNAPSHOT)
    if snapshot and (origins := snapshot.settings.server.cors_origins):
        cors.set_headers(headers, request.headers.get("origin"), origins)
    if request.app[DRAINING]:
        # A client that keeps connections open has to send its next request to another node.
        response.force_close()
        headers["connection"] = "close"
    attempt: Attempt | None = request.get(ATTEMPT)
    # A job's recorded response already has the headers of its attempt.
    if attempt is None or "x-portkey-provider" in headers:
        return
    with bookkeeping("receipt"):
        for name, value in attempt.response_headers.items():
            headers[name] = value


def access_line(
    request: web.Request,
    response: web.StreamResponse | None,
    timeline: RequestTimeline,
    ended: float,
) -> dict[str, object]:
    """Return the fields of a request's access line.

    `ended` is a time of `time.perf_counter`.
    """
    # `Request.get` raises and catches an exception for each missing key; this runs per request.
    state = request._state  # noqa: SLF001 - see above
    attempt: Attempt | None = state.get(ATTEMPT)
    caller: Caller | None = state.get(CALLER)
    job: Job | None = state.get(JOB)
    plan: Plan | None = state.get(PLAN)
    resource = request.match_info.route.resource
    line = {
        "time": round(time.time(), 3),
        "status": response.status if response is not None else 0,
        "method": request.method,
        # The route's pattern: the URL itself is untrusted text and stays out of the log.
        "path": "(no route)" if resource is None else resource.canonical,
        "ms": _milliseconds(timeline.arrived_at, ended),
        "client": client_address(request, request[SNAPSHOT].settings.server.trusted_proxies),
        "caller": caller.name if caller else "",
        "config": config_label(plan),
        "provider": attempt.target.adapter.id if attempt else "",
        "cache": attempt.cache_status if attempt else "",
        "error": state.get(ERROR_CODE, ""),
        "receipt": attempt.receipt.format(RECORD_LIMIT) if attempt else "",
        "tried": [_attempt_fields(it) for it in timeline.attempts or ()],
        "images": len(attempt.images_out) if attempt else 0,
        "bytes_in": bytes_in(request),
        "bytes_out": bytes_out(request, response),
        **_durations(timeline, timeline.first_byte_at or ended),
        "job": job.id if job else "",
        "joined": state.get(JOIN_STATUS, ""),
        "trace": request[TRACE_ID],
    }
    if plan and request[SNAPSHOT].settings.log.prompts:
        line["prompt"] = prompt_excerpt(plan)
    return line


def config_label(plan: Plan | None) -> str:
    """Return the name of a saved config, or `inline:` and a short digest for an inline one.

    >>> config_label(Plan(None, {}, scope="saved:fast")), config_label(Plan(None, {}))
    ('fast', '')
    """
    scope = plan.scope if plan else ""
    if scope.startswith(_INLINE):
        return scope[: len(_INLINE) + _DIGEST_LENGTH]
    return scope.partition(":")[2]


def prompt_excerpt(plan: Plan) -> str:
    """Return the first 500 characters of the prompt."""
    return str(plan.params.get("prompt", ""))[:_PROMPT_LIMIT]


def _attempt_fields(attempt: AttemptLog) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in attempt.__struct_fields__}


def _durations(timeline: RequestTimeline, first_byte_at: float) -> dict[str, float]:
    """Return the durations that are known, in milliseconds."""
    durations = {"first_byte_ms": _milliseconds(timeline.arrived_at, first_byte_at)}
    if timeline.first_upstream_at:
        durations["queue_ms"] = _milliseconds(timeline.arrived_at, timeline.first_upstream_at)
        durations["provider_ms"] = round(sum(it.ms for it in timeline.attempts or ()), 1)
    return durations


def _milliseconds(since: float, until: float) -> float:
    return round((until - since) * 1000, 1)
