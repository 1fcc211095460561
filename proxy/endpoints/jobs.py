"""GET and DELETE /v1/images/jobs/{id}: asking later for a picture that was ordered before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.context import CALLER
from proxy.errors import GatewayError
from proxy.jobs.delivery import accepted, listen, under_way
from proxy.jobs.job import Job, JobKey
from proxy.jobs.keys import JOB, JOB_CLUSTER, JOBS
from proxy.jobs.recording import Tape

if TYPE_CHECKING:
    from proxy.jobs.directory import Seen


async def get_job(request: web.Request) -> web.StreamResponse:
    """Answer 202 while a job runs, then with its very answer."""
    caller, name = request[CALLER].name, request.match_info["id"]
    job = request.app[JOBS].of(caller, name)
    if job is None:
        seen = await _lookup_in_cluster(request)
        if seen.record.state == "running" and seen.alive:
            return under_way(name, seen.record.began)
        job = _mirror_job(request, seen)
        await job.tape.wait_for_head()
    request[JOB] = job
    return await listen(request, job) if job.tape.head or job.tape.ended else accepted(job)


async def delete_job(request: web.Request) -> web.Response:
    """Cancel a job, or forget what it made."""
    caller, name = request[CALLER].name, request.match_info["id"]
    sharing = request.app[JOB_CLUSTER]
    if job := request.app[JOBS].of(caller, name):
        request[JOB] = job
        request.app[JOBS].forget(job)
        if sharing:
            await sharing.erase(job)
    else:
        seen = await _lookup_in_cluster(request)
        if sharing:
            await sharing.cancel(seen)
    return web.Response(status=204, headers={"x-easel-job": name})


def _mirror_job(request: web.Request, seen: Seen) -> Job:
    """Begin a job that gets the answer of another process's."""
    sharing, record = request.app[JOB_CLUSTER], seen.record
    assert sharing is not None  # noqa: S101 - it has seen the job

    async def follow(_: Tape) -> None:
        await sharing.follow(job, seen.name)

    job = request.app[JOBS].begin(JobKey(record.caller, record.digest), follow)
    return job


async def _lookup_in_cluster(request: web.Request) -> Seen:
    """Give the caller's own job of another process; another caller's is not there."""
    sharing = request.app[JOB_CLUSTER]
    seen = None
    if sharing:
        seen = await sharing.found(request[CALLER].name, request.match_info["id"])
    if seen is None:
        raise GatewayError(
            "There is no such job: it was never yours, or was collected or given up long ago.",
            status=404,
            type="invalid_request_error",
            code="job_not_found",
        )
    return seen
