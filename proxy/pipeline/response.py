"""Builds the response to the client, if the provider's response is not relayed as it is.

The body has OpenAI's format, with each image as base64 or URL, as requested. The receipt gets a
line on the type and size of each image.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import msgspec
import orjson
from aiohttp import web

from adapters.contract import Answer, Image
from adapters.errors import ImageError, no_image_error
from adapters.table.receipt import ReceiptLine
from proxy.blobs.publish import publish, publish_existing
from proxy.cache.entry import CachedImage
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import UpstreamFailed, error_event
from proxy.observability.bookkeeping import bookkeeping, record_failure
from proxy.pipeline.accounting import bill_image
from proxy.pipeline.image_source import (
    ImageSource,
    cached_receipt,
    from_base64,
    is_canonical_base64,
    measured_receipt,
    open_image,
)
from proxy.pipeline.partial import handle_missing
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, MadeImages, ResponseCapture
from proxy.routing.plan import Target
from proxy.upstream.client import client_for
from proxy.upstream.timeout import Timeout, total_timeout_error

_JSON, EVENT_STREAM = "application/json", "text/event-stream"
_BUFFERED_LIMIT = 256 * 1024
"""Bodies up to this many bytes are sent in one write."""

_MAX_PREVIEWS = 3
"""Most previews of one image that a request may ask for."""

Part = bytes | ImageSource
"""A part of a body: bytes, or an image that is sent as base64."""


async def deliver(
    request: web.Request, answer: Answer, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Respond with the images of earlier targets and of this attempt."""
    attempt = request[ATTEMPT]
    images = attempt.with_prior_images(answer.images)
    if not images:
        raise no_image_error()
    if answer.body is not None and _can_relay_body(request, answer):
        sources = [from_base64(it) if it.b64 else None for it in answer.images]
        _add_measured_lines(attempt, sources)
        with bookkeeping("prices"):
            attempt.images_out = [bill_image(attempt.target, source) for source in sources]
        return _complete_response(attempt, answer.body, headers)
    if _is_fetched(request):
        answer = limit_downloads(request, answer)
        images = attempt.with_prior_images(answer.images)
    with bookkeeping("receipt"):
        attempt.receipt = attempt.receipt.with_lines(*cached_receipt(image for image, _ in images))
    async with AsyncExitStack() as stack:
        entries = await _make_entries(request, images, stack)
        _add_measured_lines(attempt, [entry.source for entry in entries])
        if attempt.capture:
            with bookkeeping("cache"):
                attempt.capture.add_answer(answer)
        return await _write_body(request, _body_parts(answer, entries), headers)


def _can_relay_body(request: web.Request, answer: Answer) -> bool:
    """Whether the provider's own body has all images, in the requested form."""
    attempt, blobs = request[ATTEMPT], request[SNAPSHOT].settings.blobs
    wanted = attempt.form
    by_url = wanted != "b64_json" and not blobs.persist_urls
    return not attempt.prior_images and all(
        by_url if it.url else wanted != "url" and is_canonical_base64(it.b64)
        for it in answer.images
    )


def _is_fetched(request: web.Request) -> bool:
    """Whether the gateway fetches an image behind a URL, rather than pass the URL on."""
    return request[ATTEMPT].form == "b64_json" or request[SNAPSHOT].settings.blobs.persist_urls


def limit_downloads(request: web.Request, answer: Answer) -> Answer:
    """Return an answer with at most `limits.images` images behind URLs, in all its parts.

    A malicious provider may name any number of URLs, on any host. `n` is not the limit, because
    some providers generate, and charge for, more images than that. The receipt lists how many were
    left out.
    """
    attempt = request[ATTEMPT]
    most = request[SNAPSHOT].settings.limits.images
    previews = attempt.params.get("partial_images")
    if isinstance(previews, int) and attempt.params.get("stream") is True:
        most *= 1 + max(0, min(previews, _MAX_PREVIEWS))
    kept = []
    for image in answer.images:
        if image.url and not isinstance(image, CachedImage):
            attempt.downloads += 1
            if attempt.downloads > most:
                continue
        kept.append(image)
    if not (dropped := len(answer.images) - len(kept)):
        return answer
    line = ReceiptLine("dropped", "images", str(dropped), "limits.images")
    attempt.receipt = attempt.receipt.with_lines(line)
    return replace(answer, images=tuple(kept))


def _add_measured_lines(attempt: Attempt, sources: Sequence[ImageSource | None]) -> None:
    """Add the type and size of each image to the receipt."""
    with bookkeeping("receipt"):
        for number, source in enumerate(sources, 1):
            if source:
                lines = measured_receipt(number, source.measured, attempt.params, source.length)
                attempt.receipt = attempt.receipt.with_lines(*lines)


async def _make_entries(
    request: web.Request, images: MadeImages, stack: AsyncExitStack
) -> list[DataEntry]:
    """Return the entries of all images; an image that cannot be read is reported as missing."""
    entries: list[DataEntry] = []
    made: list[tuple[Image, Target]] = []
    errors: list[ImageError] = []
    for image, target in images:
        try:
            entries.append(await _make_entry(request, image, target, stack))
            made.append((image, target))
        except ImageError as error:
            errors.append(error)
    if not entries:
        raise errors[0]
    if errors:
        handle_missing(request, tuple(made), len(errors), errors[0])
    whose = [target for _, target in made]
    with bookkeeping("prices"):
        sources = [entry.source for entry in entries]
        request[ATTEMPT].images_out = list(map(bill_image, whose, sources))
    return entries


class DataEntry(msgspec.Struct, frozen=True):
    """An entry of `data`. Without a `url` in `fields`, the base64 of `source` is added."""

    fields: dict[str, Any]
    source: ImageSource | None = None

    __repr__ = object.__repr__


async def _make_entry(
    request: web.Request, image: Image, target: Target, stack: AsyncExitStack
) -> DataEntry:
    """Return the entry of an image in the requested form.

    If the client has not asked for that form, an image that cannot be converted keeps its own.
    """
    try:
        return await _convert_entry(request, image, target, stack)
    except ImageError:
        attempt = request[ATTEMPT]
        if attempt.params.get("response_format"):
            raise
        if image.url and not isinstance(image, CachedImage):
            return DataEntry({"url": image.url, **image.extra})
        if attempt.form != "url":
            raise
        source = await open_image(client_for(request), target, image, stack, attempt.capture)
        return DataEntry(dict(image.extra), source)


async def _convert_entry(
    request: web.Request, image: Image, target: Target, stack: AsyncExitStack
) -> DataEntry:
    """Return the entry of an image in the form of the response."""
    attempt = request[ATTEMPT]
    wanted = attempt.form
    if image.url and not _is_fetched(request):
        return DataEntry({"url": image.url, **image.extra})
    source = await open_image(client_for(request), target, image, stack, attempt.capture)
    if not (image.url or wanted == "url") or wanted == "b64_json":
        return DataEntry(dict(image.extra), source)
    if not source.measured.media_type:
        raise UpstreamFailed("The provider's response contains no image.", code="bad_answer")
    return DataEntry({"url": await _publish_image(request, source), **image.extra}, source)


async def _publish_image(request: web.Request, source: ImageSource) -> str:
    """Return a URL of this gateway for an image. A cached image is in the blob store already."""
    media_type = source.measured.media_type
    if isinstance(source.image, CachedImage):
        return await publish_existing(request, source.image.path, media_type)
    total = request[SNAPSHOT].settings.timeouts.total
    with Timeout(total, total_timeout_error):
        return await publish(request, source.iter_bytes(), media_type)


def _body_parts(answer: Answer, entries: list[DataEntry]) -> list[Part]:
    """Return the parts of the body."""
    head = {"created": int(time.time()), **answer.extra}
    parts: list[Part] = [to_json(head)[:-1] + b',"data":[']
    for number, entry in enumerate(entries):
        comma, written = b"," if number else b"", to_json(entry.fields)
        if entry.source is None or "url" in entry.fields:
            parts.append(comma + written)
        else:
            parts += [comma + open_json_string(written, "b64_json"), entry.source, b'"}']
    usage = b',"usage":' + to_json(dict(answer.usage)) if answer.usage else b""
    parts.append(b"]" + usage + b"}")
    return parts


def open_json_string(written: bytes, name: str) -> bytes:
    """Return a JSON object that is left open inside a last, added string member.

    >>> open_json_string(b'{"seed":7}', "b64_json"), open_json_string(b"{}", "b64_json")
    (b'{"seed":7,"b64_json":"', b'{"b64_json":"')
    """
    comma = b"" if written == b"{}" else b","
    return written[:-1] + comma + b'"%b":"' % name.encode()


def to_json(tree: dict[str, Any]) -> bytes:
    """Serialize values of a provider's response; raises `UpstreamFailed`."""
    try:
        return orjson.dumps(tree)
    except orjson.JSONEncodeError:
        # orjson parses deeper nesting than it serializes.
        raise UpstreamFailed(
            "The provider's response is nested too deeply to be forwarded.", code="bad_answer"
        ) from None


async def iter_body(parts: list[Part]) -> AsyncGenerator[bytes, None]:
    """Yield a body in chunks."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for chunk in part.iter_base64():
                yield chunk


async def _write_body(
    request: web.Request, parts: list[Part], headers: Mapping[str, str]
) -> web.StreamResponse:
    lengths = [len(it) if isinstance(it, bytes) else it.base64_length for it in parts]
    known = [length for length in lengths if length is not None]
    length = sum(known) if len(known) == len(lengths) else None
    if length is not None and length <= _BUFFERED_LIMIT:
        return _complete_response(
            request[ATTEMPT], b"".join([it async for it in iter_body(parts)]), headers
        )
    response = web.StreamResponse(headers=headers)
    response.content_type, response.content_length = _JSON, length
    return await stream_response(request, response, iter_body(parts))


def _complete_response(attempt: Attempt, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """Return a response with a complete body, which aiohttp sends."""
    if attempt.capture:
        with bookkeeping("cache"):
            attempt.capture.start(200, _JSON, len(body))
            attempt.capture.add_chunk(body)
            attempt.capture.complete = True
    return web.Response(body=body, content_type=_JSON, headers=headers)


def _capture_chunk(capture: ResponseCapture, chunk: bytes) -> ResponseCapture | None:
    """Add a chunk; return the capture, or None if that failed: it would never be complete."""
    try:
        capture.add_chunk(chunk)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the image
        record_failure("cache", error)
        return None
    return capture


def is_between_events(end: bytes) -> bool:
    r"""Whether no event is open after a stream that ends with these bytes.

    >>> [is_between_events(it) for it in (b"", b"}\n\n", b"\r\n\r\n", b'"}\n', b'.."}')]
    [True, True, True, False, False]
    """
    return not end or end.endswith((b"\n\n", b"\n\r\n", b"\r\r"))


async def stream_response(
    request: web.Request, response: web.StreamResponse, chunks: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send the headers of `response` and its body; each chunk is passed on without a copy.

    If `chunks` raise an error, it is raised: the connection must be closed, because the response
    has already started. In a stream of events, it is sent as an event before, unless one is open.
    """
    capture = request[ATTEMPT].capture
    if capture:
        with bookkeeping("cache"):
            capture.start(response.status, response.content_type, response.content_length)
    end = b"" if response.content_type == EVENT_STREAM else None
    try:
        async with aclosing(chunks):
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
                if end is not None:
                    end = (end + chunk[-4:])[-4:]
                if capture:
                    capture = _capture_chunk(capture, chunk)
                # The chunk may be on disk by now, and the next one may take long to arrive.
                del chunk
    except ImageError as error:
        request[ERROR_CODE] = error.code or "cut"
        if end is not None and not error.sent_as_event and is_between_events(end):
            await response.write(error_event(error))
            error.sent_as_event = True
        raise
    if capture:
        capture.complete = True
    return response
