"""Which headers the gateway passes on: the client's to a provider, and a provider's to the client.

Also the `Via` header, which detects a custom host that leads back to a gateway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from multidict import CIMultiDict

from proxy.errors import BadRequest

HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers that belong to one connection: RFC 9110, 7.6.1."""

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_NEVER_FORWARDED = HOP_BY_HOP | {
    # They frame the message, or are written by the gateway itself.
    *("host", "content-length", "content-encoding", "content-type", "expect"),
    *("accept-encoding", "cookie", "http2-settings"),
    # They name the client of a proxy; a provider has no use for the address of the gateway's.
    *("forwarded", "x-real-ip"),
    # They unlock cloud metadata services.
    *("metadata", "metadata-flavor", "x-google-metadata-request"),
    *("x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"),
}
_NEVER_FORWARDED_PREFIXES = ("x-portkey-", "x-forwarded-")

_NEVER_RELAYED = HOP_BY_HOP | {
    # They describe the provider's own site.
    *("set-cookie", "server", "date", "alt-svc", "strict-transport-security", "via", "nel"),
    *("report-to", "content-security-policy", "clear-site-data"),
    # A browser, or a cache in front of the gateway, would obey them.
    *("refresh", "link", "www-authenticate", "surrogate-control", "service-worker-allowed"),
    *("x-litespeed-location", "edge-control", "cdn-cache-control", "content-location", "location"),
}
_NEVER_RELAYED_PREFIXES = (
    *("x-portkey-", "x-easel-", "access-control-", "cf-"),
    # A web server in front of the gateway would obey them, and serve its own files.
    *("x-accel-", "x-sendfile", "x-lighttpd-", "x-reproxy-", "x-litespeed-", "x-archive-"),
    *("surrogate-", "x-varnish-", "x-esi-", "x-rewrite-", "x-original-"),
)
_BODY_HEADERS = frozenset(
    {"content-type", "content-length", "content-encoding", "etag", "last-modified"}
    | {"accept-ranges", "content-disposition", "content-md5", "digest", "age", "expires", "vary"}
)
_CACHED_NAME_LENGTH = 64
"""Longest header name, in characters, whose rule is cached."""
_ALWAYS, _WITH_BODY, _NEVER = "always", "with body", ""

_VIA_NAME = "easel"
_MAX_HOPS = 4


def forward_headers(
    names: Iterable[str], headers: Mapping[str, str], *, bearer_is_gateway_key: bool
) -> dict[str, str]:
    """Return the named headers of a client request; raise `BadRequest` for a forbidden one.

    With `bearer_is_gateway_key` the Authorization header holds a gateway key, which is never sent
    to a provider.
    """
    picked: dict[str, str] = {}
    named_by_connection = connection_headers(headers)
    for name in (name.strip().lower() for name in names):
        if not name:
            continue
        if is_forbidden(name) or (name == "authorization" and bearer_is_gateway_key):
            shown = name if _NAME.fullmatch(name) else "with an invalid name"
            raise BadRequest(
                f"The header {shown} may not be forwarded to a provider.",
                code="invalid_forward_header",
                param="x-portkey-forward-headers",
                legacy=_legacy_message(name),
            )
        if name in headers and name not in named_by_connection:
            picked[name] = headers[name]
    return picked


def relay_headers(
    headers: Mapping[str, str], secrets: frozenset[str] = frozenset(), *, with_body: bool
) -> CIMultiDict[str]:
    """Return the provider's response headers for the client.

    With `with_body` the body is relayed unchanged, and so are the headers that describe it. A
    header that repeats one of the `secrets`, or is not printable, is dropped.
    """
    named_by_connection = connection_headers(headers) if "connection" in headers else ()
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (rule := _relay_rule(name)) != _NEVER
        and (with_body or rule == _ALWAYS)
        and value.replace("\t", " ").isprintable()
        and not any(secret in value for secret in secrets)
        and not (named_by_connection and name.lower() in named_by_connection)
    )


def _relay_rule(name: str) -> str:
    if len(name) > _CACHED_NAME_LENGTH:
        return _cached_relay_rule.__wrapped__(name)
    return _cached_relay_rule(name)


@lru_cache(4096)
def _cached_relay_rule(name: str) -> str:
    lower = name.lower()
    if lower in _NEVER_RELAYED or lower.startswith(_NEVER_RELAYED_PREFIXES):
        return _NEVER
    return _WITH_BODY if lower in _BODY_HEADERS else _ALWAYS


def gateway_hops(headers: Mapping[str, str]) -> int:
    """Return how many Easel gateways a request has passed; raise `BadRequest` for a loop.

    `headers` must be case-insensitive.

    >>> gateway_hops({"via": "1.1 easel, 1.1 nginx, 1.1 easel"})
    2
    """
    if "via" not in headers:
        return 0
    lines = [value for name, value in headers.items() if name.lower() == "via"]
    count = sum(it.split()[1:2] == [_VIA_NAME] for line in lines for it in line.split(","))
    if count > _MAX_HOPS:
        raise BadRequest(
            f"Request loop: this request has passed more than {_MAX_HOPS} Easel gateways. "
            "A custom host (x-portkey-custom-host) or base URL leads back to a gateway.",
            status=508,
            code="loop_detected",
        )
    return count


def via_header(hops: int) -> str:
    """Return the `Via` header for a request that has passed `hops` gateways before this one.

    >>> via_header(1)
    '1.1 easel, 1.1 easel'
    """
    return ", ".join([f"1.1 {_VIA_NAME}"] * (hops + 1))


def connection_headers(headers: Mapping[str, str]) -> set[str]:
    """Return the lower-case names listed in `Connection`; they are hop-by-hop (RFC 9110, 7.6.1).

    >>> connection_headers({"Connection": "close, X-Tenant"}) == {"close", "x-tenant"}
    True
    """
    lines = [value for name, value in headers.items() if name.lower() == "connection"]
    return {name.strip().lower() for line in lines for name in line.split(",")}


def is_forbidden(name: str) -> bool:
    """Return whether a header of this lower-case name may never be forwarded.

    >>> is_forbidden("x-portkey-api-key"), is_forbidden("x-tenant")
    (True, False)
    """
    if not _NAME.fullmatch(name):
        return True
    return name in _NEVER_FORWARDED or name.startswith(_NEVER_FORWARDED_PREFIXES)


def _legacy_message(name: str) -> str:
    if name != "x-portkey-forward-headers":
        return ""
    return "forward_headers must not contain the 'x-portkey-forward-headers' header"
