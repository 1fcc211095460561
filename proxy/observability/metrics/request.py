"""Records one client request in the metrics, once it has ended."""

from __future__ import annotations

from typing import Any

from aiohttp import EMPTY_PAYLOAD, hdrs, web

import adapters
from proxy.context import ATTEMPT, ERROR_CODE, JOIN_STATUS, METRIC_OUTCOME, PLAN, TIMELINE
from proxy.http import status as http_status
from proxy.observability.metrics.labels import (
    ACCEPTED,
    CACHE_STATUSES,
    CLIENT_GONE,
    CUT,
    DRY_RUN,
    NONE,
    OK,
    STATUS_CLASSES,
    model_family,
    target_family,
)
from proxy.observability.metrics.registry import Metrics

IMAGE_ROUTES = frozenset({"/v1/images/generations", "/images/generations"})
"""The routes that generate images."""

_PROVIDER_IDS = frozenset(adapters.PROVIDERS)

State = dict[Any, Any]
"""The request's state: what the middlewares stored under `RequestKey`s."""


def record_request(
    metrics: Metrics,
    request: web.Request,
    response: web.StreamResponse | None,
    ended: float,
    *,
    has_job: bool,
) -> None:
    """Record a request that ended at `ended` (`time.perf_counter`).

    Without a response its connection was cut, by us or by the client.
    """
    resource = request.match_info.route.resource
    path = NONE if resource is None else resource.canonical
    status = response.status if response is not None else 0
    metrics.http_requests.add((path, STATUS_CLASSES[min(status // 100, 5)]))
    metrics.request_bytes.add((), bytes_in(request))
    metrics.answer_bytes.add((), bytes_out(request, response))
    if path in IMAGE_ROUTES and request.method == hdrs.METH_POST:
        # `request.get` of an absent key raises internally, which is slow.
        _record_image_request(metrics, request._state, response, ended, has_job=has_job)  # noqa: SLF001 - see above


def _record_image_request(
    metrics: Metrics,
    state: State,
    response: web.StreamResponse | None,
    ended: float,
    *,
    has_job: bool,
) -> None:
    outcome = _outcome(state, response)
    provider, family, cache = _request_labels(state, response)
    metrics.requests.add((provider, family, outcome, cache))
    if outcome == DRY_RUN:
        return
    trail = state[TIMELINE]
    metrics.request_seconds.observe(ended - trail.arrived_at, (provider, outcome, cache))
    if response is not None:
        # A complete response is sent right after this.
        headed = trail.first_byte_at or ended
        metrics.first_byte_seconds.observe(headed - trail.arrived_at, (provider, cache))
    if trail.first_upstream_at:
        metrics.queue_seconds.observe(trail.first_upstream_at - trail.arrived_at)
    if joined := state.get(JOIN_STATUS):
        metrics.joined.add((joined,))
    elif has_job:
        metrics.jobs_begun.add()


def _outcome(state: State, response: web.StreamResponse | None) -> str:
    """Return the outcome of a request."""
    plan = state.get(PLAN)
    if plan and plan.dry_run:
        return DRY_RUN
    if outcome := state.get(METRIC_OUTCOME):
        return str(outcome)
    if failure := state.get(ERROR_CODE):
        return CLIENT_GONE if failure == CLIENT_GONE else CUT
    if response is None:
        return CLIENT_GONE
    return ACCEPTED if response.status == http_status.ACCEPTED else OK


def _request_labels(state: State, response: web.StreamResponse | None) -> tuple[str, str, str]:
    """Return the provider, the model family and the cache status.

    A request that joined a job has no attempt of its own: its response's headers say it.
    """
    if attempt := state.get(ATTEMPT):
        target = attempt.target
        family = target_family(target, attempt.model)
        return target.adapter.id, family, CACHE_STATUSES.get(attempt.cache_status, NONE)
    headers = {} if response is None else response.headers
    provider, plan = headers.get("x-portkey-provider", ""), state.get(PLAN)
    if provider not in _PROVIDER_IDS or plan is None:
        return NONE, NONE, NONE
    named = plan.params.get("model")
    family = model_family(adapters.get_adapter(provider), named if isinstance(named, str) else "")
    return provider, family, CACHE_STATUSES.get(headers.get("x-portkey-cache-status", ""), NONE)


def bytes_in(request: web.Request) -> int:
    """Return how many bytes of its body the client has sent (before decompression)."""
    content = request.content
    return 0 if content is EMPTY_PAYLOAD else content.total_raw_bytes


def bytes_out(request: web.Request, response: web.StreamResponse | None) -> int:
    """Return the bytes of a response; of a streamed one, those sent so far.

    A complete response is sent right after this. For a streamed one, headers and framing count.
    """
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(body, bytes):
        return len(body)
    return int(request._payload_writer.output_size)  # noqa: SLF001 - aiohttp has no public way
