"""The label values of the metrics. No text from a client or a provider becomes a label."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from adapters.contract import Adapter
from adapters.errors import ImageError, ProviderError, Refusal
from proxy.errors import BlobStoreFailed, CacheUnavailable, GatewayError, Overloaded, Unauthorized
from proxy.http.status import INTERNAL_SERVER_ERROR, TOO_MANY_REQUESTS, is_client_error
from proxy.routing.plan import Target

NONE, OTHER = "none", "other"
OK, ACCEPTED, DRY_RUN, CUT, CLIENT_GONE = "ok", "accepted", "dry_run", "cut", "client_gone"
CANCELLED, GATEWAY_ERROR = "cancelled", "gateway_error"
OUTCOMES = (
    *(OK, ACCEPTED, DRY_RUN),
    *("client_error", "unauthorized", "refused", "rate_limited", "overloaded"),
    *("timeout", "provider_error", GATEWAY_ERROR, CUT, CLIENT_GONE),
)
"""The outcomes of a request."""
ATTEMPT_RESULTS = (*OUTCOMES[:1], *OUTCOMES[3:-2], CANCELLED)
"""The results of an attempt."""

CACHE_STATUSES: Mapping[str, str] = {"HIT": "HIT", "MISS": "MISS", "REFRESH": "REFRESH"}
"""The cache statuses that become labels; any other becomes `none`."""
STATUS_CLASSES = (NONE, NONE, "2xx", "3xx", "4xx", "5xx")
"""Classes of HTTP statuses, indexed by first digit."""

_TIMEOUTS = frozenset({408, 504, 524})
_CREDENTIAL_STATUSES = frozenset({401, 402, 403})
"""Provider statuses about the operator's credential or account: not the client's fault."""
_GATEWAY_FAULTS = (BlobStoreFailed, CacheUnavailable)


def model_family(adapter: Adapter, model: str) -> str:
    """Return a model's family as its adapter declares it, else `other`; `none` without a model."""
    if not model:
        return NONE
    known, starts = _declared_families(adapter)
    if found := known.get(model):
        return found
    for start, family in starts:
        if model.startswith(start):
            return family
    return OTHER


def target_family(target: Target, named: str) -> str:
    """Return the family of the model that a target uses for a request that named `named`."""
    return model_family(target.adapter, target.adapter.effective_model(named, target.credentials))


@cache
def _declared_families(adapter: Adapter) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """Return the families of models known by name, and of prefixes, in order."""
    several = [
        (start,) if isinstance(start, str) else start for start, _ in adapter.tables_by_model
    ]
    every = [start for starts in several for start in starts if start]
    starts = tuple((start, start.rstrip("-./:@_") or start) for start in every)
    known = {
        model: next((name for start, name in starts if model.startswith(start)), model)
        for model in adapter.models
    }
    return known, starts


def error_outcome(error: ImageError) -> str:
    """Return the outcome of a request that failed.

    >>> from adapters.errors import Refusal
    >>> error_outcome(Refusal("No.")), error_outcome(ProviderError("Down.", provider_status=500))
    ('refused', 'provider_error')
    """
    if isinstance(error, GatewayError):
        return _gateway_error_outcome(error)
    if isinstance(error, Refusal):
        return "refused"
    status = error.status
    if isinstance(error, ProviderError) and error.provider_status in _CREDENTIAL_STATUSES:
        return "provider_error"
    return _status_outcome(status)


def _gateway_error_outcome(error: GatewayError) -> str:
    """Return the outcome of an error that the gateway raised itself."""
    if isinstance(error, Unauthorized):
        return "unauthorized"
    if isinstance(error, Overloaded):
        return "overloaded"
    if error.type == "invalid_request_error":
        return "client_error"
    if isinstance(error, _GATEWAY_FAULTS) or error.status == INTERNAL_SERVER_ERROR:
        return GATEWAY_ERROR
    return _status_outcome(error.status)


def _status_outcome(status: int) -> str:
    if status == TOO_MANY_REQUESTS:
        return "rate_limited"
    if status in _TIMEOUTS:
        return "timeout"
    return "client_error" if is_client_error(status) else "provider_error"
