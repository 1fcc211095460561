"""GET and DELETE /v1/images/jobs/{id}: collect the response of an earlier request, or cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.context import CALLER
from proxy.errors import GatewayError
from proxy.jobs.delivery import accepted_response, deliver, status_response
from proxy.jobs.job import Job, JobKey
from proxy.jobs.keys import JOB, JOB_CLUSTER, JOBS
from proxy.jobs.recording import Recording

if TYPE_CHECKING:
    from proxy.jobs.directory import Lookup


async def get_job(request: web.Request) -> web.StreamResponse:
    """Respond with 202 while a job runs, then with its recorded response."""
    caller, job_id = request[CALLER].name, request.match_info["id"]
    job = request.app[JOBS].get_for_caller(caller, job_id)
    if job is None:
        found = await _lookup_in_cluster(request)
        if found.record.state == "running" and found.owner_alive:
            return status_response(job_id, found.record.created_at)
        job = _mirror_job(request, found)
        await job.recording.wait_for_head()
    request[JOB] = job
    return (
        await deliver(request, job)
        if job.recording.head or job.recording.ended
        else accepted_response(job)
    )


async def delete_job(request: web.Request) -> web.Response:
    """Cancel a running job, or delete the response of a finished one."""
    caller, job_id = request[CALLER].name, request.match_info["id"]
    cluster = request.app[JOB_CLUSTER]
    if job := request.app[JOBS].get_for_caller(caller, job_id):
        request[JOB] = job
        request.app[JOBS].remove(job)
        if cluster:
            await cluster.delete(job)
    else:
        found = await _lookup_in_cluster(request)
        if cluster:
            await cluster.cancel(found)
    return web.Response(status=204, headers={"x-easel-job": job_id})


def _mirror_job(request: web.Request, found: Lookup) -> Job:
    """Start a job that mirrors the response of another process's job."""
    cluster, record = request.app[JOB_CLUSTER], found.record
    assert cluster is not None  # noqa: S101 - `found` came from it

    async def follow(_: Recording) -> None:
        await cluster.mirror(job, found.job_id)

    job = request.app[JOBS].start(JobKey(record.caller, record.digest), follow)
    return job


async def _lookup_in_cluster(request: web.Request) -> Lookup:
    """Return the caller's job of another process; raises a 404 if there is none."""
    cluster = request.app[JOB_CLUSTER]
    found = None
    if cluster:
        found = await cluster.look_up(request[CALLER].name, request.match_info["id"])
    if found is None:
        raise GatewayError(
            "Job not found. It does not exist, belongs to another API key, or has expired.",
            status=404,
            type="invalid_request_error",
            code="job_not_found",
        )
    return found
