"""Cache keys: a digest of everything that can change the response."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from proxy.routing.plan import Plan, Target

_DELIVERY_PARAMS = frozenset({"response_format", "stream", "partial_images"})
"""Parameters that change how images are delivered, but not the images."""


def cache_key(
    caller: str, plan: Plan, target: Target, params: Mapping[str, Any], path: str
) -> bytes:
    """Return the cache key of a target's response to these parameters.

    Different credentials, providers, origins or endpoints never share a key. Callers share one only
    if the cache policy is `shared`.
    """
    policy = target.cache
    shared, pooled = bool(policy and policy.shared), bool(pool_size(target, params))
    excluded = _DELIVERY_PARAMS | {"n"} if pooled else _DELIVERY_PARAMS
    image_params = {name: value for name, value in params.items() if name not in excluded}
    parts = [
        *("shared" if shared else "own", "" if shared else caller, "pool" if pooled else ""),
        *(target.fingerprint, target.adapter.id, target.base_url, path),
        *(target.unsupported_policy.value, plan.cache_namespace),
        *(canonical(plan.metadata), canonical(image_params), canonical(target.lasting_headers)),
    ]
    return digest(parts)


def request_digest(plan: Plan) -> bytes:
    """Return a digest of everything in a request that can change its response."""
    parts = [
        *(plan.caller, plan.pathname, plan.scope, plan.cache_namespace, plan.force_refresh),
        *(plan.params, plan.metadata, plan.root.cache_identity),
    ]
    return hashlib.sha256(canonical(parts)).digest()


def raw_request_digest(path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return the digest of a request's bytes. Header lines cannot contain a newline."""
    head = b"\n".join([part for header in headers for part in header])
    return hashlib.sha256(b"%b\n%b\n\n%b" % (path.encode(), head, body)).digest()


def pool_size(target: Target, params: Mapping[str, Any]) -> int:
    """Return how many images the request takes from the pool of its key; 0 if it uses no pool.

    A request with a seed asks for particular images, so it uses no pool; nor does an invalid `n`.
    """
    n = params.get("n")
    n = 1 if n is None else n
    pooled = target.cache is not None and target.cache.pool and params.get("seed") is None
    return n if pooled and type(n) is int and n > 0 else 0


def digest(parts: Iterable[str | bytes]) -> bytes:
    """Return the SHA-256 of all parts, each prefixed with its length to keep them apart."""
    sha256 = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        sha256.update(b"%d:" % len(data))
        sha256.update(data)
    return sha256.digest()


def canonical(value: Any) -> bytes:
    """Return a value as JSON bytes, the same for equal values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
