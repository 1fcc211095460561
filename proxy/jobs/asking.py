"""GET and DELETE /v1/images/jobs/{id}: asking later for a picture that was ordered before."""

from __future__ import annotations

from aiohttp import web

from proxy.errors import GatewayError
from proxy.jobs.answering import accepted, listen
from proxy.jobs.registry import Job
from proxy.keys import CALLER, JOB, JOBS


async def collect(request: web.Request) -> web.StreamResponse:
    """Answer 202 while a job runs, then with its very answer."""
    job = _own(request)
    return await listen(request, job) if job.tape.ended else accepted(job)


async def cancel(request: web.Request) -> web.Response:
    """Cancel a job, or forget what it made."""
    job = _own(request)
    request.app[JOBS].forget(job)
    return web.Response(status=204, headers={"x-easel-job": job.id})


def _own(request: web.Request) -> Job:
    """Give the caller's own job; another caller's is not there."""
    job = request.app[JOBS].of(request[CALLER].name, request.match_info["id"])
    if job is None:
        raise GatewayError(
            "There is no such job: it was never yours, or was collected or given up long ago.",
            status=404,
            type="invalid_request_error",
            code="job_not_found",
        )
    request[JOB] = job
    return job
