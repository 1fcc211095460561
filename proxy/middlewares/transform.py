"""Translates the client's parameters into the calls of one target."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.context import ATTEMPT
from proxy.jobs.delivery import EVENT_STREAM_TYPE, JSON_TYPE
from proxy.jobs.job import Job
from proxy.jobs.keys import JOB
from proxy.pipeline.translate import prepare_calls


@web.middleware
async def transform(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the attempt's calls and receipt, and the job's content type."""
    attempt = request[ATTEMPT]
    prepare_calls(attempt)
    job: Job | None = request.get(JOB)
    if job:
        job.content_type = EVENT_STREAM_TYPE if attempt.params.get("stream") is True else JSON_TYPE
    return await handler(request)
