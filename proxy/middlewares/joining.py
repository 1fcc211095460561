"""A request becomes a job, or joins the one that it asked for before.

The job goes on when its client leaves; whoever waits for it gets its answer from the first byte on.
"""

from __future__ import annotations

import hashlib

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.cache.naming import canonical
from proxy.incoming import is_untracked, prefers_async, read_idempotency_key
from proxy.jobs.answering import accepted, listen
from proxy.jobs.registry import Asked, untold
from proxy.jobs.staging import play, staged
from proxy.jobs.tape import Tape
from proxy.keys import ATTEMPT, CALLER, FAILURE, JOB, JOBS, JOINED, PLAN
from proxy.plan import Branch, Node, Plan, Target


@web.middleware
async def joining(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Begin or find the job, and answer with what it comes to."""
    if request[PLAN].dry_run:
        return await handler(request)
    jobs, asked = request.app[JOBS], asked_of(request)
    job = jobs.found(asked)
    if job is None:
        job = jobs.begin(asked, lambda tape: _played(request, tape, handler))
    else:
        request[JOINED] = job.status
    request[JOB] = job
    if prefers_async(request.headers):
        return accepted(job)
    return await listen(request, job, request[PLAN].keepalive)


async def _played(request: web.Request, tape: Tape, handler: Handler) -> None:
    stage, job = staged(request, tape), request[JOB]
    job.progress = lambda: stage[ATTEMPT].progress if ATTEMPT in stage else None
    try:
        await play(stage, tape, handler)
    finally:
        # A parked job holds on to nothing but its answer.
        job.progress = untold
        # For the access line, and the headers of an error.
        if ATTEMPT in stage:
            request[ATTEMPT] = stage[ATTEMPT]
        if FAILURE in stage:
            request[FAILURE] = stage[FAILURE]


def asked_of(request: web.Request) -> Asked:
    """Tell a request from any other, and whether its client has sent it before."""
    plan, headers = request[PLAN], request.headers
    leaves = _leaves(plan.root)
    return Asked(
        caller=request[CALLER].name,
        digest=_digest_of(plan, leaves),
        key=read_idempotency_key(headers),
        retry=headers.get("x-stainless-retry-count", "0").strip() not in ("", "0"),
        shares=_shares(leaves, untracked=is_untracked(headers)),
    )


def _shares(leaves: list[Target], *, untracked: bool) -> bool:
    """Tell whether an equal request under way is as good, even to one that has not asked before."""
    policies = (leaf.cache for leaf in leaves)
    return any(it and (it.coalesce or (it.keeps and not untracked)) for it in policies)


def _digest_of(plan: Plan, leaves: list[Target]) -> bytes:
    """Give the digest of all that may make an answer another one."""
    said = [
        *(plan.caller, plan.pathname, plan.scope, plan.cache_namespace, plan.force_refresh),
        *(plan.params, plan.metadata),
        *[leaf.identity for leaf in leaves],
    ]
    return hashlib.sha256(canonical(said)).digest()


def _leaves(node: Node) -> list[Target]:
    if isinstance(node, Branch):
        return [leaf for inner in node.nodes for leaf in _leaves(inner)]
    return [node]
