"""Answering with a job: to whoever began it, joins it, or comes to collect it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson
from aiohttp import web

from adapters.errors import ImageError
from proxy.errors import GatewayError
from proxy.jobs.registry import Job, outcome_unknown
from proxy.jobs.tape import BrokenOffError, Head
from proxy.keys import FAILURE, SETTINGS

CLIENT_GONE = "client_gone"
"""Why an answer was cut: nobody was left to read it."""
PLACE = "/v1/images/jobs/{id}"


def accepted(job: Job) -> web.Response:
    """Answer that a job is under way, and where to ask for it later."""
    place = PLACE.replace("{id}", job.id)
    body = {"id": job.id, "object": "easel.job", "status": job.status, "created_at": int(job.began)}
    return web.Response(
        status=202,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"location": place, "x-easel-job": job.id, "retry-after": "2"},
    )


async def listen(request: web.Request, job: Job) -> web.StreamResponse:
    """Answer with what a job answers, from its first byte on; raises what it failed with."""
    with job.listening():
        head = await _head(request, job)
        response = web.StreamResponse(status=head.status, headers=head.headers)
        response.headers["x-easel-job"] = job.id
        try:
            await response.prepare(request)
            async with aclosing(job.tape.pieces()) as pieces:
                async for piece in pieces:
                    await response.write(piece)
        except ConnectionError:
            _cut(request, CLIENT_GONE)
        except BrokenOffError:
            _cut(request, request.get(FAILURE) or "cut")
        else:
            job.delivered += 1
    return response


async def _head(request: web.Request, job: Job) -> Head:
    """Wait until a job's answer begins, as long as a client is let wait."""
    seconds = request.app[SETTINGS].jobs.wait_seconds
    try:
        async with asyncio.timeout(seconds or None):
            head = await job.tape.wait_for_head()
    except TimeoutError:
        raise _not_yet(job, seconds) from None
    if head is None:
        assert job.tape.failure is not None  # noqa: S101 - a tape without a head ends in a failure
        raise _steered(job.tape.failure, job)
    return head


def _not_yet(job: Job, seconds: float) -> GatewayError:
    error = GatewayError(
        f"The picture is still being made after {seconds:g} seconds. Ask again with the same "
        "request, marked as a retry, to get it: it is paid for once.",
        status=504,
        code="still_working",
    )
    error.headers = {"x-should-retry": "true", "retry-after": "1", "x-easel-job": job.id}
    return error


def _steered(failure: BaseException, job: Job) -> BaseException:
    """Tell an SDK not to try again where that could pay a second time for the same picture."""
    if isinstance(failure, ImageError):
        steer = {"x-should-retry": "false"} if outcome_unknown(failure) else {}
        failure.headers = {**failure.headers, **steer, "x-easel-job": job.id}
    return failure.with_traceback(None)


def _cut(request: web.Request, why: str) -> None:
    """End a body that has begun and cannot be finished: by cutting the connection."""
    request[FAILURE] = why
    if request.transport:
        request.transport.abort()
