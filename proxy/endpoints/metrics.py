"""GET /metrics: the metrics page, for Prometheus. `metrics.access` decides who may read it."""

from __future__ import annotations

from ipaddress import ip_address

from aiohttp import web

from proxy.errors import GatewayError
from proxy.middlewares.auth import authenticate
from proxy.observability.metrics.registry import METRICS
from proxy.reload.snapshot import SNAPSHOT

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-", "x-real-ip")
"""Prefixes of the headers that a proxy adds: the peer address is then the proxy's."""


async def metrics(request: web.Request) -> web.Response:
    """Respond in Prometheus' text format or in OpenMetrics, by the Accept header."""
    settings = request[SNAPSHOT].settings
    access = settings.metrics.access
    if access == "key" or (access == "loopback" and not _is_loopback(request)):
        authenticate(request.headers, settings.api_keys)
    from proxy.observability.metrics.exposition import MissingLibraryError, render  # noqa: PLC0415 - rarely asked for

    snapshot = await request.app[METRICS].gather()
    try:
        body, content_type = render(snapshot, request.headers.get("accept", ""))
    except MissingLibraryError:
        raise GatewayError(
            "The metrics page needs a package that is not installed. Run "
            "pip install 'easel-gateway[metrics]', then restart the gateway.",
            status=501,
            code="not_installed",
        ) from None
    return web.Response(body=body, headers={"content-type": content_type})


def _is_loopback(request: web.Request) -> bool:
    """Whether a request comes from this machine, and not through a proxy."""
    if any(name.lower().startswith(_PROXY_HEADERS) for name in request.headers):
        return False
    try:
        address = ip_address(request.remote or "")
    except ValueError:
        return False  # A Unix socket: the client is not known.
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback)
