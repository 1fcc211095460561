"""Answering with a job: to whoever began it, joins it, or comes to collect it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import orjson
from aiohttp import hdrs, web

from adapters.errors import ImageError
from proxy.context import ERROR_CODE, METRIC_OUTCOME, TRACE_ID
from proxy.errors import GatewayError, error_body, log_code, set_headers, to_client_error
from proxy.http.status import is_success
from proxy.jobs.job import Job
from proxy.jobs.recording import RecordingTruncated
from proxy.observability.metrics.labels import error_outcome
from proxy.reload.snapshot import SNAPSHOT

CLIENT_GONE = "client_gone"
"""Why an answer was cut: nobody was left to read it."""
JOB_PATH = "/v1/images/jobs/{id}"
JSON_TYPE, EVENT_STREAM_TYPE = "application/json", "text/event-stream"
"""The kinds of answers."""

_KEEPALIVE_FILLERS = {JSON_TYPE: b" ", EVENT_STREAM_TYPE: b": keep-alive\n\n"}
"""What may stand before an answer of a kind and means nothing."""


def accepted_response(job: Job) -> web.Response:
    """Answer that a job is under way, and where to ask for it later."""
    return status_response(job.id, job.created_at, job.status, job.progress())


def status_response(
    job_id: str, created_at: float, status: str = "running", progress: float | None = None
) -> web.Response:
    """Answer the same of a job that is known by these facts only."""
    body = {"id": job_id, "object": "easel.job", "status": status, "created_at": int(created_at)}
    if progress is not None:
        body["progress"] = round(progress, 3)
    return web.Response(
        status=202,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={
            "location": JOB_PATH.replace("{id}", job_id),
            "x-easel-job": job_id,
            "retry-after": "2",
        },
    )


async def deliver(request: web.Request, job: Job, keepalive: float = 0) -> web.StreamResponse:
    """Answer with what a job answers, from its first byte on; raises what it failed with.

    After `keepalive` seconds the answer is begun, ready or not, and kept open until it is. What the
    job fails with then can only be told in the body of what began as a success.
    """
    with job.subscribe(partial(_is_connected, request)):
        is_early = await _must_begin_early(request, job, keepalive)
        if not (is_early or job.recording.ended):
            # What is written in one go has ended in the next turn: it need not be sent in two.
            await asyncio.sleep(0)
        response = _begin_early_response(job) if is_early else _begin_response(request, job)
        try:
            await response.prepare(request)
            if request.method == hdrs.METH_HEAD:
                return response
            if isinstance(response, web.Response):
                await response.write_eof()
                job.deliveries += 1
            else:
                chunks = (
                    _chunks_with_keepalive(request, job, response, keepalive)
                    if is_early
                    else _body_chunks(job)
                )
                async with aclosing(chunks):
                    async for chunk in chunks:
                        await response.write(chunk)
                        del chunk  # See `Tape.pieces`.
        except ConnectionError:  # aiohttp's own, or this one where a slow reader breaks off
            _abort_connection(request, CLIENT_GONE)
        except asyncio.CancelledError:
            request[ERROR_CODE] = CLIENT_GONE
            raise
        except RecordingTruncated:
            _abort_connection(request, request.get(ERROR_CODE) or "cut")
    return response


async def _must_begin_early(request: web.Request, job: Job, keepalive: float) -> bool:
    """Wait until a job's answer begins, as long as a client is let wait.

    True once `keepalive` seconds have gone before that, and a target has taken the request.
    """
    seconds = request[SNAPSHOT].settings.jobs.wait_seconds
    if not (seconds or keepalive):
        await job.recording.wait_for_head()
        return False
    try:
        async with asyncio.timeout(seconds or None):
            while not await _starts_within(job, keepalive):
                if job.content_type:
                    return True
    except TimeoutError:
        raise _still_working_error(job, seconds) from None
    return False


async def _starts_within(job: Job, seconds: float) -> bool:
    """Wait until a job's answer begins, or will never; False where that takes longer.

    0 seconds: as long as it takes.
    """
    if not seconds:
        await job.recording.wait_for_head()
        return True
    try:
        async with asyncio.timeout(seconds):
            await job.recording.wait_for_head()
    except TimeoutError:
        return False
    return True


def _begin_response(request: web.Request, job: Job) -> web.StreamResponse:
    """Begin what the job has begun; raises what it failed with instead."""
    if job.recording.failure is not None:
        # An answer that broke off is told of from now on, not cut once more.
        _mark_failure_reported(request, job)
        raise _with_job_header(job, job.recording.failure)
    head = job.recording.head
    assert head is not None  # noqa: S101 - a tape without a head ends in a failure
    response: web.StreamResponse
    if (body := job.recording.short_body) is not None:
        # Head and body go in one packet. aiohttp would not cut it down to a length told wrongly.
        response = web.Response(status=head.status, headers=head.headers, body=body)
        response.headers[hdrs.CONTENT_LENGTH] = str(len(body))
    else:
        response = web.StreamResponse(status=head.status, headers=head.headers)
    response.headers["x-easel-job"] = job.id
    return response


def _begin_early_response(job: Job) -> web.StreamResponse:
    """Begin what the job has not begun, as if it were to be a success."""
    response = web.StreamResponse()
    response.content_type = job.content_type
    response.headers["x-easel-job"] = job.id
    response.headers["cache-control"] = "no-cache"
    # Where nginx speaks HTTP/1.0, its default, it holds so short a body back from its own client.
    response.headers["x-accel-buffering"] = "no"
    return response


async def _body_chunks(job: Job) -> AsyncGenerator[bytes, None]:
    """Give the body, and note when all of it has gone."""
    async with aclosing(job.recording.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
            del chunk
    job.deliveries += 1


async def _chunks_with_keepalive(
    request: web.Request, job: Job, response: web.StreamResponse, seconds: float
) -> AsyncGenerator[bytes, None]:
    """Give what means nothing every so many seconds, until there is a body or a failure."""
    content_type = response.content_type
    yield _KEEPALIVE_FILLERS[content_type]
    while not await _starts_within(job, seconds):
        yield _KEEPALIVE_FILLERS[content_type]
    if (failure := _failure_after_start(request, job, content_type)) is None:
        async with aclosing(_body_chunks(job)) as chunks:
            async for chunk in chunks:
                yield chunk
                del chunk
        return
    error = to_client_error(failure, request[TRACE_ID])
    request[ERROR_CODE], request[METRIC_OUTCOME] = log_code(error), error_outcome(error)
    yield _error_event(error) if content_type == EVENT_STREAM_TYPE else error_body(error)


def _failure_after_start(request: web.Request, job: Job, content_type: str) -> BaseException | None:
    """Give the reason why a job's answer cannot stand in a body of this kind."""
    head = job.recording.head
    if head is None or job.recording.failure is not None:
        _mark_failure_reported(request, job)
        return job.recording.failure
    response_type = head.headers.get("content-type", "").partition(";")[0].strip()
    if (
        response_type == content_type
        and is_success(head.status)
        and "content-encoding" not in head.headers
    ):
        return None
    return GatewayError(
        "The answer has another form than the one that had to be begun: it waits for you at "
        f"{JOB_PATH.replace('{id}', job.id)}.",
        code="other_form",
    )


def _is_connected(request: web.Request) -> bool:
    """Tell whether a client has not gone."""
    return request.transport is not None


def _mark_failure_reported(request: web.Request, job: Job) -> None:
    """Note that a failure is being told, if anybody is there to be told."""
    job.failure_reported = job.failure_reported or _is_connected(request)


def _error_event(error: ImageError) -> bytes:
    data = orjson.dumps({"type": "error", "error": error.to_dict()})
    return b"event: error\ndata: %b\n\n" % data


def _still_working_error(job: Job, seconds: float) -> GatewayError:
    error = GatewayError(
        f"The picture is still being made after {seconds:g} seconds. Ask again with the same "
        "request, marked as a retry, to get it: it is paid for once.",
        status=504,
        code="still_working",
    )
    error.headers = {"x-should-retry": "true", "retry-after": "1", "x-easel-job": job.id}
    return error


def _with_job_header(job: Job, failure: BaseException) -> BaseException:
    """Give what a job failed with, for one more client to be told."""
    if not isinstance(failure, ImageError):
        return failure  # Its traceback is for the log.
    set_headers(failure, {"x-easel-job": job.id})
    return failure


def _abort_connection(request: web.Request, code: str) -> None:
    """End a body that has begun and cannot be finished: by cutting the connection."""
    request[ERROR_CODE] = code
    if request.transport:
        request.transport.abort()
