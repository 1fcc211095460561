"""What one request of a client's adds to the metrics, once it has ended."""

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
"""The routes at which pictures are asked for."""

_PROVIDER_IDS = frozenset(adapters.PROVIDERS)

State = dict[Any, Any]
"""What the links have left of a request."""


def record_request(
    metrics: Metrics,
    request: web.Request,
    response: web.StreamResponse | None,
    ended: float,
    *,
    has_job: bool,
) -> None:
    """Count a request that ended at a time; without a response it was cut or left."""
    resource = request.match_info.route.resource
    path = NONE if resource is None else resource.canonical
    status = response.status if response is not None else 0
    metrics.http_requests.add((path, STATUS_CLASSES[min(status // 100, 5)]))
    metrics.request_bytes.add((), bytes_in(request))
    metrics.answer_bytes.add((), bytes_out(request, response))
    if path in IMAGE_ROUTES and request.method == hdrs.METH_POST:
        # What is not there costs a request's own `get` an exception.
        _record_image_request(metrics, request._state, response, ended, has_job=has_job)  # noqa: SLF001 - see above


def _record_image_request(
    metrics: Metrics,
    left: State,
    response: web.StreamResponse | None,
    ended: float,
    *,
    has_job: bool,
) -> None:
    outcome = _outcome(left, response)
    provider, family, cache = _request_labels(left, response)
    metrics.requests.add((provider, family, outcome, cache))
    if outcome == DRY_RUN:
        return
    trail = left[TIMELINE]
    metrics.request_seconds.observe(ended - trail.arrived, (provider, outcome, cache))
    if response is not None:
        # What is all there goes right after this.
        headed = trail.headed or ended
        metrics.first_byte_seconds.observe(headed - trail.arrived, (provider, cache))
    if trail.asked:
        metrics.queue_seconds.observe(trail.asked - trail.arrived)
    if joined := left.get(JOIN_STATUS):
        metrics.joined.add((joined,))
    elif has_job:
        metrics.jobs_begun.add()


def _outcome(left: State, response: web.StreamResponse | None) -> str:
    """Tell what became of a request."""
    plan = left.get(PLAN)
    if plan and plan.dry_run:
        return DRY_RUN
    if outcome := left.get(METRIC_OUTCOME):
        return str(outcome)
    if failure := left.get(ERROR_CODE):
        return CLIENT_GONE if failure == CLIENT_GONE else CUT
    if response is None:
        return CLIENT_GONE
    return ACCEPTED if response.status == http_status.ACCEPTED else OK


def _request_labels(left: State, response: web.StreamResponse | None) -> tuple[str, str, str]:
    """Tell the provider, the model's family and what the cache said.

    Of a request that joined a job, its answer tells: the attempt was another request's.
    """
    if attempt := left.get(ATTEMPT):
        target = attempt.target
        family = target_family(target, attempt.model)
        return target.adapter.id, family, CACHE_STATUSES.get(attempt.cache_status, NONE)
    headers = {} if response is None else response.headers
    provider, plan = headers.get("x-portkey-provider", ""), left.get(PLAN)
    if provider not in _PROVIDER_IDS or plan is None:
        return NONE, NONE, NONE
    named = plan.params.get("model")
    family = model_family(adapters.get_adapter(provider), named if isinstance(named, str) else "")
    return provider, family, CACHE_STATUSES.get(headers.get("x-portkey-cache-status", ""), NONE)


def bytes_in(request: web.Request) -> int:
    """Give how many bytes of its body a client has sent, as they came."""
    content = request.content
    return 0 if content is EMPTY_PAYLOAD else content.total_raw_bytes


def bytes_out(request: web.Request, response: web.StreamResponse | None) -> int:
    """Give how many bytes an answer has; of one that goes in pieces, how many have gone.

    Those that are all there go right after this. With the pieces, their head and framing counts.
    """
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(body, bytes):
        return len(body)
    return int(request._payload_writer.output_size)  # noqa: SLF001 - aiohttp has no public way
