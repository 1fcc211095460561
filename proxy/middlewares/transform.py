"""Translates the client's parameters into the calls of one target."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.context import ATTEMPT
from proxy.jobs.delivery import EVENT_STREAM_TYPE, JSON_TYPE
from proxy.jobs.keys import JOB
from proxy.pipeline.translate import prepare_calls


@web.middleware
async def transform(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the attempt's calls and receipt, and the job's kind of response."""
    attempt = request[ATTEMPT]
    prepare_calls(attempt)
    if job := request.get(JOB):
        job.kind = EVENT_STREAM_TYPE if attempt.params.get("stream") is True else JSON_TYPE
    return await handler(request)
