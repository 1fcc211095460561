"""One exchange with a provider: build the URL, sign, send, retry.

The invariant: a credential goes to the target's origin and the provider's own hosts only.
"""

from __future__ import annotations

import re
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
from proxy.http.forwarding import credential_headers, via_header
from proxy.observability.tracing.hooks import traced_send
from proxy.routing.plan import Target
from proxy.upstream.connector import Connectors
from proxy.upstream.errors import map_client_errors
from proxy.upstream.name_lookup import OPERATOR_HOST
from proxy.upstream.redact import redact_text
from proxy.upstream.retry import FreeRetry, PaidRetry, send_with_retry
from proxy.upstream.timeout import Timeout, request_timeout_error

_DEFAULT_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "easel"}
"""Headers of every request, unless the adapter sets them."""


async def send(
    connectors: Connectors, target: Target, request: ProviderRequest, retry: PaidRetry | None = None
) -> ClientResponse:
    """Send one request, retry it by its rule, and return the response with its body unread.

    A request other than GET may cost money. Its rule is `retry`, by default without a policy.
    """
    by_provider = bool(request.url)
    with map_client_errors(by_provider=by_provider):
        url, private = resolve_url(target, request)
    content_type, body = await encode_body(request)
    base_headers = _base_headers(request, content_type)
    client = connectors.client(private=private)
    retry, is_paid = retry or PaidRetry(), request.method != "GET"
    # A provider's own host is not a gateway; any other URL may lead back to this one.
    may_loop = is_paid and not _is_provider_host(target.adapter, url)
    via = {"via": via_header(retry.state.budget.hops)} if may_loop else {}

    is_operators = _is_operator_host(target, url)

    async def send_once(trace_headers: Mapping[str, str]) -> ClientResponse:
        OPERATOR_HOST.set(is_operators)
        if is_paid:
            retry.record_send()
        # Signed for each try: a retry may come much later, and a signature expires in minutes.
        signed = _sign(target, request, url, base_headers, body, retry.now())
        headers = {**signed, **via, **trace_headers}
        with (
            Timeout(target.request_timeout, request_timeout_error),
            map_client_errors(by_provider=by_provider),
        ):
            return await client.request(request.method, url, headers, body)

    traced = traced_send(send_once, target, request, url)
    return await send_with_retry(traced, retry if is_paid else FreeRetry(), retry.sleep)


@asynccontextmanager
async def exchange(
    connectors: Connectors, target: Target, request: ProviderRequest
) -> AsyncIterator[ClientResponse]:
    """Send one request without a retry policy; yield the response, and release it at the end."""
    async with await send(connectors, target, request) as response:
        yield response


async def describe_request(target: Target, request: ProviderRequest) -> dict[str, Any]:
    """Return a request as it would be sent now, as JSON, with its secrets masked."""
    url, _ = resolve_url(target, request)
    content_type, body = await encode_body(request)
    base_headers = _base_headers(request, content_type)
    headers = _sign(target, request, url, base_headers, body, time.time())
    unsigned = {**base_headers, **target.forwarded_headers}
    masked = _mask_headers(headers, unsigned, target)
    content: Any = request.json if request.json is not None else request.form
    if content is None and body:
        content = ProviderReply(body=body).json()
    return {
        "method": request.method,
        "url": _mask_secrets(str(url), target),
        "headers": dict(sorted(masked.items())),
        "body": content,
    }


def _mask_headers(
    headers: Mapping[str, str], unsigned: Mapping[str, str], target: Target
) -> dict[str, str]:
    """Return headers with what signing wrote, and what may be a credential, as `***`.

    Their length does not matter: a short key is a key, too.
    """
    hidden = {name for name, value in headers.items() if unsigned.get(name) != value}
    hidden |= credential_headers(headers).keys()
    return {
        name: _mask_value(name, value) if name in hidden else _mask_secrets(value, target)
        for name, value in headers.items()
    }


def _mask_value(name: str, value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} ***" if space and name == "authorization" else "***"


def _mask_secrets(text: str, target: Target) -> str:
    """Return a text with the target's secrets as `***`; short ones where they are whole words."""
    text = redact_text(text, target.secrets)
    for secret in target.short_secrets:
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", "***", text)
    return text


def _base_headers(request: ProviderRequest, content_type: str) -> dict[str, str]:
    headers = {
        **_DEFAULT_HEADERS,
        **{name.lower(): value for name, value in request.headers.items()},
    }
    if content_type:
        headers["content-type"] = content_type
    return headers


def _sign(  # noqa: PLR0913, PLR0917 - all that a signature covers
    target: Target,
    request: ProviderRequest,
    url: URL,
    base_headers: dict[str, str],
    body: bytes,
    now: float,
) -> dict[str, str]:
    if not request.authenticated:
        return base_headers
    # Added before signing, so that the signature covers them.
    forwarded = target.forwarded_headers
    if target.has_stored_secret:
        written = {name.lower() for name in request.headers} | {"content-type"}
        forwarded = {name: it for name, it in forwarded.items() if name not in written}
    headers = {**base_headers, **forwarded}
    outgoing = SignableRequest(request.method, str(url), headers, body, now)
    signed = {**headers, **target.adapter.sign(outgoing, target.credentials)}
    # With its own credential, a client may replace what signing wrote.
    return signed if target.has_stored_secret else {**signed, **forwarded}


def resolve_url(target: Target, request: ProviderRequest) -> tuple[URL, bool]:
    """Return the URL of a request, and whether it may lead to a private address.

    Raises `UpstreamFailed` for a signed request to a foreign host. The URL is not re-encoded,
    because the URL that was signed must be the one that is sent.
    """
    if not request.url:
        return URL(target.base_url + request.path, encoded=True), target.allow_private_network
    url, base = URL(request.url, encoded=True), URL(target.base_url, encoded=True)
    if url.origin() == base.origin():
        return url, target.allow_private_network
    if request.authenticated and not _is_provider_host(target.adapter, url):
        raise UpstreamFailed(
            "The provider's reply continues at a URL on a foreign host; it was not followed.",
            code="foreign_url",
        )
    return url, False


def _is_provider_host(adapter: Adapter, url: URL) -> bool:
    host = (url.host or "").lower()
    return url.scheme == "https" and any(
        host == domain or host.endswith("." + domain) for domain in adapter.credential_domains
    )


def _is_operator_host(target: Target, url: URL) -> bool:
    """Whether the operator or the adapter chose the host; a stored credential goes to no other."""
    is_base = url.origin() == URL(target.base_url, encoded=True).origin()
    return (target.operator_credential and is_base) or _is_provider_host(target.adapter, url)


async def encode_body(request: ProviderRequest) -> tuple[str, bytes]:
    """Return the content type and the bytes of a request's body."""
    if request.json is not None:
        return "application/json", orjson.dumps(request.json)
    if request.form is None:
        return "", request.content or b""
    form = FormData(default_to_multipart=True)
    for name, value in request.form.items():
        form.add_field(name, value)
    writer = form()
    return writer.content_type, await writer.as_bytes()
