"""One exchange: join the base URL, sign, send.

The law: a credential goes to the target's origin and the provider's own hosts, nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import ClientResponse, FormData
from yarl import URL

from adapters.contract import Adapter, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from proxy.errors import UpstreamFailed
from proxy.http.forwarding import via_header
from proxy.observability.tracing.hooks import traced_send
from proxy.routing.plan import Target
from proxy.upstream.connector import Connectors
from proxy.upstream.errors import map_client_errors
from proxy.upstream.redact import redact_text
from proxy.upstream.retry import FreeRetry, PaidRetry, send_with_retry
from proxy.upstream.timeout import Timeout, request_timeout_error

_DEFAULT_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "easel"}
"""The headers of every request."""


async def send(
    connectors: Connectors, target: Target, request: ProviderRequest, retry: PaidRetry | None = None
) -> ClientResponse:
    """Send one request, again where its rule says so, and give the response, its body unread.

    What is no GET may cost money: then `buying` is its rule, and by default there is no policy.
    """
    by_provider = bool(request.url)
    with map_client_errors(by_provider=by_provider):
        url, private = resolve_url(target, request)
    content_type, body = await encode_body(request)
    plain, door = _base_headers(request, content_type), connectors.client(private=private)
    retry, is_paid = retry or PaidRetry(), request.method != "GET"
    # A provider's own host is no gateway; whatever else this is may lead back to us.
    may_return = is_paid and not _is_provider_host(target.adapter, url)
    passed = {"via": via_header(retry.state.budget.hops)} if may_return else {}

    async def send_once(of_trace: Mapping[str, str]) -> ClientResponse:
        if is_paid:
            retry.record_send()
        # Anew each time: it may be long since the last, and a signature is good for minutes.
        headers = _sign(target, request, url, plain, body, retry.now())
        with (
            Timeout(target.request_timeout, request_timeout_error),
            map_client_errors(by_provider=by_provider),
        ):
            return await door.request(request.method, url, {**headers, **passed, **of_trace}, body)

    send_once = traced_send(send_once, target, request, url)
    return await send_with_retry(send_once, retry if is_paid else FreeRetry(), retry.sleep)


@asynccontextmanager
async def exchange(
    connectors: Connectors, target: Target, request: ProviderRequest
) -> AsyncIterator[ClientResponse]:
    """Send one request, for which there is no policy, and give the response while it is used."""
    async with await send(connectors, target, request) as response:
        yield response


async def describe_request(target: Target, request: ProviderRequest) -> dict[str, Any]:
    """Show a request as it would be sent now, with what is secret masked."""
    url, _ = resolve_url(target, request)
    content_type, body = await encode_body(request)
    plain = _base_headers(request, content_type)
    headers = _sign(target, request, url, plain, body, time.time())
    secrets = target.secrets
    masked = {name: _mask_header(name, value, secrets) for name, value in headers.items()}
    told: Any = request.json if request.json is not None else request.form
    if told is None and body:
        told = ProviderReply(body=body).json()
    return {
        "method": request.method,
        "url": redact_text(str(url), secrets),
        "headers": dict(sorted(masked.items())),
        "body": told,
    }


def _mask_header(name: str, value: str, secrets: frozenset[str]) -> str:
    """Mask what a header holds of a credential, and what was derived from one."""
    if name in ("authorization", "cookie", "proxy-authorization"):
        scheme, space, _ = value.partition(" ")
        return f"{scheme} ***" if space else "***"
    return redact_text(value, secrets)


def _base_headers(request: ProviderRequest, content_type: str) -> dict[str, str]:
    headers = {**_DEFAULT_HEADERS, **{name.lower(): it for name, it in request.headers.items()}}
    if content_type:
        headers["content-type"] = content_type
    return headers


def _sign(  # noqa: PLR0913, PLR0917 - all that a signature covers
    target: Target,
    request: ProviderRequest,
    url: URL,
    plain: dict[str, str],
    body: bytes,
    now: float,
) -> dict[str, str]:
    if not request.authenticated:
        return plain
    # Before signing, so that the signature covers them; and after it, so that they win.
    headers = {**plain, **target.forwarded_headers}
    outgoing = SignableRequest(request.method, str(url), headers, body, now)
    return {
        **headers,
        **target.adapter.sign(outgoing, target.credentials),
        **target.forwarded_headers,
    }


def resolve_url(target: Target, request: ProviderRequest) -> tuple[URL, bool]:
    """Give the URL of a request and whether it may be private; raises for a foreign one.

    The URL is taken as it is written: what was signed must be what is sent.
    """
    if not request.url:
        return URL(target.base_url + request.path, encoded=True), target.allow_private_network
    url, base = URL(request.url, encoded=True), URL(target.base_url, encoded=True)
    if url.origin() == base.origin():
        return url, target.allow_private_network
    if request.authenticated and not _is_provider_host(target.adapter, url):
        raise UpstreamFailed(
            "The provider named an address on a foreign host to continue at; it was not followed.",
            code="foreign_url",
        )
    return url, False


def _is_provider_host(adapter: Adapter, url: URL) -> bool:
    host = (url.host or "").lower()
    return url.scheme == "https" and any(
        host == domain or host.endswith("." + domain) for domain in adapter.credential_domains
    )


async def encode_body(request: ProviderRequest) -> tuple[str, bytes]:
    """Write the body: its content type and its bytes."""
    if request.json is not None:
        return "application/json", orjson.dumps(request.json)
    if request.form is None:
        return "", request.content or b""
    form = FormData(default_to_multipart=True)
    for name, value in request.form.items():
        form.add_field(name, value)
    writer = form()
    return writer.content_type, await writer.as_bytes()
