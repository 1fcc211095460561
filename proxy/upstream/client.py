"""The provider client. It drives an adapter's flow: sends each request, passes back each reply."""

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
import orjson
from aiohttp import ClientResponse, web
from multidict import CIMultiDict

from adapters.contract import IN_PROCESS, Answer, Flow, Image, ImageCall
from adapters.errors import ProviderError
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.lenient_json import has_faults
from adapters.tools.sse import is_event_text, is_unfinished, join_events
from proxy.errors import UpstreamFailed
from proxy.http.forwarding import relay_headers
from proxy.http.status import OK, PARTIAL_CONTENT, is_success
from proxy.observability.bookkeeping import bookkeeping
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
from proxy.upstream.errors import ended_early
from proxy.upstream.exchange import send
from proxy.upstream.image_download import Download, download
from proxy.upstream.name_lookup import LOOKUP_CALLER
from proxy.upstream.redact import redact_text
from proxy.upstream.reply import check_whole, is_compressed, read_head, read_reply
from proxy.upstream.reply_excerpt import log_if_no_image
from proxy.upstream.reply_limits import has_too_many_values, reply_too_large, too_many_values
from proxy.upstream.retry import PaidRetry, Sleep
from proxy.upstream.retry_after import add_retry_after
from proxy.upstream.sse import stream_answers
from proxy.upstream.temp_file import ImageTempFile, SharedTempFile, TempFiles
from proxy.upstream.timeout import Timeout, request_timeout_error, total_timeout_error
from proxy.upstream.tokens import Tokens

if TYPE_CHECKING:
    from proxy.sandbox.server import SandboxServer

Fits = Callable[[bytes], bool]
"""Whether a reply that begins with these bytes can be relayed as it is."""

PEEK_LIMIT = 64 * 1024
"""Bytes of a verbatim reply that are read before it is relayed, to see an error inside it."""

_EVENT_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_MAX_FIELD_NAME = max(map(len, _EVENT_FIELDS))
_LONGEST_START = 64
"""Bytes at the start of a reply that show whether it is server-sent events."""
_SPARE_TEXTS = 4
"""Base64 texts that are taken out of a reply beyond the number of images: masks, previews."""
_FIRST_EVENT_SECONDS = 0.025
"""How long the head of an event stream is held back for its first event."""


def random_call_id() -> int:
    """Return a random id for one call to a provider (`ImageCall.nonce`), never 0."""
    return random.getrandbits(128) or 1


@dataclass(slots=True, repr=False)
class Outcome:
    """The result of a conversation: an `answer`, a stream of `events`, or a `response` to relay.

    `head` holds the part of the response's body that was already read. The caller empties it when
    it passes it on, so that it is not kept in memory until the rest has arrived. `headers` are the
    provider's headers for the client. `secrets` were sent to the provider, which may repeat them.
    `is_event_stream`: the response to relay is server-sent events, whatever type it declares.
    """

    answer: Answer | None = None
    events: AsyncIterator[Answer] | None = None
    response: ClientResponse | None = None
    head: list[bytes] = field(default_factory=list)
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    secrets: frozenset[str] = frozenset()
    is_event_stream: bool = False


class ProviderClient:
    """Connections, tokens and limits for calls to providers; an asynchronous context manager.

    `sleep`, `jitter` (numbers from 0 to 1) and `next_call_id` are replaced in tests.
    """

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
        self._sandboxes: list[SandboxServer] = []
        self._latest = self

    async def __aenter__(self) -> Self:
        await self.connectors.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancellations.wait()
        await self.connectors.__aexit__()
        for sandbox in self._sandboxes:
            await sandbox.stop()

    def with_settings(self, settings: Settings) -> ProviderClient:
        """Return this client with the limits and timeouts of other settings; all else is shared."""
        if self._latest.settings is not settings:
            self._latest = copy.copy(self)
            self._latest.settings = settings
        return self._latest

    def conversation(
        self,
        target: Target,
        call: ImageCall,
        state: RetryState | None = None,
        *,
        may_relay: bool = True,
        fits: Fits = lambda _: True,
    ) -> Conversation:
        """Return the conversation with a target; entering it runs the flow to its outcome.

        With `may_relay` a verbatim reply may be left unread, for the caller to relay: events, and
        long JSON whose first bytes it `fits`.
        """
        tries = state or RetryState()
        return Conversation(self, target, call, tries, may_relay=may_relay, fits=fits)

    @asynccontextmanager
    async def download(self, target: Target, image: Image) -> AsyncIterator[Download]:
        """Open the URL of an image; the timeouts apply until its first bytes have arrived."""
        request_seconds, total_seconds = target.request_timeout, self.settings.timeouts.total
        limit = self.settings.limits.image_bytes
        with (
            Timeout(total_seconds, total_timeout_error) as total,
            Timeout(request_seconds, request_timeout_error) as request,
        ):
            target = await self.start_sandbox(target)
            async with download(self.connectors, target, image, limit, total_seconds) as opened:
                # From here on the client's pace decides how long it takes.
                total.cancel()
                request.cancel()
                yield opened

    async def start_sandbox(self, target: Target) -> Target:
        """Return the target with its URL; if it is the in-process sandbox, start that first."""
        if target.base_url != IN_PROCESS:
            return target
        if not self._sandboxes:
            from proxy.sandbox.server import SandboxServer  # noqa: PLC0415 - most gateways never use it

            self._sandboxes.append(SandboxServer())
        base_url = await self._sandboxes[0].start()
        headers = self._sandboxes[0].headers_for(LOOKUP_CALLER.get())
        return msgspec.structs.replace(
            target,
            base_url=base_url,
            allow_private_network=True,
            forwarded_headers={**target.forwarded_headers, **headers},
        )


PROVIDER_CLIENT: web.AppKey[ProviderClient] = web.AppKey("upstream")
"""The provider client of a running application."""


def client_for(request: web.Request) -> ProviderClient:
    """Return the provider client, bound to the settings snapshot of this request."""
    return request.app[PROVIDER_CLIENT].with_settings(request[SNAPSHOT].settings)


class Conversation:
    """One run of an adapter's flow at a target: entered with its outcome, left when that was used.

    The operator's total timeout covers everything up to the outcome. The request's own timeout
    covers each try up to its reply; if the flow continues after a reply, it covers everything since
    that try began.
    """

    __slots__ = (
        *("_authorized", "_call", "_client", "_files", "_fits", "_flow", "_may_relay"),
        *("_response", "_retry", "_started_at", "_state", "_target", "_temp_file"),
    )

    def __init__(  # noqa: PLR0913 - what a conversation depends on
        self,
        client: ProviderClient,
        target: Target,
        call: ImageCall,
        state: RetryState,
        *,
        may_relay: bool,
        fits: Fits,
    ) -> None:
        self._client = client
        self._target = self._authorized = target
        self._call = call
        self._state = state
        self._may_relay = may_relay
        self._fits = fits
        self._flow: Flow | None = None
        self._response: ClientResponse | None = None
        self._files: dict[str, ImageTempFile] | None = None
        self._temp_file: SharedTempFile | None = None
        self._retry: PaidRetry | None = None
        self._started_at = 0.0

    async def __aenter__(self) -> Outcome:
        request_seconds = self._target.request_timeout
        total_seconds = self._client.settings.timeouts.total
        with (
            Timeout(total_seconds, total_timeout_error),
            Timeout(request_seconds, request_timeout_error) as timeout,
        ):
            timeout.cancel()
            try:
                return await self._run(timeout)
            except BaseException as error:
                if isinstance(error, ProviderError):
                    # A message may have been unescaped since the reply was redacted.
                    error.message = redact_text(error.message, self._authorized.secrets)
                    error.args = (error.message,)
                await self._close(error)
                raise

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self._close(error)

    async def _run(self, request_timeout: Timeout) -> Outcome:
        """Drive the flow until there is an outcome."""
        client = self._client
        if self._target.base_url == IN_PROCESS:
            self._target = await client.start_sandbox(self._target)
        target = self._authorized = await client.tokens.with_token(self._target)
        call = replace(self._call, credentials=target.credentials, nonce=client.next_call_id())
        now = asyncio.get_running_loop().time()
        retry = PaidRetry(target.retry, self._state, client.sleep, client.jitter, started_at=now)
        self._retry = retry
        self._record_start()
        flow = self._flow = target.adapter.flow(call)
        request = next(flow)
        while True:
            if request.delay:
                await client.sleep(request.delay)
            self._response = await send(client.connectors, target, request, retry)
            received = await self._receive(self._response, request, call)
            if isinstance(received, Outcome):
                return received
            reply, headers = received
            await self._release()
            try:
                request = flow.send(reply)
            except StopIteration as done:
                if call.nonce in self._state.progress:
                    self._state.progress[call.nonce] = 1.0
                with bookkeeping("traces"):
                    record_usage(done.value, target.secrets)
                    log_if_no_image(target, call, reply, done.value)
                return Outcome(answer=await self._restore_images(done.value), headers=headers)
            except ProviderError as error:
                log_if_no_image(target, call, reply, error)
                error.headers = headers
                add_retry_after(error, reply, time.time())
                raise
            if (progress := target.adapter.parse_progress(reply)) is not None:
                self._state.progress[call.nonce] = progress
            if not request_timeout.is_scheduled and target.request_timeout:
                request_timeout.schedule(retry.started_at + target.request_timeout)

    async def _receive(
        self, response: ClientResponse, request: ProviderRequest, call: ImageCall
    ) -> Outcome | tuple[ProviderReply, CIMultiDict[str]]:
        """Return an outcome to stream or relay, else the whole reply and headers for the client."""
        limit, secrets = self._client.settings.limits.reply_bytes, self._authorized.secrets
        if response.status == PARTIAL_CONTENT or response.status < OK:
            raise UpstreamFailed(
                f"The provider answered with status {response.status}, not a complete response.",
                code="bad_answer",
            )
        head: list[bytes] = []
        if request.may_stream and is_success(response.status):
            head = [] if is_compressed(response) else [await read_head(response, _MAX_FIELD_NAME)]
        if request.may_stream and _holds_events(response, b"".join(head)):
            adapter = self._authorized.adapter
            events = stream_answers(response, adapter, call, limit, secrets, b"".join(head))
            return Outcome(
                events=events, headers=relay_headers(response.headers, secrets, with_body=False)
            )
        is_relayed = is_events = False
        if self._may_relay and request.verbatim:
            head, is_relayed, is_events = await _peek(response, self._fits, streamed=call.stream)
        if is_relayed:
            if (response.content_length or 0) > limit:
                raise reply_too_large()
            headers = relay_headers(response.headers, secrets, with_body=True)
            return Outcome(
                response=response,
                head=head,
                headers=headers,
                secrets=secrets,
                is_event_stream=is_events,
            )
        # A short verbatim reply must not change by a byte; a long one is converted.
        is_short = len(b"".join(head)) <= PEEK_LIMIT and not _is_event_stream(response)
        extractor = None if request.verbatim and is_short else self._extractor(call)
        reply = await read_reply(response, limit, secrets, b"".join(head), extractor)
        if extractor and extractor.files:
            self._files = {**(self._files or {}), **extractor.files}
        reply = await _unfold_events(reply)
        if request.method != "GET":
            check_whole(reply)
        return reply, relay_headers(response.headers, secrets, with_body=False)

    def _extractor(self, call: ImageCall) -> Base64Extractor:
        """Return an extractor for one reply. All replies share one temporary file."""
        temp_files = self._client.temp_files
        self._temp_file = self._temp_file or temp_files.new()
        return Base64Extractor(temp_files, call.n + _SPARE_TEXTS, self._temp_file)

    async def _restore_images(self, answer: Answer) -> Answer:
        """Return an answer with the images that were extracted from its replies."""
        return await restore_images(answer, self._files) if self._files else answer

    async def _release(self) -> None:
        """Release the connection of the current response, if any."""
        if self._response:
            response, self._response = self._response, None
            if not response.closed:  # A response that was read to its end has released it already.
                response.release()
                await response.wait_for_close()

    async def _close(self, error: BaseException | None) -> None:
        """Release the response; on an error cancel the provider's job and distrust its token."""
        if isinstance(error, asyncio.CancelledError) and self._flow:
            self._client.cancellations.start(self._flow, self._authorized)
        if error is not None:
            self._client.tokens.on_error(self._target, error)
        await self._release()
        with bookkeeping("metrics"):
            self._record_end()

    def _record_start(self) -> None:
        """Record when the first request for this client request goes to a provider."""
        self._started_at = time.perf_counter()
        timeline = self._state.budget.timeline
        if timeline and not timeline.first_upstream_at:
            timeline.first_upstream_at = self._started_at

    def _record_end(self) -> None:
        """Count duration and retries, if the conversation got as far as a request."""
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


async def _peek(  # noqa: PLR0911 - one for each kind of reply
    response: ClientResponse, fits: Fits, *, streamed: bool
) -> tuple[list[bytes], bool, bool]:
    """Read the first bytes of a reply; return them, whether it is relayed, and if as events.

    Relayed are event streams, if the client `streamed`, and JSON that is too long to inspect and
    `fits`. A short body is read whole, because it may be an error with a success status. So may a
    stream that does not start like server-sent events: such an error arrives together with its
    head, an image takes longer.
    """
    if not is_success(response.status):
        return [], False, False
    if _is_event_stream(response):
        if is_compressed(response) or not streamed:
            return [], streamed, streamed
        try:
            async with asyncio.timeout(_FIRST_EVENT_SECONDS):
                first = await read_head(response, 0)
        except TimeoutError:
            return [], True, True
        is_relayed = _starts_like_sse(first)
        return [first], is_relayed, is_relayed
    # Compression was not requested. It is undone here, because the client may not support it.
    if response.content_type == "application/json" and not is_compressed(response):
        head = await read_head(response, PEEK_LIMIT, lenient=True)
        is_long = len(head) > PEEK_LIMIT and not streamed
        # A reply that is not valid JSON is parsed and written anew.
        return [head], is_long and fits(head) and not has_faults(head), False
    if is_compressed(response) or not streamed:
        return [], False, False
    first = await read_head(response, _MAX_FIELD_NAME)
    is_events = is_event_text(first)
    return [first], is_events, is_events


async def _unfold_events(reply: ProviderReply) -> ProviderReply:
    """Return the reply of a success that is an event stream as JSON, any other as it is."""
    if not is_success(reply.status) or not is_event_text(reply.body[:_LONGEST_START]):
        return reply
    if await asyncio.to_thread(has_too_many_values, reply.body):
        raise too_many_values()
    tree = await asyncio.to_thread(join_events, reply.body)
    if await asyncio.to_thread(is_unfinished, reply.body, tree):
        raise ended_early()
    try:
        body = orjson.dumps(tree)
    except orjson.JSONEncodeError:
        body, tree = b"", None
    return ProviderReply(
        reply.status, {**reply.headers, "content-type": "application/json"}, body, tree
    )


def _starts_like_sse(first: bytes) -> bool:
    r"""Return whether bytes may start a stream of server-sent events; none at all do not.

    >>> [_starts_like_sse(it) for it in (b"da", b": hello", b"\nid: 7", b"", b"<html>", b'{"e')]
    [True, True, True, False, False, False]
    """
    start = first.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")[:_MAX_FIELD_NAME]
    return bool(first) and any(start.startswith(it) or it.startswith(start) for it in _EVENT_FIELDS)


def _holds_events(response: ClientResponse, head: bytes) -> bool:
    """Return whether a success holds server-sent events, by its type or by its first bytes."""
    if not is_success(response.status):
        return False
    if is_event_text(head):
        return True
    return _is_event_stream(response) and head.lstrip()[:1] != b"{"


def _is_event_stream(response: ClientResponse) -> bool:
    """Return whether a response is a success that arrives as server-sent events."""
    return is_success(response.status) and response.content_type == "text/event-stream"
