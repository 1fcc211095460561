"""Which of the client's headers may go on to the provider, and how far a request has come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from proxy.errors import BadRequest

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_REFUSED = frozenset(
    {
        # They belong to one connection, or frame the message: RFC 9110, 7.6.1.
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-authorization", "proxy-connection", "proxy-authenticate"),
        *("host", "content-length", "content-encoding", "content-type", "expect"),
        *("accept-encoding", "cookie", "http2-settings"),
        # They say who the client of a proxy is: of ours, to nobody else's advantage.
        *("forwarded", "x-real-ip"),
        # They open cloud metadata services.
        *("metadata", "metadata-flavor", "x-google-metadata-request"),
        *("x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"),
    }
)
_REFUSED_PREFIXES = ("x-portkey-", "x-forwarded-")

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
