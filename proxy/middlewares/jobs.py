"""Starts a job for the request, or joins the job of an earlier, equal request.

A job continues when its client disconnects. Every request that joins it gets the response from the
first byte on. If processes share their jobs, a job started here may turn out to run in another
process already: it then mirrors the response from there.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.keys import request_digest
from proxy.context import ATTEMPT, BODY_RESERVATION, CALLER, ERROR_CODE, JOIN_STATUS, PLAN
from proxy.http.body_limits import BodyReservation
from proxy.http.headers import no_store, prefers_async, read_idempotency_key
from proxy.jobs.capture import capture_request, capture_response
from proxy.jobs.delivery import (
    CLIENT_GONE,
    EVENT_STREAM_TYPE,
    JSON_TYPE,
    accepted_response,
    deliver,
    is_connected,
)
from proxy.jobs.job import JobKey, no_progress
from proxy.jobs.keys import JOB, JOB_CLUSTER, JOBS
from proxy.jobs.recording import Recording
from proxy.observability.tracing.attributes import JOB_JOINED
from proxy.observability.tracing.hooks import add_event, job_span
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.plan import Plan

_CLIENT_CLOSED_REQUEST = 499
"""The status that is logged for a client that has left; nobody receives it."""


@web.middleware
async def jobs(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Start or join the job, and respond with its response."""
    if request[PLAN].dry_run:
        return await handler(request)
    store, key, cluster = request.app[JOBS], job_key(request), request.app[JOB_CLUSTER]
    job = store.find(key)
    other, reservation = "", request.get(BODY_RESERVATION)
    if (
        cluster
        and job
        and key.is_retry
        and not key.idempotency_key
        and (job.has_connected_client or job.deliveries)
    ):
        # This job may serve another client of the caller: look in the cluster for this client's.
        other = await cluster.claim_abandoned(key)
    if (job is None or other) and not is_connected(request):
        # A stalled process may read a request after its retry: both would be paid.
        request[ERROR_CODE] = CLIENT_GONE
        return web.Response(status=_CLIENT_CLOSED_REQUEST)
    if job is None or other:
        job = store.start(
            key, lambda recording: _run_or_follow(request, recording, handler, other, reservation)
        )
    else:
        request[JOIN_STATUS] = job.status
        add_event(JOB_JOINED)
    request[JOB] = job
    if prefers_async(request.headers):
        return accepted_response(job)
    return await deliver(request, job, request[PLAN].keepalive)


async def _run_or_follow(
    request: web.Request,
    recording: Recording,
    handler: Handler,
    other: str,
    reservation: BodyReservation | None,  # noqa: ARG001 - see below
) -> None:
    """Run the request, unless another process runs or ran it as its job `other`: mirror that.

    The job keeps `reservation` until it ends, even if the client's request has ended before.
    """
    cluster, job = request.app[JOB_CLUSTER], request[JOB]
    if cluster and (other := other or await cluster.claim(job)):
        request[JOIN_STATUS] = "elsewhere"
        add_event(JOB_JOINED)
        # The parameters are valid, because another process accepted the request.
        job.content_type = (
            EVENT_STREAM_TYPE if request[PLAN].params.get("stream") is True else JSON_TYPE
        )
        await cluster.mirror(job, other)
    else:
        await _run(request, recording, handler)


async def _run(request: web.Request, recording: Recording, handler: Handler) -> None:
    stage, job = capture_request(request, recording), request[JOB]
    job.progress = lambda: stage[ATTEMPT].progress if ATTEMPT in stage else None
    try:
        with job_span(job.id):
            await capture_response(stage, recording, handler)
    finally:
        # A stored job must refer to nothing but its response.
        job.progress = no_progress
        # The access line and the headers of an error response need both.
        if ATTEMPT in stage:
            request[ATTEMPT] = stage[ATTEMPT]
        if ERROR_CODE in stage:
            request[ERROR_CODE] = stage[ERROR_CODE]


def job_key(request: web.Request) -> JobKey:
    """Return what identifies the job of a request, and whether the client retries it."""
    plan, headers = request[PLAN], request.headers
    return JobKey(
        caller=request[CALLER].name,
        digest=request_digest(plan),
        idempotency_key=read_idempotency_key(headers),
        is_retry=headers.get("x-stainless-retry-count", "0").strip() not in ("", "0"),
        coalesce=request[CALLER].name in request[SNAPSHOT].settings.coalescing_keys
        or _is_shareable(plan, untracked=no_store(headers)),
    )


def _is_shareable(plan: Plan, *, untracked: bool) -> bool:
    """Whether the request may join the running job of an equal request of another client."""
    return any(
        it.coalesce or (it.stores_responses and not untracked) for it in plan.root.cache_policies
    )
