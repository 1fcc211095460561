"""Drives an adapter's flow: each request it yields is sent, each reply handed back to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from aiohttp import ClientResponse
from multidict import CIMultiDict

from adapters.contract import IN_PROCESS, Answer, Image, ImageCall, ProviderRequest
from adapters.errors import ProviderError
from proxy.errors import TimedOut, UpstreamFailed
from proxy.plan import Target
from proxy.settings import Settings
from proxy.studio.server import Studio
from proxy.upstream.dialer import Dialer
from proxy.upstream.download import downloaded
from proxy.upstream.replies import read_head, read_reply, relayed_headers
from proxy.upstream.sending import exchange
from proxy.upstream.tokens import Tokens, secrets_of

SMALL = 64 * 1024
"""Bytes up to which a verbatim reply is held back, so that a failure inside it is seen."""

_FIRST_REDIRECT = 300


@dataclass(slots=True, repr=False)
class Outcome:
    """What a conversation came to: an `answer`, or a `response` to be relayed unread.

    `head` is what has been taken off the response's body already. `headers` are the provider's,
    for the client.
    """

    answer: Answer | None = None
    response: ClientResponse | None = None
    head: bytes = b""
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)


class Upstream:
    """Everything that is needed to talk to providers, for as long as it is entered."""

    def __init__(
        self, settings: Settings, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._dialer = Dialer(settings.timeouts)
        self._tokens = Tokens(self._dialer)
        self._studio = Studio()

    async def __aenter__(self) -> Self:
        await self._dialer.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._dialer.__aexit__()
        await self._studio.stop()

    @asynccontextmanager
    async def conversation(self, target: Target, call: ImageCall) -> AsyncIterator[Outcome]:
        """Converse with a target until there is an outcome; the deadline ends with it."""
        async with self._in_time(target) as alarm:
            target = await self._tokens.granted(await self._at_home(target))
            call = replace(call, credentials=target.credentials)
            async with self._flow(target, call) as outcome:
                # From here on the client's own pace rules.
                alarm.reschedule(None)
                yield outcome

    async def fetched(self, target: Target, image: Image) -> Image:
        """Give a picture with its bytes, downloading it where only its URL is known."""
        if not image.url:
            return image
        limit = self._settings.limits.picture_bytes
        async with self._in_time(target):
            return await downloaded(self._dialer, await self._at_home(target), image, limit)

    @asynccontextmanager
    async def _in_time(self, target: Target) -> AsyncIterator[asyncio.Timeout]:
        """End the block at the target's deadline or ours, with what the client is to be told."""
        own, most = target.request_timeout, self._settings.timeouts.total
        alarm = asyncio.timeout(min(own, most) if own else most)
        try:
            async with alarm:
                yield alarm
        except TimeoutError:
            if not alarm.expired():
                raise
            raise _out_of_time(own, most) from None

    async def _at_home(self, target: Target) -> Target:
        """Start the provider that this process serves itself, if the target is on it."""
        if target.base_url != IN_PROCESS:
            return target
        return replace(target, base_url=await self._studio.start(), private=True)

    @asynccontextmanager
    async def _flow(self, target: Target, call: ImageCall) -> AsyncIterator[Outcome]:
        flow, secrets = target.adapter.flow(call), secrets_of(target)
        request = next(flow)
        while True:
            if request.wait:
                await self._sleep(request.wait)
            async with exchange(self._dialer, target, request) as response:
                head, rest = await _held_back(request, response)
                if rest:
                    headers = relayed_headers(response.headers, secrets, whole=True)
                    yield Outcome(response=response, head=head, headers=headers)
                    return
                limit = self._settings.limits.reply_bytes
                reply = await read_reply(response, limit, secrets, head)
                headers = relayed_headers(response.headers, secrets, whole=False)
            try:
                request = flow.send(reply)
            except StopIteration as done:
                answer: Answer = done.value
                break
            except ProviderError as error:
                error.headers = headers
                raise
        yield Outcome(answer=answer, headers=headers)


async def _held_back(request: ProviderRequest, response: ClientResponse) -> tuple[bytes, bool]:
    """Take the first bytes of a reply that may be relayed; tell whether the rest is to be.

    A success is either a stream of events, or JSON too long to look into. What is short is held
    back whole: it may be a failure that calls itself a success.
    """
    if not request.verbatim or response.status >= _FIRST_REDIRECT:
        return b"", False
    if response.content_type == "text/event-stream":
        return b"", True
    # Nobody asked for compression: it is undone here, the client may not know how to.
    compressed = response.headers.get("content-encoding", "identity") != "identity"
    if compressed or response.content_type != "application/json":
        return b"", False
    head = await read_head(response, SMALL)
    return head, len(head) > SMALL


def _out_of_time(own: float | None, most: float) -> Exception:
    if own and own <= most:
        return TimedOut(f"Request exceeded the timeout sent in the request: {round(own * 1000)}ms")
    return UpstreamFailed(
        f"The provider was still working after {most:g} seconds.", status=504, code="timeout"
    )
