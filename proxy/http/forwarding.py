"""Which headers the gateway passes on: the client's to a provider, and a provider's to the client.

Also the `Via` header, which detects a custom host that leads back to a gateway.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote

from multidict import CIMultiDict

from proxy.errors import BadRequest
from proxy.http.headers import drop_longest

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

_REGISTERS = re.compile("webhook|callback|notify")
_OVERRIDES = frozenset(
    {
        *("x-http-method-override", "x-http-method", "x-method-override"),
        *("x-original-url", "x-rewrite-url", "x-original-uri"),
    }
)
"""Headers that let a server execute another method or path than the one that was sent."""
_NO_CREDENTIAL = re.compile(
    r"traceparent|tracestate|baggage|accept(-.*)?|user-agent|x-stainless-.*|idempotency-key"
)
_OF_ONE_TRY = re.compile(
    r"(x-)?b3(-.*)?|.*trace.*|.*(request|correlation|transaction|span)-?id|x-datadog-.*|newrelic"
    r"|x-amzn-requestid|.*retry.*|.*attempt.*|.*timestamp|date"
)
"""Headers that differ between two tries of one request."""
_CREDENTIAL = re.compile(r".*(auth|cookie|secret|passw|credential|signature).*|.*(key|token)")

_SEPARATORS = re.compile(r"""[\s:,;="'<>()]+""")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{2,}={0,2}")
_STANDARD_BASE64 = str.maketrans("-_", "+/")

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
_MAX_RELAYED_BYTES = 16 * 1024
"""Bytes of a provider's headers that are relayed: a job holds them as long as its response."""
_ALWAYS, _WITH_BODY, _NEVER = "always", "with body", ""

_VIA_NAME = "easel"
_MAX_HOPS = 4


def forward_headers(
    names: Iterable[str], headers: Mapping[str, str], api_keys: Collection[bytes]
) -> dict[str, str]:
    """Return the named headers of a client request; raise `BadRequest` for a forbidden one.

    `api_keys` are the digests of the gateway keys: a value with one of them in it is never sent to
    a provider.
    """
    picked: dict[str, str] = {}
    named_by_connection = connection_headers(headers)
    for name in (name.strip().lower() for name in names):
        if not name:
            continue
        if is_forbidden(name):
            raise _not_forwardable(name)
        if name in headers and name not in named_by_connection:
            if holds_gateway_key(headers[name], api_keys):
                raise _not_forwardable(name, "It holds a gateway API key.")
            picked[name] = headers[name]
    return picked


def credential_headers(forwarded: Mapping[str, str]) -> dict[str, str]:
    """Return the forwarded headers that may be a credential, by lower-case name.

    >>> [*credential_headers({"x-api-key": "k", "traceparent": "00-1", "idempotency-key": "i"})]
    ['x-api-key']
    """
    return {name: value for name, value in forwarded.items() if _is_credential(name)}


def lasting_headers(forwarded: Mapping[str, str]) -> dict[str, str]:
    """Return the forwarded headers without those that belong to one try of a request.

    >>> [*lasting_headers({"x-tenant": "t", "x-request-id": "1", "user-agent": "sdk/2"})]
    ['x-tenant']
    """
    return {
        name: value
        for name, value in forwarded.items()
        if _is_credential(name)
        or not (_NO_CREDENTIAL.fullmatch(name) or _OF_ONE_TRY.fullmatch(name))
    }


def _is_credential(name: str) -> bool:
    return bool(_CREDENTIAL.fullmatch(name)) and not _NO_CREDENTIAL.fullmatch(name)


def check_beside_stored_key(names: Iterable[str], reserved: Collection[str]) -> None:
    """Raise `BadRequest` if a header may not be forwarded together with a stored credential.

    `reserved` are the provider's headers that belong to the credential.
    """
    for name in names:
        if name in reserved or name in _OVERRIDES or _REGISTERS.search(name):
            raise _not_forwardable(name, "With a stored credential, only the operator sets it.")


def holds_gateway_key(value: str, api_keys: Collection[bytes]) -> bool:
    """Return whether a header's value holds a gateway key: as it is, after a scheme, in Basic.

    >>> keys = {hashlib.sha256(b"a-key").digest()}
    >>> [holds_gateway_key(it, keys) for it in ("Token a-key", "Basic dTphLWtleQ==", "a-keys")]
    [True, True, False]
    """
    return any(_digest(part) in api_keys for part in _spellings(value))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def _spellings(value: str) -> Iterator[str]:
    """Yield the parts of a header's value, each once, and what they decode to."""
    parts = _parts(value) | (_parts(unquote(value)) if "%" in value else set())
    yield from parts
    for part in parts:
        if _BASE64.fullmatch(part):
            yield from _parts(_decode_base64(part))


def _parts(text: str) -> set[str]:
    return {text.strip(), text.partition(":")[2], *text.split(), *_SEPARATORS.split(text)}


def _decode_base64(text: str) -> str:
    text = text.rstrip("=").translate(_STANDARD_BASE64)
    try:
        decoded = binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return ""
    return decoded.decode(errors="surrogateescape")


def _not_forwardable(name: str, reason: str = "") -> BadRequest:
    shown = name if _NAME.fullmatch(name) else "with an invalid name"
    return BadRequest(
        f"The header {shown} may not be forwarded to a provider. {reason}".rstrip(),
        code="invalid_forward_header",
        param="x-portkey-forward-headers",
        legacy=_legacy_message(name),
    )


def relay_headers(
    headers: Mapping[str, str], secrets: frozenset[str] = frozenset(), *, with_body: bool
) -> CIMultiDict[str]:
    """Return the provider's response headers for the client.

    With `with_body` the body is relayed unchanged, and so are the headers that describe it. A
    header that repeats one of the `secrets`, or is not printable, is dropped. Beyond
    `_MAX_RELAYED_BYTES` the longest ones are.
    """
    named_by_connection = connection_headers(headers) if "connection" in headers else ()
    relayed = [
        (name, value)
        for name, value in headers.items()
        if (rule := _relay_rule(name)) != _NEVER
        and (with_body or rule == _ALWAYS)
        and value.replace("\t", " ").isprintable()
        and not any(secret in value for secret in secrets)
        and not (named_by_connection and name.lower() in named_by_connection)
    ]
    return CIMultiDict(drop_longest(relayed, _MAX_RELAYED_BYTES))


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
