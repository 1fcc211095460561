"""Delivery of a job's response to the client that started, joined or collects the job.

A client gets the recorded response from its first byte on, in one write if it is short. A failure
after the first byte aborts the connection, so that no client takes a part for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import orjson
from aiohttp import hdrs, web

from adapters.errors import ImageError
from proxy.context import ERROR_CODE, METRIC_OUTCOME, TRACE_ID
from proxy.errors import (
    GatewayError,
    error_body,
    error_event,
    log_code,
    set_headers,
    to_client_error,
)
from proxy.http.status import is_success
from proxy.jobs.job import Job
from proxy.jobs.recording import RecordingTruncated
from proxy.observability.metrics.labels import error_outcome
from proxy.reload.snapshot import SNAPSHOT

CLIENT_GONE = "client_gone"
"""Error code of a response that was aborted because the client disconnected."""
JOB_PATH = "/v1/images/jobs/{id}"
JSON_TYPE, EVENT_STREAM_TYPE = "application/json", "text/event-stream"
"""The content types of image responses."""

_KEEPALIVE_FILLERS = {JSON_TYPE: b" ", EVENT_STREAM_TYPE: b": keep-alive\n\n"}
"""Keep-alive filler per content type: bytes without meaning before the response."""


def accepted_response(job: Job) -> web.Response:
    """Return a 202 response with the job's status and the URL to collect it from."""
    return status_response(job.id, job.created_at, job.status, job.progress())


def status_response(
    job_id: str, created_at: float, status: str = "running", progress: float | None = None
) -> web.Response:
    """Return the same for a job of another process. `created_at` in seconds since the epoch."""
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
    """Send a job's response from its first byte on; raise the job's failure.

    With `keepalive`, a response that has not started after that many seconds is begun as a 200 and
    kept open with filler. A failure after that can only be reported in its body.
    """
    with job.subscribe(partial(is_connected, request)):
        is_early = await _must_begin_early(request, job, keepalive)
        if not (is_early or job.recording.ended):
            # A response that is written at once has ended in the next turn: send it in one write.
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
                chunks = _body_chunks(job)
                if is_early:
                    chunks = _chunks_with_keepalive(request, job, response, keepalive)
                async with aclosing(chunks):
                    async for chunk in chunks:
                        await response.write(chunk)
                        del chunk  # Free it once it is sent or spilled: see `Recording.chunks`.
            _record_error_event(request, job)
        except ConnectionError:  # aiohttp's own, or that of a slow reader's timeout
            _abort_connection(request, CLIENT_GONE)
        except asyncio.CancelledError:
            request[ERROR_CODE] = CLIENT_GONE
            raise
        except RecordingTruncated:
            _abort_connection(request, request.get(ERROR_CODE) or "cut")
    return response


async def _must_begin_early(request: web.Request, job: Job, keepalive: float) -> bool:
    """Wait until a job's response starts; raise a 504 after `jobs.wait_seconds`.

    Returns True if it has not started after `keepalive` seconds, once a target has accepted the
    request: then a response must begin early.
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
    """Wait until a job's response starts or the job ends; return False if that takes longer.

    0 seconds: no limit.
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
    """Return the response to send; raise the job's failure instead if it has failed."""
    if job.recording.failure is not None:
        # Also after a part was recorded: report the failure instead of sending the part.
        _mark_failure_reported(request, job)
        raise _with_job_header(job, job.recording.failure)
    head = job.recording.head
    assert head is not None  # noqa: S101 - a recording without a head ends in a failure
    response: web.StreamResponse
    if (body := job.recording.short_body) is not None:
        # Sent in one packet; aiohttp does not enforce a wrong Content-Length.
        response = web.Response(status=head.status, headers=head.headers, body=body)
        response.headers[hdrs.CONTENT_LENGTH] = str(len(body))
    else:
        response = web.StreamResponse(status=head.status, headers=head.headers)
    response.headers["x-easel-job"] = job.id
    return response


def _begin_early_response(job: Job) -> web.StreamResponse:
    """Return a response to begin before the job's own, as if that were to be a success."""
    response = web.StreamResponse()
    response.content_type = job.content_type
    response.headers["x-easel-job"] = job.id
    response.headers["cache-control"] = "no-cache"
    # nginx, by default an HTTP/1.0 client, would buffer so short a body.
    response.headers["x-accel-buffering"] = "no"
    return response


async def _body_chunks(job: Job) -> AsyncGenerator[bytes, None]:
    """Yield the body, and count the delivery at its end."""
    async with aclosing(job.recording.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
            del chunk
    if job.recording.failure is None:
        job.deliveries += 1


async def _chunks_with_keepalive(
    request: web.Request, job: Job, response: web.StreamResponse, seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield filler every `seconds` until the response starts or fails, then that."""
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
    yield error_event(error) if content_type == EVENT_STREAM_TYPE else error_body(error)


def _failure_after_start(request: web.Request, job: Job, content_type: str) -> BaseException | None:
    """Return the failure to report in a body that has begun with `content_type`, if any."""
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
        "The response has a different content type than the keep-alive response that had begun. "
        f"Collect it at {JOB_PATH.replace('{id}', job.id)}.",
        code="other_form",
    )


def _record_error_event(request: web.Request, job: Job) -> None:
    """Record the failure of a job whose body ends with an event that reports it, if it does."""
    failure = job.recording.failure
    if isinstance(failure, ImageError):
        _mark_failure_reported(request, job)
        request[ERROR_CODE], request[METRIC_OUTCOME] = log_code(failure), error_outcome(failure)


def is_connected(request: web.Request) -> bool:
    """Whether the client of a request is still connected."""
    return request.transport is not None and not request.transport.is_closing()


def _mark_failure_reported(request: web.Request, job: Job) -> None:
    """Record that a failure is reported, if the client is still connected."""
    job.failure_reported = job.failure_reported or is_connected(request)


def _still_working_error(job: Job, seconds: float) -> GatewayError:
    error = GatewayError(
        f"The image is still in progress after {seconds:g} seconds. Retry the same request, "
        "marked as a retry, to get it: it is paid for once.",
        status=504,
        code="still_working",
    )
    error.headers = {"x-should-retry": "true", "retry-after": "1", "x-easel-job": job.id}
    return error


def _with_job_header(job: Job, failure: BaseException) -> BaseException:
    """Return a job's failure with the header that names the job."""
    if not isinstance(failure, ImageError):
        return failure  # A bug: its traceback goes to the log.
    set_headers(failure, {"x-easel-job": job.id})
    return failure


def _abort_connection(request: web.Request, code: str) -> None:
    """Abort the connection of a response that has begun and cannot be completed."""
    request[ERROR_CODE] = code
    if request.transport:
        request.transport.abort()
