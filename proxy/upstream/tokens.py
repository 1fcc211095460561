"""Short-lived tokens: bought once, shared by all requests, renewed before they run out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
from cachetools import LRUCache

from adapters.contract import Credentials, Grant, GrantFlow
from adapters.errors import ProviderError
from adapters.http import ProviderRequest
from proxy.http.status import UNAUTHORIZED
from proxy.routing.plan import Target
from proxy.upstream.connector import Dialer
from proxy.upstream.exchange import exchange
from proxy.upstream.jwt import asserted
from proxy.upstream.reply import ERROR_LIMIT, read_reply

_EARLY = 300.0
_MOST_TOKENS = 4096
_NOTHING = Grant({}, 0.0)


@dataclass(slots=True, repr=False)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    grant: Grant = _NOTHING
    good_until: float = -math.inf


class Tokens:
    """Keeps what token endpoints granted, by credential."""

    def __init__(
        self,
        dialer: Dialer,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._dialer = dialer
        self._clock = clock
        self._now = now
        self._entries: LRUCache[str, _Entry] = LRUCache(_MOST_TOKENS)

    async def granted(self, target: Target) -> Target:
        """Give the target with a token among its options, if its credential calls for one."""
        if self._flow(target) is None:
            return target
        entry = self._entries.setdefault(_name(target), _Entry())
        async with entry.lock:
            # A flow of its own: whoever waited for the lock would sign with the time of long ago.
            if self._clock() >= entry.good_until and (flow := self._flow(target)):
                entry.grant = await self._buy(target, flow)
                lifetime = entry.grant.seconds
                entry.good_until = self._clock() + max(lifetime - _EARLY, lifetime / 2)
        options = {**target.credentials.options, **entry.grant.options}
        return msgspec.structs.replace(
            target, credentials=Credentials(target.credentials.api_key, options)
        )

    def note(self, target: Target, error: BaseException | None) -> None:
        """Have a target's token bought anew next time, if an error says that it is no good.

        A token can end early: it was revoked, or this machine slept, and its clock with it.
        """
        status = isinstance(error, ProviderError) and error.provider_status
        if status == UNAUTHORIZED and (entry := self._entries.get(_name(target))):
            entry.good_until = -math.inf

    def _flow(self, target: Target) -> GrantFlow | None:
        return target.adapter.grant(target.credentials, self._now())

    async def _buy(self, target: Target, flow: GrantFlow) -> Grant:
        # A token endpoint is a public host of the provider's own; nothing of ours signs for it.
        request = next(flow)
        while True:
            asked: ProviderRequest = replace(await asserted(request), signed=False)
            async with exchange(self._dialer, target, asked) as response:
                reply = await read_reply(response, ERROR_LIMIT, target.secrets)
            try:
                request = flow.send(reply)
            except StopIteration as done:
                grant: Grant = done.value
                return grant


def _name(target: Target) -> str:
    # Headers that a client forwards differ from request to request, and buy nothing.
    bare = msgspec.structs.replace(target, forwarded={})
    return f"{target.adapter.id}:{bare.fingerprint}"
