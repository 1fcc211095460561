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
from proxy.upstream.connector import Dialer
from proxy.upstream.errors import translated
from proxy.upstream.redact import blotted_text
from proxy.upstream.retry import Asking, Buying, tried
from proxy.upstream.timeout import Deadline, asked_too_long

_OF_ALL = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "easel"}
"""The headers of every request."""


async def sent(
    dialer: Dialer, target: Target, request: ProviderRequest, buying: Buying | None = None
) -> ClientResponse:
    """Send one request, again where its rule says so, and give the response, its body unread.

    What is no GET may cost money: then `buying` is its rule, and by default there is no policy.
    """
    by_provider = bool(request.url)
    with translated(by_provider=by_provider):
        url, private = address(target, request)
    content_type, body = await encoded(request)
    plain, door = _plain(request, content_type), dialer.door(private=private)
    buying, is_paid = buying or Buying(), request.method != "GET"
    # A provider's own host is no gateway; whatever else this is may lead back to us.
    may_return = is_paid and not _own_host(target.adapter, url)
    passed = {"via": via_header(buying.tries.budget.hops)} if may_return else {}

    async def send(of_trace: Mapping[str, str]) -> ClientResponse:
        if is_paid:
            buying.begin()
        # Anew each time: it may be long since the last, and a signature is good for minutes.
        headers = _signed(target, request, url, plain, body, buying.now())
        with (
            Deadline(target.request_timeout, asked_too_long),
            translated(by_provider=by_provider),
        ):
            return await door.request(request.method, url, {**headers, **passed, **of_trace}, body)

    send_once = traced_send(send, target, request, url)
    return await tried(send_once, buying if is_paid else Asking(), buying.sleep)


@asynccontextmanager
async def exchange(
    dialer: Dialer, target: Target, request: ProviderRequest
) -> AsyncIterator[ClientResponse]:
    """Send one request, for which there is no policy, and give the response while it is used."""
    async with await sent(dialer, target, request) as response:
        yield response


async def shown(target: Target, request: ProviderRequest) -> dict[str, Any]:
    """Show a request as it would be sent now, with what is secret masked."""
    url, _ = address(target, request)
    content_type, body = await encoded(request)
    plain = _plain(request, content_type)
    headers = _signed(target, request, url, plain, body, time.time())
    secrets = target.secrets
    masked = {name: _masked(name, value, secrets) for name, value in headers.items()}
    told: Any = request.json if request.json is not None else request.form
    if told is None and body:
        told = ProviderReply(body=body).json()
    return {
        "method": request.method,
        "url": blotted_text(str(url), secrets),
        "headers": dict(sorted(masked.items())),
        "body": told,
    }


def _masked(name: str, value: str, secrets: frozenset[str]) -> str:
    """Mask what a header holds of a credential, and what was derived from one."""
    if name in ("authorization", "cookie", "proxy-authorization"):
        scheme, space, _ = value.partition(" ")
        return f"{scheme} ***" if space else "***"
    return blotted_text(value, secrets)


def _plain(request: ProviderRequest, content_type: str) -> dict[str, str]:
    headers = {**_OF_ALL, **{name.lower(): it for name, it in request.headers.items()}}
    if content_type:
        headers["content-type"] = content_type
    return headers


def _signed(  # noqa: PLR0913, PLR0917 - all that a signature covers
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


def address(target: Target, request: ProviderRequest) -> tuple[URL, bool]:
    """Give the URL of a request and whether it may be private; raises for a foreign one.

    The URL is taken as it is written: what was signed must be what is sent.
    """
    if not request.url:
        return URL(target.base_url + request.path, encoded=True), target.allow_private_network
    url, base = URL(request.url, encoded=True), URL(target.base_url, encoded=True)
    if url.origin() == base.origin():
        return url, target.allow_private_network
    if request.authenticated and not _own_host(target.adapter, url):
        raise UpstreamFailed(
            "The provider named an address on a foreign host to continue at; it was not followed.",
            code="foreign_url",
        )
    return url, False


def _own_host(adapter: Adapter, url: URL) -> bool:
    host = (url.host or "").lower()
    return url.scheme == "https" and any(
        host == domain or host.endswith("." + domain) for domain in adapter.credential_domains
    )


async def encoded(request: ProviderRequest) -> tuple[str, bytes]:
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
