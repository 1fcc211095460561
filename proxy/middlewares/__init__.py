"""The middlewares of a request, in order. Each is `async def middleware(request, handler)`.

| middleware | reads | sets | may respond with |
| --- | --- | --- | --- |
| **CHAIN, every request** | | | |
| access | | TRACE_ID, SNAPSHOT, TIMELINE, COMMITTED, response headers, the access line | |
| errors | TRACE_ID | ERROR_CODE, METRIC_OUTCOME | any failure, as an OpenAI error |
| framing | | | 400 |
| auth | SNAPSHOT | CALLER | 401, 417, 421 |
| **IMAGE_CHAIN, every image request** | | | |
| routing | CALLER | PLAN, BODY, BODY_RESERVATION | 4xx, 503, a cached response |
| cache_lookup | PLAN, BODY | ATTEMPT, if it responds | a response cached in memory |
| jobs | CALLER, PLAN | JOB, JOIN_STATUS | 202, 4xx, 503, 504, the response of the job |
| **ATTEMPT_CHAIN, every attempt at a target** | | | |
| cache | PLAN, ATTEMPT | attempt.cache_status, .capture, .prior_images | a cached response, 400 |
| transform | ATTEMPT, JOB | attempt.calls, attempt.receipt, the job's content type | 400 |

With tracing on, `tracing` follows the last middleware of CHAIN: it reads CALLER, and sets TRACE_ID
if the client sent none.

IMAGE_CHAIN ends in `pipeline.execute`, which sends each attempt through ATTEMPT_CHAIN to
`pipeline.converse`. The attempt of a dry run goes through DRY_RUN_CHAIN to `pipeline.dry_run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from aiohttp.typedefs import Handler, Middleware

from proxy.middlewares.access import access
from proxy.middlewares.auth import auth
from proxy.middlewares.cache import cache
from proxy.middlewares.cache_lookup import cache_lookup
from proxy.middlewares.errors import errors
from proxy.middlewares.framing import framing
from proxy.middlewares.jobs import jobs
from proxy.middlewares.routing import routing
from proxy.middlewares.transform import transform

if TYPE_CHECKING:
    from proxy.observability.tracing.spans import Tracer

CHAIN: tuple[Middleware, ...] = (access, errors, framing, auth)
IMAGE_CHAIN: tuple[Middleware, ...] = (routing, cache_lookup, jobs)
ATTEMPT_CHAIN: tuple[Middleware, ...] = (cache, transform)
DRY_RUN_CHAIN: tuple[Middleware, ...] = (transform,)


def with_tracing(links: Sequence[Middleware], tracer: Tracer) -> tuple[Middleware, ...]:
    """Return `links` followed by the tracing middleware."""
    from proxy.middlewares.tracing import make_tracing  # noqa: PLC0415 - an extra

    return (*links, make_tracing(tracer))


def wrap(links: Sequence[Middleware], handler: Handler) -> Handler:
    """Return a handler that runs `handler` inside `links`, the first one outermost."""
    for link in reversed(links):
        handler = partial(link, handler=handler)
    return handler
