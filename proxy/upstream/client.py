"""Drives an adapter's flow: each request it yields is sent, each reply handed back to it."""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec
from aiohttp import ClientResponse, web
from multidict import CIMultiDict

from adapters.contract import IN_PROCESS, Answer, Flow, Image, ImageCall
from adapters.errors import ProviderError
from adapters.http import ProviderReply, ProviderRequest
from proxy.http.forwarding import relay_headers
from proxy.http.status import is_success
from proxy.observability.metrics.labels import target_family
from proxy.observability.metrics.registry import Metrics
from proxy.observability.tracing.hooks import record_usage
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import RetryState
from proxy.routing.plan import Target
from proxy.settings.loader import Settings
from proxy.upstream.base64_extract import Sieve, with_taken
from proxy.upstream.cancellation import Cancellations
from proxy.upstream.connector import Dialer
from proxy.upstream.exchange import sent
from proxy.upstream.image_download import Download, download
from proxy.upstream.reply import (
    is_compressed,
    read_head,
    read_reply,
    too_much,
)
from proxy.upstream.retry import Buying, Sleep
from proxy.upstream.sse import told
from proxy.upstream.temp_file import Spool, Spools
from proxy.upstream.timeout import Deadline, asked_too_long, worked_too_long
from proxy.upstream.tokens import Tokens

if TYPE_CHECKING:
    from proxy.sandbox.server import SandboxServer

SMALL = 64 * 1024
"""Bytes up to which a verbatim reply is held back, so that a failure inside it is seen."""

_EVENT_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_LONGEST_FIELD = 5
_AT_ONCE_SECONDS = 0.025
"""How long the head of a stream waits for its first event."""


def drawn() -> int:
    """Draw what tells one call from any other: `ImageCall.chance`."""
    return random.getrandbits(128) or 1


@dataclass(slots=True, repr=False)
class Outcome:
    """What a conversation came to: an `answer`, `events` that tell of it, or a `response` to relay.

    `head` is what has been taken off the response's body already; whoever passes it on takes it
    out: it is not to be held until the rest has come. `headers` are the provider's, for the client.
    The `secrets` are those that the provider was sent, and may repeat.
    """

    answer: Answer | None = None
    events: AsyncIterator[Answer] | None = None
    response: ClientResponse | None = None
    head: list[bytes] = field(default_factory=list)
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    secrets: frozenset[str] = frozenset()


class Upstream:
    """Everything that is needed to talk to providers, for as long as it is entered."""

    def __init__(
        self,
        settings: Settings,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        draw: Callable[[], int] = drawn,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.sleep = sleep
        self.chance = chance
        self.draw = draw
        self.dialer = Dialer(settings.timeouts)
        self.tokens = Tokens(self.dialer)
        self.cancellations = Cancellations(self.dialer)
        self.spools = Spools(Path(settings.state_dir).expanduser())
        self._studio: list[SandboxServer] = []
        self._latest = self

    async def __aenter__(self) -> Self:
        await self.dialer.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancellations.ended()
        await self.dialer.__aexit__()
        for studio in self._studio:
            await studio.stop()

    def under(self, settings: Settings) -> Upstream:
        """Give the same with the bounds and times of other settings; all else is shared."""
        if self._latest.settings is not settings:
            self._latest = copy.copy(self)
            self._latest.settings = settings
        return self._latest

    def conversation(
        self,
        target: Target,
        call: ImageCall,
        tries: RetryState | None = None,
        *,
        relayed: bool = True,
    ) -> Conversation:
        """Converse with a target until there is an outcome; the deadlines end with it.

        `relayed`: where the provider's answer is what the client is to see, it may be left unread.
        """
        return Conversation(self, target, call, tries or RetryState(), relayed=relayed)

    @asynccontextmanager
    async def download(self, target: Target, image: Image) -> AsyncIterator[Download]:
        """Open the URL of a picture; the deadlines are for its first bytes."""
        own, most = target.request_timeout, self.settings.timeouts.total
        limit = self.settings.limits.picture_bytes
        with Deadline(most, worked_too_long) as total, Deadline(own, asked_too_long) as asked:
            home = await self.at_home(target)
            async with download(self.dialer, home, image, limit, most) as opened:
                # From here on the client's own pace rules.
                total.lift()
                asked.lift()
                yield opened

    async def at_home(self, target: Target) -> Target:
        """Start the provider that this process serves itself, if the target is on it."""
        if target.base_url != IN_PROCESS:
            return target
        if not self._studio:
            from proxy.sandbox.server import SandboxServer  # noqa: PLC0415 - most gateways never draw

            self._studio.append(SandboxServer())
        base_url = await self._studio[0].start()
        return msgspec.structs.replace(target, base_url=base_url, allow_private_network=True)


UPSTREAM: web.AppKey[Upstream] = web.AppKey("upstream")
"""The client for providers, while the application runs."""


def upstream_of(request: web.Request) -> Upstream:
    """Give what a request of a client's talks to providers by: under the settings it began with."""
    return request.app[UPSTREAM].under(request[SNAPSHOT].settings)


class Conversation:
    """One conversation with a target: entered once there is an outcome, left when that is used.

    The operator's deadline is for all the way to the outcome. The request's own is for each try's
    way to a reply, and, where the conversation goes on after the first, for all since that try
    began.
    """

    __slots__ = (
        *("_began", "_buying", "_call", "_flow", "_granted", "_relayed"),
        *("_response", "_taken", "_target", "_tries", "_upstream"),
    )

    def __init__(
        self,
        upstream: Upstream,
        target: Target,
        call: ImageCall,
        tries: RetryState,
        *,
        relayed: bool,
    ) -> None:
        self._upstream = upstream
        self._target = self._granted = target
        self._call = call
        self._tries = tries
        self._relayed = relayed
        self._flow: Flow | None = None
        self._response: ClientResponse | None = None
        self._taken: dict[str, Spool] | None = None
        self._buying: Buying | None = None
        self._began = 0.0

    async def __aenter__(self) -> Outcome:
        own, most = self._target.request_timeout, self._upstream.settings.timeouts.total
        with Deadline(most, worked_too_long), Deadline(own, asked_too_long) as asked:
            asked.lift()
            try:
                return await self._begun(asked)
            except BaseException as error:
                await self._over(error)
                raise

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self._over(error)

    async def _begun(self, asked: Deadline) -> Outcome:
        """Converse until there is an outcome."""
        upstream = self._upstream
        if self._target.base_url == IN_PROCESS:
            self._target = await upstream.at_home(self._target)
        target = self._granted = await upstream.tokens.granted(self._target)
        call = replace(self._call, credentials=target.credentials, chance=upstream.draw())
        began = asyncio.get_running_loop().time()
        buying = Buying(target.retry, self._tries, upstream.sleep, upstream.chance, began=began)
        self._buying = buying
        self._note_begin()
        flow = self._flow = target.adapter.flow(call)
        request = next(flow)
        while True:
            if request.delay:
                await upstream.sleep(request.delay)
            self._response = await sent(upstream.dialer, target, request, buying)
            came = await self._heard(self._response, request, call)
            if isinstance(came, Outcome):
                return came
            reply, headers = came
            await self._answered()
            try:
                request = flow.send(reply)
            except StopIteration as done:
                if call.nonce in self._tries.progress:
                    self._tries.progress[call.nonce] = 1.0
                record_usage(done.value, target.secrets)
                return Outcome(answer=await self._in_full(done.value), headers=headers)
            except ProviderError as error:
                error.headers = headers
                raise
            if (progress := target.adapter.parse_progress(reply)) is not None:
                self._tries.progress[call.nonce] = progress
            if not asked.is_set and target.request_timeout:
                asked.set(buying.began + target.request_timeout)

    async def _heard(
        self, response: ClientResponse, request: ProviderRequest, call: ImageCall
    ) -> Outcome | tuple[ProviderReply, CIMultiDict[str]]:
        """Give what is to be used as it comes, or else the whole reply, with headers."""
        limit, secrets = self._upstream.settings.limits.reply_bytes, self._granted.secrets
        if request.may_stream and _tells_events(response):
            events = told(response, self._granted.adapter, call, limit, secrets)
            return Outcome(
                events=events, headers=relay_headers(response.headers, secrets, with_body=False)
            )
        head: list[bytes] = []
        rest = False
        if self._relayed and request.verbatim:
            head, rest = await _held_back(response)
        if rest:
            if (response.content_length or 0) > limit:
                raise too_much()
            headers = relay_headers(response.headers, secrets, with_body=True)
            return Outcome(response=response, head=head, headers=headers, secrets=secrets)
        # What is verbatim is to stay what it was, byte for byte.
        sieve = None if request.verbatim else Sieve(self._upstream.spools)
        reply = await read_reply(response, limit, secrets, b"".join(head), sieve)
        if sieve and sieve.taken:
            self._taken = {**(self._taken or {}), **sieve.taken}
        return reply, relay_headers(response.headers, secrets, with_body=False)

    async def _in_full(self, answer: Answer) -> Answer:
        """Give an answer with the pictures that were taken out of its replies."""
        return await with_taken(answer, self._taken) if self._taken else answer

    async def _answered(self) -> None:
        """Let go of the response."""
        if self._response:
            response, self._response = self._response, None
            if not response.closed:  # Else its connection is free: it was read to its end.
                response.release()
                await response.wait_for_close()

    async def _over(self, error: BaseException | None) -> None:
        """Let go of everything; the provider and the keeper of its token learn what they must."""
        if isinstance(error, asyncio.CancelledError) and self._flow:
            self._upstream.cancellations.begin(self._flow, self._granted)
        if error is not None:
            self._upstream.tokens.note(self._target, error)
        await self._answered()
        self._note_end()

    def _note_begin(self) -> None:
        """Note when the first request of a client's goes to a provider."""
        self._began = time.perf_counter()
        trail = self._tries.budget.timeline
        if trail and not trail.first_upstream_at:
            trail.first_upstream_at = self._began

    def _note_end(self) -> None:
        """Count what the conversation took, if it came to a request at all."""
        if self._buying is None:
            return
        target, metrics = self._target, self._upstream.metrics
        provider = target.adapter.id
        labels = provider, target_family(target, self._call.model)
        metrics.provider_seconds.observe(time.perf_counter() - self._began, labels)
        if self._buying.repeated:
            self._tries.resent += self._buying.repeated
            metrics.retries.add((provider,), self._buying.repeated)
        self._buying = None


async def _held_back(response: ClientResponse) -> tuple[list[bytes], bool]:
    """Take the first bytes of a reply that may be relayed; tell whether the rest is to be.

    A success is either a stream of events, or JSON too long to look into. What is short is held
    back whole: it may be a failure that calls itself a success. So may what is no event, which
    comes with its head; a picture takes longer.
    """
    if not is_success(response.status):
        return [], False
    if _tells_events(response):
        if is_compressed(response):
            return [], True
        try:
            async with asyncio.timeout(_AT_ONCE_SECONDS):
                first = await read_head(response, 0)
        except TimeoutError:
            return [], True
        return [first], _begins_events(first)
    # Nobody asked for compression: it is undone here, the client may not know how to.
    compressed = is_compressed(response)
    if compressed or response.content_type != "application/json":
        return [], False
    head = await read_head(response, SMALL)
    return [head], len(head) > SMALL


def _begins_events(first: bytes) -> bool:
    r"""Tell whether bytes may be where events begin; none, and a web page's, are not.

    >>> [_begins_events(it) for it in (b"da", b": hello", b"\nid: 7", b"", b"<html>", b'{"e')]
    [True, True, True, False, False, False]
    """
    start = first.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")[:_LONGEST_FIELD]
    return bool(first) and any(start.startswith(it) or it.startswith(start) for it in _EVENT_FIELDS)


def _tells_events(response: ClientResponse) -> bool:
    """Tell whether a success comes as server-sent events."""
    return is_success(response.status) and response.content_type == "text/event-stream"
