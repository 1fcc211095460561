"""Application and request keys of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from proxy.jobs.cluster import JobCluster
    from proxy.jobs.job import Job
    from proxy.jobs.store import JobStore

JOBS: web.AppKey[JobStore] = web.AppKey("jobs")
"""The job store."""
JOB_CLUSTER: web.AppKey[JobCluster | None] = web.AppKey("sharing")
"""Jobs shared with other processes; None if this process is alone."""
JOB: web.RequestKey[Job] = web.RequestKey("job")
"""The job that answers a request. Set by the jobs middleware and the jobs endpoint."""
