"""Which hosts a caller may name. The connector checks the addresses that they resolve to."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from ipaddress import AddressValueError, IPv4Address

from yarl import URL

from proxy.errors import BadRequest

_HOST_NAME = re.compile(r"(?:[a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}")
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""Names that resolvers may parse as an IPv4 address: the last label is a number."""
_MAX_LABELS = 10
_MAX_LENGTH = 2048
_METADATA_HOSTS = frozenset(
    {"metadata", "metadata.google.internal", "metadata.azure.com", "instance-data", "0.0.0.0"}  # noqa: S104 - a rejected name; nothing is bound
)
"""Hosts of cloud metadata services: no setting makes them reachable."""
_LOCAL_DOMAINS = (
    *(".local", ".localdomain", ".internal", ".intranet", ".lan", ".home", ".corp"),
    *(".test", ".invalid", ".onion", ".localhost"),
)


def parse_custom_host(text: str, trusted: AbstractSet[str]) -> URL:
    """Parse a caller's `x-portkey-custom-host`; raises `BadRequest`.

    It must be an absolute http(s) URL without credentials, query or fragment, on a public name
    or one that the operator trusts.
    """
    try:
        url = URL(text) if len(text) <= _MAX_LENGTH and text.isprintable() else URL()
        port = url.port
    except ValueError:
        raise _invalid("is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise _invalid(
            "must be an absolute http or https URL, such as https://images.example.com/v1"
        )
    if "@" in text or "\\" in text or url.query_string or url.fragment:
        raise _invalid("must not contain credentials, a query, a fragment or a backslash")
    host = url.host.lower()
    if (
        host in _METADATA_HOSTS
        or not (":" in host or _HOST_NAME.fullmatch(host))
        or _is_ambiguous_ipv4(host)
    ):
        raise _invalid("names a host that is not allowed")
    if is_trusted(host, port, trusted):
        return url
    if host.count(".") >= _MAX_LABELS or host == "localhost" or host.endswith(_LOCAL_DOMAINS):
        raise _invalid("names a private host; the operator can add it to trusted_custom_hosts")
    return url


def _is_ambiguous_ipv4(host: str) -> bool:
    """Return whether a host is an IPv4 address in a notation that only some programs accept.

    >>> [_is_ambiguous_ipv4(it) for it in ("127.1", "2130706433", "0x7f.1", "127.0.0.1", "4.com")]
    [True, True, True, False, False]
    """
    try:
        IPv4Address(host)
    except AddressValueError:
        return _NUMERIC_HOST.fullmatch(host) is not None
    return False


def is_trusted(host: str, port: int | None, trusted: AbstractSet[str]) -> bool:
    """Return whether a host is on the operator's list, by name or by `*.domain`.

    An entry with a port holds for that port, one without for all ports.

    >>> is_trusted("gpu1.svc.cluster.local", 80, {"*.svc.cluster.local"})
    True
    >>> is_trusted("gpu1", 8080, {"gpu1:8080"}), is_trusted("gpu1", 22, {"gpu1:8080"})
    (True, False)
    >>> is_trusted("api.localhost", 80, {"localhost"}), is_trusted("example.com", 80, set())
    (True, False)
    """
    names = [host]
    if host.endswith(".localhost"):
        names.append("localhost")
    labels = host.split(".")
    names += ["*." + ".".join(labels[start:]) for start in range(1, len(labels))]
    return any(
        name in trusted or f"{f'[{name}]' if ':' in name else name}:{port}" in trusted
        for name in names
    )


def _invalid(reason: str) -> BadRequest:
    return BadRequest(
        f"The custom host {reason}.",
        code="invalid_custom_host",
        param="x-portkey-custom-host",
        legacy="Invalid custom host",
    )
