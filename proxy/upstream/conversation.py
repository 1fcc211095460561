"""Drives an adapter's flow: each request it yields is sent, each reply handed back to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from aiohttp import ClientResponse
from multidict import CIMultiDict

from adapters.contract import IN_PROCESS, Answer, Flow, Image, ImageCall, ProviderRequest
from adapters.errors import ProviderError
from proxy.plan import Target, Tries
from proxy.settings import Settings
from proxy.studio.server import Studio
from proxy.upstream.abandoning import Cancellations
from proxy.upstream.dialer import Dialer
from proxy.upstream.download import Download, download
from proxy.upstream.events import told
from proxy.upstream.faults import asked_too_long, in_time, worked_too_long
from proxy.upstream.replies import is_compressed, read_head, read_reply, relayed_headers
from proxy.upstream.retrying import Buying, Sleep
from proxy.upstream.secrets import secrets_of
from proxy.upstream.sending import exchange
from proxy.upstream.tokens import Tokens

SMALL = 64 * 1024
"""Bytes up to which a verbatim reply is held back, so that a failure inside it is seen."""

_FIRST_REDIRECT = 300


def drawn() -> int:
    """Draw what tells one call from any other: `ImageCall.chance`."""
    return random.getrandbits(128) or 1


@dataclass(slots=True, repr=False)
class Outcome:
    """What a conversation came to: an `answer`, `events` that tell of it, or a `response` to relay.

    `head` is what has been taken off the response's body already; whoever passes it on takes it
    out: it is not to be held until the rest has come. `headers` are the provider's, for the client.
    """

    answer: Answer | None = None
    events: AsyncIterator[Answer] | None = None
    response: ClientResponse | None = None
    head: list[bytes] = field(default_factory=list)
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)


class Upstream:
    """Everything that is needed to talk to providers, for as long as it is entered."""

    def __init__(
        self,
        settings: Settings,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        draw: Callable[[], int] = drawn,
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._chance = chance
        self._draw = draw
        self._dialer = Dialer(settings.timeouts)
        self._tokens = Tokens(self._dialer)
        self._studio = Studio()
        self._cancellations = Cancellations(self._dialer)

    async def __aenter__(self) -> Self:
        await self._dialer.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._cancellations.ended()
        await self._dialer.__aexit__()
        await self._studio.stop()

    @asynccontextmanager
    async def conversation(
        self,
        target: Target,
        call: ImageCall,
        tries: Tries | None = None,
        *,
        relayed: bool = True,
    ) -> AsyncIterator[Outcome]:
        """Converse with a target until there is an outcome; the deadlines end with it.

        `relayed`: where the provider's answer is what the client is to see, it may be left unread.

        The operator's is for all of it. The request's own is for each try's way to a reply, and,
        where the conversation goes on after the first, for all since that try began.
        """
        own, most = target.request_timeout, self._settings.timeouts.total
        async with (
            in_time(most, worked_too_long(most)) as total,
            in_time(own, asked_too_long(own)) as asked,
            self._tokens.lent(await self._at_home(target)) as target,  # noqa: PLR1704 - the same
        ):
            asked.reschedule(None)
            call = replace(call, credentials=target.credentials, chance=self._draw())
            buying = Buying(target.retry, tries or Tries(), self._sleep, self._chance)
            async with self._flow(target, call, buying, asked, relayed=relayed) as outcome:
                # From here on the client's own pace rules.
                total.reschedule(None)
                asked.reschedule(None)
                yield outcome

    @asynccontextmanager
    async def download(self, target: Target, image: Image) -> AsyncIterator[Download]:
        """Open the URL of a picture; the deadlines are for its first bytes."""
        own, most = target.request_timeout, self._settings.timeouts.total
        limit = self._settings.limits.picture_bytes
        async with (
            in_time(most, worked_too_long(most)) as total,
            in_time(own, asked_too_long(own)) as asked,
            download(self._dialer, await self._at_home(target), image, limit) as opened,
        ):
            # From here on the client's own pace rules.
            total.reschedule(None)
            asked.reschedule(None)
            yield opened

    async def _at_home(self, target: Target) -> Target:
        """Start the provider that this process serves itself, if the target is on it."""
        if target.base_url != IN_PROCESS:
            return target
        return replace(target, base_url=await self._studio.start(), private=True)

    @asynccontextmanager
    async def _flow(
        self,
        target: Target,
        call: ImageCall,
        buying: Buying,
        asked: asyncio.Timeout,
        *,
        relayed: bool,
    ) -> AsyncIterator[Outcome]:
        flow = target.adapter.flow(call)
        driven = self._driven(flow, target, call, buying, asked, relayed=relayed)
        with self._cancellations.of(flow, target):
            async with driven as outcome:
                yield outcome

    @asynccontextmanager
    async def _driven(  # noqa: PLR0913 - all that a conversation is about
        self,
        flow: Flow,
        target: Target,
        call: ImageCall,
        buying: Buying,
        asked: asyncio.Timeout,
        *,
        relayed: bool,
    ) -> AsyncIterator[Outcome]:
        secrets = secrets_of(target)
        request = next(flow)
        while True:
            if request.wait:
                await self._sleep(request.wait)
            async with exchange(self._dialer, target, request, buying) as response:
                if request.events and _tells_events(response):
                    headers = relayed_headers(response.headers, secrets, whole=False)
                    limit = self._settings.limits.reply_bytes
                    events = told(response, target.adapter, call, limit, secrets)
                    yield Outcome(events=events, headers=headers)
                    return
                head, rest = await _held_back(request, response) if relayed else ([], False)
                if rest:
                    headers = relayed_headers(response.headers, secrets, whole=True)
                    yield Outcome(response=response, head=head, headers=headers)
                    return
                limit = self._settings.limits.reply_bytes
                reply = await read_reply(response, limit, secrets, b"".join(head))
                headers = relayed_headers(response.headers, secrets, whole=False)
            try:
                request = flow.send(reply)
            except StopIteration as done:
                answer: Answer = done.value
                break
            except ProviderError as error:
                error.headers = headers
                raise
            if (progress := target.adapter.progress(reply)) is not None:
                buying.tries.progress[call.chance] = progress
            if asked.when() is None and target.request_timeout:
                asked.reschedule(buying.began + target.request_timeout)
        if call.chance in buying.tries.progress:
            buying.tries.progress[call.chance] = 1.0
        yield Outcome(answer=answer, headers=headers)


async def _held_back(
    request: ProviderRequest, response: ClientResponse
) -> tuple[list[bytes], bool]:
    """Take the first bytes of a reply that may be relayed; tell whether the rest is to be.

    A success is either a stream of events, or JSON too long to look into. What is short is held
    back whole: it may be a failure that calls itself a success.
    """
    if not request.verbatim or response.status >= _FIRST_REDIRECT:
        return [], False
    if _tells_events(response):
        return [], True
    # Nobody asked for compression: it is undone here, the client may not know how to.
    compressed = is_compressed(response)
    if compressed or response.content_type != "application/json":
        return [], False
    head = await read_head(response, SMALL)
    return [head], len(head) > SMALL


def _tells_events(response: ClientResponse) -> bool:
    """Tell whether a success comes as server-sent events."""
    return response.status < _FIRST_REDIRECT and response.content_type == "text/event-stream"
