"""The chain, in two halves of links that all have one form: `async def link(request, handler)`.

| link | needs | leaves | may answer with |
| --- | --- | --- | --- |
| **CHAIN, every request** | | | |
| observing | | TRACE, CURRENT, COMMITTED, x-portkey-* headers, the access line | |
| explaining | TRACE | FAILURE | any failure, as an OpenAI error |
| framing | | | 400 |
| auth | | CALLER | 401, 421 |
| **IMAGES, every image request** | | | |
| routing | CALLER | PLAN, RAW, HELD | 4xx, 503; to what repeats a request, as `recalling` |
| recalling | PLAN | ATTEMPT, where it answers | an answer that the cache has in memory |
| joining | CALLER, PLAN | JOB, JOINED; the rest is in it | 202, 4xx, 503, 504, a job's answer |
| **ATTEMPT, every target** | | | |
| caching | PLAN, ATTEMPT | attempt.cache_status, .recording, .made | a kept answer, 400 |
| transform | PLAN, ATTEMPT, JOB | attempt.calls, attempt.receipt, job.kind | 400 |

Where traces are written, `tracing` stands behind the last link of CHAIN: it needs CALLER, and
leaves TRACE where the client named none.

A dry run goes through REHEARSAL instead of ATTEMPT: transform alone, then `images.rehearse`.

After the last link of IMAGES comes `images.generate`, after the last of ATTEMPT
`images.converse`.
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
    """Return the links with the tracing middleware after them."""
    from proxy.middlewares.tracing import make_tracing  # noqa: PLC0415 - an extra

    return (*links, make_tracing(tracer))


def wrap(links: Sequence[Middleware], handler: Handler) -> Handler:
    """Put links before a handler, the first one outermost."""
    for link in reversed(links):
        handler = partial(link, handler=handler)
    return handler
