"""Access tokens: fetched once per credential, shared by all requests, renewed before they expire.

A service account gets its token for a signed assertion: a JSON Web Token with RS256 (RFC 7523). The
library that signs it is an optional dependency and slow to import: it is imported on first use.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from cachetools import LRUCache

from adapters.contract import AccessToken, Credentials, TokenFlow
from adapters.errors import ProviderError
from adapters.http import Assertion, ProviderRequest
from proxy.errors import BadRequest, GatewayError
from proxy.http.status import UNAUTHORIZED
from proxy.routing.plan import Target
from proxy.upstream.connector import Connectors
from proxy.upstream.exchange import exchange
from proxy.upstream.redact import ERROR_LIMIT
from proxy.upstream.reply import read_reply

_RENEW_EARLY = 300.0
"""Seconds before its expiry at which a token is renewed, at most half of its lifetime."""
_MAX_TOKENS = 4096
_NO_TOKEN = AccessToken({}, 0.0)


@dataclass(slots=True, repr=False)
class _Entry:
    """A cached token, and the lock under which it is fetched."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: AccessToken = _NO_TOKEN
    valid_until: float = -math.inf


class Tokens:
    """Access tokens by credential, fetched from token endpoints on demand."""

    def __init__(
        self,
        connectors: Connectors,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connectors = connectors
        self._clock = clock
        self._now = now
        self._entries: LRUCache[str, _Entry] = LRUCache(_MAX_TOKENS)

    async def with_token(self, target: Target) -> Target:
        """Return the target with a token among its options, if its credential needs one."""
        if self._token_flow(target) is None:
            return target
        entry = self._entries.setdefault(_cache_key(target), _Entry())
        async with entry.lock:
            # A new flow: one made before waiting for the lock would sign with an old time.
            if self._clock() >= entry.valid_until and (flow := self._token_flow(target)):
                entry.token = await self._fetch(target, flow)
                lifetime = entry.token.expires_in
                entry.valid_until = self._clock() + max(lifetime - _RENEW_EARLY, lifetime / 2)
        options = {**target.credentials.options, **entry.token.options}
        return msgspec.structs.replace(
            target, credentials=Credentials(target.credentials.api_key, options)
        )

    def on_error(self, target: Target, error: BaseException | None) -> None:
        """Discard a target's token if the provider answered 401.

        A token can expire early: it was revoked, or this machine was suspended.
        """
        status = isinstance(error, ProviderError) and error.provider_status
        if status == UNAUTHORIZED and (entry := self._entries.get(_cache_key(target))):
            entry.valid_until = -math.inf

    def _token_flow(self, target: Target) -> TokenFlow | None:
        return target.adapter.token_flow(target.credentials, self._now())

    async def _fetch(self, target: Target, flow: TokenFlow) -> AccessToken:
        # The token endpoint is a public host of the provider; the target's signature is not for it.
        request = next(flow)
        while True:
            unsigned: ProviderRequest = replace(await with_assertion(request), authenticated=False)
            async with exchange(self._connectors, target, unsigned) as response:
                reply = await read_reply(response, ERROR_LIMIT, target.secrets)
            try:
                request = flow.send(reply)
            except StopIteration as done:
                token: AccessToken = done.value
                return token


def _cache_key(target: Target) -> str:
    # Forwarded client headers differ between requests, and do not influence the token.
    bare = msgspec.structs.replace(target, forwarded_headers={})
    return f"{target.adapter.id}:{bare.fingerprint}"


async def with_assertion(request: ProviderRequest) -> ProviderRequest:
    """Return a request with its signed assertion appended to its content."""
    if request.assertion is None:
        return request
    # In a thread: signing takes milliseconds, and the first call imports the library.
    token = await asyncio.to_thread(sign_jwt, request.assertion)
    return replace(request, content=(request.content or b"") + token, assertion=None)


def sign_jwt(assertion: Assertion) -> bytes:
    """Return the signed JSON Web Token of an assertion; raise `GatewayError`."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the module
        from google.auth import crypt, jwt  # noqa: PLC0415 - see the module
    except ImportError:
        raise GatewayError(
            "Cannot sign with a service account's key: the operator has to install "
            "easel-gateway[gcp].",
            code="not_installed",
        ) from None
    # The library is untyped here.
    read: Callable[[str, str | None], Any] = crypt.RSASigner.from_string
    write: Callable[[Any, Mapping[str, Any]], bytes] = jwt.encode
    try:
        return write(read(assertion.private_key, assertion.key_id or None), assertion.claims)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        # The library's message is dropped: it may quote the key.
        raise BadRequest(
            "The private key of the service account is not an RSA key in PEM, or is damaged.",
            code="invalid_credential",
        ) from None
