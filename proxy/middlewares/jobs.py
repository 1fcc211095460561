"""A request becomes a job, or joins the one that it asked for before.

The job goes on when its client leaves; whoever waits for it gets its answer from the first byte on.
Where processes share their jobs, one begins here and then turns out to be another process's: it
gets the answer from there.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.keys import name_of
from proxy.context import ATTEMPT, CALLER, ERROR_CODE, JOIN_STATUS, PLAN
from proxy.http.headers import is_untracked, prefers_async, read_idempotency_key
from proxy.jobs.capture import play, staged
from proxy.jobs.delivery import EVENTS, JSON, accepted, listen
from proxy.jobs.job import JobKey, no_progress
from proxy.jobs.keys import JOB, JOB_CLUSTER, JOBS
from proxy.jobs.recording import Tape
from proxy.observability.tracing.attributes import JOB_JOINED
from proxy.observability.tracing.hooks import add_event, job_span
from proxy.routing.plan import Plan


@web.middleware
async def jobs(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Begin or find the job, and answer with what it comes to."""
    if request[PLAN].dry_run:
        return await handler(request)
    jobs, asked, sharing = request.app[JOBS], job_key(request), request.app[JOB_CLUSTER]
    job = jobs.find(asked)
    other = ""
    if (
        sharing
        and job
        and asked.is_retry
        and not asked.idempotency_key
        and (job.has_connected_client or job.deliveries)
    ):
        # That one may be another client's of the same caller, and this client's be elsewhere.
        other = await sharing.left_behind(asked)
    if job is None or other:
        job = jobs.start(asked, lambda tape: _run_or_follow(request, tape, handler, other))
    else:
        request[JOIN_STATUS] = job.status
        add_event(JOB_JOINED)
    request[JOB] = job
    if prefers_async(request.headers):
        return accepted(job)
    return await listen(request, job, request[PLAN].keepalive)


async def _run_or_follow(request: web.Request, tape: Tape, handler: Handler, other: str) -> None:
    """Fulfil the request, unless another process is doing so, or has: that of its job `other`."""
    sharing, job = request.app[JOB_CLUSTER], request[JOB]
    if sharing and (other := other or await sharing.claim(job)):
        request[JOIN_STATUS] = "elsewhere"
        add_event(JOB_JOINED)
        # Its parameters are good: another process took it.
        job.content_type = EVENTS if request[PLAN].params.get("stream") is True else JSON
        await sharing.follow(job, other)
    else:
        await _run(request, tape, handler)


async def _run(request: web.Request, tape: Tape, handler: Handler) -> None:
    stage, job = staged(request, tape), request[JOB]
    job.progress = lambda: stage[ATTEMPT].progress if ATTEMPT in stage else None
    try:
        with job_span(job.id):
            await play(stage, tape, handler)
    finally:
        # A parked job holds on to nothing but its answer.
        job.progress = no_progress
        # For the access line, and the headers of an error.
        if ATTEMPT in stage:
            request[ATTEMPT] = stage[ATTEMPT]
        if ERROR_CODE in stage:
            request[ERROR_CODE] = stage[ERROR_CODE]


def job_key(request: web.Request) -> JobKey:
    """Tell a request from any other, and whether its client has sent it before."""
    plan, headers = request[PLAN], request.headers
    return JobKey(
        caller=request[CALLER].name,
        digest=name_of(plan),
        idempotency_key=read_idempotency_key(headers),
        is_retry=headers.get("x-stainless-retry-count", "0").strip() not in ("", "0"),
        coalesce=_is_shareable(plan, untracked=is_untracked(headers)),
    )


def _is_shareable(plan: Plan, *, untracked: bool) -> bool:
    """Tell whether an equal request under way is as good, even to one that has not asked before."""
    return any(it.coalesce or (it.keeps and not untracked) for it in plan.root.cache_policies)
