"""GET /metrics: what the gateway has counted, for who may know."""

from __future__ import annotations

from ipaddress import ip_address

from aiohttp import web

from proxy.errors import GatewayError
from proxy.middlewares.auth import authenticate
from proxy.observability.metrics.registry import METRICS
from proxy.reload.snapshot import SNAPSHOT

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-", "x-real-ip")
"""How headers begin of a request that came through a proxy: its address is not who asks."""


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: in Prometheus' text format, or in OpenMetrics'."""
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
            "This page is written by a package that is not installed: "
            "pip install 'easel-gateway[metrics]', then start the gateway again.",
            status=501,
            code="not_installed",
        ) from None
    return web.Response(body=body, headers={"content-type": content_type})


def _is_loopback(request: web.Request) -> bool:
    """Tell whether a request comes from this machine, and through nobody."""
    if any(name.lower().startswith(_PROXY_HEADERS) for name in request.headers):
        return False
    try:
        address = ip_address(request.remote or "")
    except ValueError:
        return False  # A unix socket: whoever is behind it.
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback)
