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
from proxy.upstream.base64_extract import Base64Extractor, restore_images
from proxy.upstream.cancellation import Cancellations
from proxy.upstream.connector import Connectors
from proxy.upstream.exchange import send
from proxy.upstream.image_download import Download, download
from proxy.upstream.reply import (
    is_compressed,
    read_head,
    read_reply,
    reply_too_large,
)
from proxy.upstream.retry import PaidRetry, Sleep
from proxy.upstream.sse import stream_answers
from proxy.upstream.temp_file import ImageTempFile, TempFiles
from proxy.upstream.timeout import Timeout, request_timeout_error, total_timeout_error
from proxy.upstream.tokens import Tokens

if TYPE_CHECKING:
    from proxy.sandbox.server import SandboxServer

PEEK_LIMIT = 64 * 1024
"""Bytes up to which a verbatim reply is held back, so that a failure inside it is seen."""

_EVENT_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_MAX_FIELD_NAME = 5
_FIRST_EVENT_SECONDS = 0.025
"""How long the head of a stream waits for its first event."""


def random_call_id() -> int:
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


class ProviderClient:
    """Everything that is needed to talk to providers, for as long as it is entered."""

    def __init__(
        self,
        settings: Settings,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        next_call_id: Callable[[], int] = random_call_id,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        self.sleep = sleep
        self.jitter = jitter
        self.next_call_id = next_call_id
        self.connectors = Connectors(settings.timeouts)
        self.tokens = Tokens(self.connectors)
        self.cancellations = Cancellations(self.connectors)
        self.temp_files = TempFiles(Path(settings.state_dir).expanduser())
        self._studio: list[SandboxServer] = []
        self._latest = self

    async def __aenter__(self) -> Self:
        await self.connectors.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancellations.wait()
        await self.connectors.__aexit__()
        for studio in self._studio:
            await studio.stop()

    def with_settings(self, settings: Settings) -> ProviderClient:
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
        may_relay: bool = True,
    ) -> Conversation:
        """Converse with a target until there is an outcome; the deadlines end with it.

        `relayed`: where the provider's answer is what the client is to see, it may be left unread.
        """
        return Conversation(self, target, call, tries or RetryState(), may_relay=may_relay)

    @asynccontextmanager
    async def download(self, target: Target, image: Image) -> AsyncIterator[Download]:
        """Open the URL of a picture; the deadlines are for its first bytes."""
        own, most = target.request_timeout, self.settings.timeouts.total
        limit = self.settings.limits.picture_bytes
        with (
            Timeout(most, total_timeout_error) as total,
            Timeout(own, request_timeout_error) as asked,
        ):
            home = await self.start_sandbox(target)
            async with download(self.connectors, home, image, limit, most) as opened:
                # From here on the client's own pace rules.
                total.cancel()
                asked.cancel()
                yield opened

    async def start_sandbox(self, target: Target) -> Target:
        """Start the provider that this process serves itself, if the target is on it."""
        if target.base_url != IN_PROCESS:
            return target
        if not self._studio:
            from proxy.sandbox.server import SandboxServer  # noqa: PLC0415 - most gateways never draw

            self._studio.append(SandboxServer())
        base_url = await self._studio[0].start()
        return msgspec.structs.replace(target, base_url=base_url, allow_private_network=True)


PROVIDER_CLIENT: web.AppKey[ProviderClient] = web.AppKey("upstream")
"""The client for providers, while the application runs."""


def client_for(request: web.Request) -> ProviderClient:
    """Give what a request of a client's talks to providers by: under the settings it began with."""
    return request.app[PROVIDER_CLIENT].with_settings(request[SNAPSHOT].settings)


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
        client: ProviderClient,
        target: Target,
        call: ImageCall,
        state: RetryState,
        *,
        may_relay: bool,
    ) -> None:
        self._client = client
        self._target = self._authorized = target
        self._call = call
        self._state = state
        self._may_relay = may_relay
        self._flow: Flow | None = None
        self._response: ClientResponse | None = None
        self._files: dict[str, ImageTempFile] | None = None
        self._retry: PaidRetry | None = None
        self._started_at = 0.0

    async def __aenter__(self) -> Outcome:
        own, most = self._target.request_timeout, self._client.settings.timeouts.total
        with Timeout(most, total_timeout_error), Timeout(own, request_timeout_error) as asked:
            asked.cancel()
            try:
                return await self._run(asked)
            except BaseException as error:
                await self._close(error)
                raise

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self._close(error)

    async def _run(self, asked: Timeout) -> Outcome:
        """Converse until there is an outcome."""
        upstream = self._client
        if self._target.base_url == IN_PROCESS:
            self._target = await upstream.start_sandbox(self._target)
        target = self._authorized = await upstream.tokens.with_token(self._target)
        call = replace(self._call, credentials=target.credentials, nonce=upstream.next_call_id())
        began = asyncio.get_running_loop().time()
        buying = PaidRetry(
            target.retry, self._state, upstream.sleep, upstream.jitter, started_at=began
        )
        self._retry = buying
        self._record_start()
        flow = self._flow = target.adapter.flow(call)
        request = next(flow)
        while True:
            if request.delay:
                await upstream.sleep(request.delay)
            self._response = await send(upstream.connectors, target, request, buying)
            came = await self._receive(self._response, request, call)
            if isinstance(came, Outcome):
                return came
            reply, headers = came
            await self._release()
            try:
                request = flow.send(reply)
            except StopIteration as done:
                if call.nonce in self._state.progress:
                    self._state.progress[call.nonce] = 1.0
                record_usage(done.value, target.secrets)
                return Outcome(answer=await self._restore_images(done.value), headers=headers)
            except ProviderError as error:
                error.headers = headers
                raise
            if (progress := target.adapter.parse_progress(reply)) is not None:
                self._state.progress[call.nonce] = progress
            if not asked.is_scheduled and target.request_timeout:
                asked.schedule(buying.started_at + target.request_timeout)

    async def _receive(
        self, response: ClientResponse, request: ProviderRequest, call: ImageCall
    ) -> Outcome | tuple[ProviderReply, CIMultiDict[str]]:
        """Give what is to be used as it comes, or else the whole reply, with headers."""
        limit, secrets = self._client.settings.limits.reply_bytes, self._authorized.secrets
        if request.may_stream and _is_event_stream(response):
            events = stream_answers(response, self._authorized.adapter, call, limit, secrets)
            return Outcome(
                events=events, headers=relay_headers(response.headers, secrets, with_body=False)
            )
        head: list[bytes] = []
        rest = False
        if self._may_relay and request.verbatim:
            head, rest = await _peek(response)
        if rest:
            if (response.content_length or 0) > limit:
                raise reply_too_large()
            headers = relay_headers(response.headers, secrets, with_body=True)
            return Outcome(response=response, head=head, headers=headers, secrets=secrets)
        # What is verbatim is to stay what it was, byte for byte.
        sieve = None if request.verbatim else Base64Extractor(self._client.temp_files)
        reply = await read_reply(response, limit, secrets, b"".join(head), sieve)
        if sieve and sieve.files:
            self._files = {**(self._files or {}), **sieve.files}
        return reply, relay_headers(response.headers, secrets, with_body=False)

    async def _restore_images(self, answer: Answer) -> Answer:
        """Give an answer with the pictures that were taken out of its replies."""
        return await restore_images(answer, self._files) if self._files else answer

    async def _release(self) -> None:
        """Let go of the response."""
        if self._response:
            response, self._response = self._response, None
            if not response.closed:  # Else its connection is free: it was read to its end.
                response.release()
                await response.wait_for_close()

    async def _close(self, error: BaseException | None) -> None:
        """Let go of everything; the provider and the keeper of its token learn what they must."""
        if isinstance(error, asyncio.CancelledError) and self._flow:
            self._client.cancellations.start(self._flow, self._authorized)
        if error is not None:
            self._client.tokens.on_error(self._target, error)
        await self._release()
        self._record_end()

    def _record_start(self) -> None:
        """Note when the first request of a client's goes to a provider."""
        self._started_at = time.perf_counter()
        trail = self._state.budget.timeline
        if trail and not trail.first_upstream_at:
            trail.first_upstream_at = self._started_at

    def _record_end(self) -> None:
        """Count what the conversation took, if it came to a request at all."""
        if self._retry is None:
            return
        target, metrics = self._target, self._client.metrics
        provider = target.adapter.id
        labels = provider, target_family(target, self._call.model)
        metrics.provider_seconds.observe(time.perf_counter() - self._started_at, labels)
        if self._retry.repeats:
            self._state.resent += self._retry.repeats
            metrics.retries.add((provider,), self._retry.repeats)
        self._retry = None


async def _peek(response: ClientResponse) -> tuple[list[bytes], bool]:
    """Take the first bytes of a reply that may be relayed; tell whether the rest is to be.

    A success is either a stream of events, or JSON too long to look into. What is short is held
    back whole: it may be a failure that calls itself a success. So may what is no event, which
    comes with its head; a picture takes longer.
    """
    if not is_success(response.status):
        return [], False
    if _is_event_stream(response):
        if is_compressed(response):
            return [], True
        try:
            async with asyncio.timeout(_FIRST_EVENT_SECONDS):
                first = await read_head(response, 0)
        except TimeoutError:
            return [], True
        return [first], _starts_like_sse(first)
    # Nobody asked for compression: it is undone here, the client may not know how to.
    compressed = is_compressed(response)
    if compressed or response.content_type != "application/json":
        return [], False
    head = await read_head(response, PEEK_LIMIT)
    return [head], len(head) > PEEK_LIMIT


def _starts_like_sse(first: bytes) -> bool:
    r"""Tell whether bytes may be where events begin; none, and a web page's, are not.

    >>> [_begins_events(it) for it in (b"da", b": hello", b"\nid: 7", b"", b"<html>", b'{"e')]
    [True, True, True, False, False, False]
    """
    start = first.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")[:_MAX_FIELD_NAME]
    return bool(first) and any(start.startswith(it) or it.startswith(start) for it in _EVENT_FIELDS)


def _is_event_stream(response: ClientResponse) -> bool:
    """Tell whether a success comes as server-sent events."""
    return is_success(response.status) and response.content_type == "text/event-stream"
