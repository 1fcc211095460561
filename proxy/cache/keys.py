"""The key of an answer: everything that may make it another one, in one digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from proxy.routing.plan import Plan, Target

_DELIVERY_PARAMS = frozenset({"response_format", "stream", "partial_images"})
"""Parameters that say in which form a picture comes, and not which picture it is."""


def cache_key(
    caller: str, plan: Plan, target: Target, params: Mapping[str, Any], path: str
) -> bytes:
    """Give the key of an answer.

    Two credentials, providers, origins or endpoints never share an answer; two callers do only
    where the config says so.
    """
    policy = target.cache
    shared, pooled = bool(policy and policy.shared), bool(pool_size(target, params))
    excluded = _DELIVERY_PARAMS | {"n"} if pooled else _DELIVERY_PARAMS
    image_params = {name: value for name, value in params.items() if name not in excluded}
    parts = [
        *("shared" if shared else "own", "" if shared else caller, "pool" if pooled else ""),
        *(target.fingerprint, target.adapter.id, target.base_url, path),
        *(target.unsupported_policy.value, plan.cache_namespace),
        *(canonical(plan.metadata), canonical(image_params)),
    ]
    return digest(parts)


def request_digest(plan: Plan) -> bytes:
    """Give the digest of all that may make the answer to a request another one."""
    parts = [
        *(plan.caller, plan.pathname, plan.scope, plan.cache_namespace, plan.force_refresh),
        *(plan.params, plan.metadata, plan.root.cache_identity),
    ]
    return hashlib.sha256(canonical(parts)).digest()


def raw_request_digest(path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Give the digest of a request as it came; no line of a head holds the end of one."""
    head = b"\n".join([part for header in headers for part in header])
    return hashlib.sha256(b"%b\n%b\n\n%b" % (path.encode(), head, body)).digest()


def pool_size(target: Target, params: Mapping[str, Any]) -> int:
    """Tell how many pictures are asked for of a pool; 0 where the answer is one for itself.

    A seed asks for certain pictures, so they are in no pool; neither is what is no number.
    """
    n = params.get("n")
    n = 1 if n is None else n
    pooled = target.cache is not None and target.cache.pool and params.get("seed") is None
    return n if pooled and type(n) is int and n > 0 else 0


def digest(parts: Iterable[str | bytes]) -> bytes:
    """Give one digest of parts, each with its length before it: none runs over into the next."""
    sha256 = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        sha256.update(b"%d:" % len(data))
        sha256.update(data)
    return sha256.digest()


def canonical(value: Any) -> bytes:
    """Write a value so that equal ones are written alike."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
