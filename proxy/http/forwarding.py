"""Which headers the gateway passes on: the client's to a provider, and a provider's to the client.

Also the `Via` header, by which a request that comes back to a gateway is noticed.
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
_REFUSED = HOP_BY_HOP | {
    # They frame the message, or are written by the gateway itself.
    *("host", "content-length", "content-encoding", "content-type", "expect"),
    *("accept-encoding", "cookie", "http2-settings"),
    # They name the client of a proxy; a provider has no use for the address of the gateway's.
    *("forwarded", "x-real-ip"),
    # They unlock cloud metadata services.
    *("metadata", "metadata-flavor", "x-google-metadata-request"),
    *("x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"),
}
_REFUSED_PREFIXES = ("x-portkey-", "x-forwarded-")

_NOT_RELAYED = HOP_BY_HOP | {
    # They describe the provider's own site.
    *("set-cookie", "server", "date", "alt-svc", "strict-transport-security", "via", "nel"),
    *("report-to", "content-security-policy", "clear-site-data"),
    # A web server in front of the gateway would obey them, and serve its own files.
    *("x-accel-redirect", "x-sendfile", "x-lighttpd-send-file", "x-reproxy-url"),
}
_NOT_RELAYED_PREFIXES = ("x-portkey-", "x-easel-", "access-control-", "cf-")
_ABOUT_THE_BODY = frozenset(
    {"content-type", "content-length", "content-encoding", "etag", "last-modified"}
    | {"accept-ranges", "content-disposition", "content-md5", "digest", "age", "expires", "vary"}
)
_USUAL = 64
"""Characters of a header's name that is worth remembering."""
_FREELY, _WITH_THE_BODY = "freely", "with the body"

_NAME_IN_VIA = "easel"
_MOST_HOPS = 4


def forwarded(
    names: Iterable[str], headers: Mapping[str, str], *, bearer_is_ours: bool
) -> dict[str, str]:
    """Pick the named headers of a request; raises `BadRequest` for what may not go on.

    `bearer_is_ours`: the Authorization header holds a gateway key, which never leaves.
    """
    picked: dict[str, str] = {}
    of_connection = named_by_connection(headers)
    for name in (name.strip().lower() for name in names):
        if not name:
            continue
        if refused(name) or (name == "authorization" and bearer_is_ours):
            shown = name if _NAME.fullmatch(name) else "a name that is no header's"
            raise BadRequest(
                f"The header {shown} may not be forwarded to a provider.",
                code="invalid_forward_header",
                param="x-portkey-forward-headers",
                legacy=_legacy(name),
            )
        if name in headers and name not in of_connection:
            picked[name] = headers[name]
    return picked


def relayed_headers(
    headers: Mapping[str, str], secrets: frozenset[str] = frozenset(), *, whole: bool
) -> CIMultiDict[str]:
    """Pick the provider's headers for the client; `whole`: the body goes unchanged as well.

    One that repeats one of the `secrets` stays here, and so does one that cannot be written again.
    """
    of_connection = named_by_connection(headers) if "connection" in headers else ()
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if (relayed := _relayed(name))
        and (whole or relayed == _FREELY)
        and value.replace("\t", " ").isprintable()
        and not any(secret in value for secret in secrets)
        and not (of_connection and name.lower() in of_connection)
    )


def _relayed(name: str) -> str:
    """Tell whether a header is relayed: "" where it is not."""
    return _judged(name) if len(name) <= _USUAL else _judged.__wrapped__(name)


@lru_cache(4096)
def _judged(name: str) -> str:
    lower = name.lower()
    if lower in _NOT_RELAYED or lower.startswith(_NOT_RELAYED_PREFIXES):
        return ""
    return _WITH_THE_BODY if lower in _ABOUT_THE_BODY else _FREELY


def hops(headers: Mapping[str, str]) -> int:
    """Tell through how many gateways of our kind a request has come; raises `BadRequest`.

    `headers` must be case-insensitive.

    >>> hops({"via": "1.1 easel, 1.1 nginx, 1.1 easel"})
    2
    """
    if "via" not in headers:
        return 0
    lines = [value for name, value in headers.items() if name.lower() == "via"]
    count = sum(it.split()[1:2] == [_NAME_IN_VIA] for line in lines for it in line.split(","))
    if count > _MOST_HOPS:
        raise BadRequest(
            "This request has come through gateways like this one again and again: a custom host "
            "leads back to one that it has been at.",
            status=508,
            code="loop_detected",
        )
    return count


def via(passed: int) -> str:
    """Write the header by which the next gateway knows how many a request has passed.

    >>> via(1)
    '1.1 easel, 1.1 easel'
    """
    return ", ".join([f"1.1 {_NAME_IN_VIA}"] * (passed + 1))


def named_by_connection(headers: Mapping[str, str]) -> set[str]:
    """Name the headers that `Connection` names: they go no further than it (RFC 9110, 7.6.1).

    >>> named_by_connection({"Connection": "close, X-Tenant"}) == {"close", "x-tenant"}
    True
    """
    lines = [value for name, value in headers.items() if name.lower() == "connection"]
    return {name.strip().lower() for line in lines for name in line.split(",")}


def refused(name: str) -> bool:
    """Tell whether a header may never be forwarded.

    >>> refused("x-portkey-api-key"), refused("x-tenant")
    (True, False)
    """
    return name in _REFUSED or name.startswith(_REFUSED_PREFIXES) or not _NAME.fullmatch(name)


def _legacy(name: str) -> str:
    if name != "x-portkey-forward-headers":
        return ""
    return "forward_headers must not contain the 'x-portkey-forward-headers' header"
