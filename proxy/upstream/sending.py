"""One exchange: join the base URL, sign, send.

The law: a credential goes to the target's origin and the provider's own hosts, nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO

import orjson
from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession, FormData
from aiohttp_retry import ExponentialRetry, RetryClient
from yarl import URL

from adapters.contract import Adapter, Outgoing, ProviderRequest
from proxy.errors import UpstreamFailed
from proxy.plan import Target
from proxy.upstream.dialer import Dialer
from proxy.upstream.faults import translated

_BUSY = frozenset({429, 502, 503, 504})
_ASK_AGAIN = 3
_HALF_A_WAIT = 0.25
_LARGE = 1024 * 1024


@asynccontextmanager
async def exchange(
    dialer: Dialer,
    target: Target,
    request: ProviderRequest,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[ClientResponse]:
    """Send one request and give the response, open, its body unread."""
    by_provider = bool(request.url)
    with translated(by_provider=by_provider):
        url, private = address(target, request)
    content_type, body = await encoded(request)
    headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "easel"}
    headers |= {name.lower(): value for name, value in request.headers.items()}
    if content_type:
        headers["content-type"] = content_type
    if request.signed:
        # Before signing, so that the signature covers them; and after it, so that they win.
        headers |= target.forwarded
        outgoing = Outgoing(request.method, str(url), headers, body, clock())
        headers |= target.adapter.sign(outgoing, target.credentials)
        headers |= target.forwarded
    session = dialer.session(private=private)
    with translated(by_provider=by_provider):
        # In pieces, once it is large: all at once would hold up the loop, and be held twice.
        data = BytesIO(body) if len(body) > _LARGE else body or None
        response = await _sent(session, request.method, url, headers, data)
    async with response:
        yield response


async def _sent(
    session: ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | BytesIO | None,
) -> ClientResponse:
    """Send; what asks and buys nothing (GET) is asked again where that can help."""
    if method != "GET":
        return await session.request(method, url, headers=headers, data=body, allow_redirects=False)
    client = RetryClient(client_session=session, retry_options=_asking_again())
    return await client.get(url, headers=headers, allow_redirects=False)


def _asking_again() -> ExponentialRetry:
    async def is_final(response: ClientResponse) -> bool:
        if response.status not in _BUSY:
            return True
        # aiohttp-retry never releases what it discards: the connection would be lost to the pool.
        response.release()
        return False

    return ExponentialRetry(
        attempts=_ASK_AGAIN,
        start_timeout=_HALF_A_WAIT,
        exceptions={ClientConnectorError, ClientError},
        retry_all_server_errors=False,
        evaluate_response_callback=is_final,
    )


def address(target: Target, request: ProviderRequest) -> tuple[URL, bool]:
    """Give the URL of a request and whether it may be private; raises for a foreign one.

    The URL is taken as it is written: what was signed must be what is sent.
    """
    if not request.url:
        return URL(target.base_url + request.path, encoded=True), target.private
    url, base = URL(request.url, encoded=True), URL(target.base_url, encoded=True)
    if url.origin() == base.origin():
        return url, target.private
    if request.signed and not _own_host(target.adapter, url):
        raise UpstreamFailed(
            "The provider named an address on a foreign host to continue at; it was not followed.",
            code="foreign_url",
        )
    return url, False


def _own_host(adapter: Adapter, url: URL) -> bool:
    host = (url.host or "").lower()
    return url.scheme == "https" and any(
        host == domain or host.endswith("." + domain) for domain in adapter.domains
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
