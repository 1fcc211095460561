"""What the client gets where the provider's answer is not simply relayed.

An answer in OpenAI's shape, each picture in the form that the client asked for, and a line in the
receipt on what it turned out to be.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
import orjson
from aiohttp import web

from adapters.contract import Answer, Image
from adapters.errors import ImageError, no_image_error
from proxy.blobs.publish import publish, publish_existing
from proxy.cache.entry import CachedImage
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import UpstreamFailed
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
from proxy.routing.attempt import Attempt, MadeImages
from proxy.routing.plan import Target
from proxy.upstream.client import client_for
from proxy.upstream.timeout import Timeout, total_timeout_error

_JSON = "application/json"
_BUFFERED_LIMIT = 256 * 1024
"""Bytes up to which a body is written in one piece."""

Part = bytes | ImageSource
"""A piece of a body: bytes, or a picture whose base64 stands there."""


async def deliver(
    request: web.Request, answer: Answer, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with the pictures that were made, by earlier targets and by this one."""
    attempt = request[ATTEMPT]
    images = attempt.with_prior_images(answer.images)
    if not images:
        raise no_image_error()
    if answer.body is not None and _can_relay_body(request, answer):
        sources = [from_base64(it) if it.b64 else None for it in answer.images]
        _add_measured_lines(attempt, sources)
        attempt.images_out = [bill_image(attempt.target, source) for source in sources]
        return _complete_response(attempt, answer.body, headers)
    attempt.receipt = attempt.receipt.with_lines(*cached_receipt(image for image, _ in images))
    async with AsyncExitStack() as stack:
        entries = await _make_entries(request, images, stack)
        _add_measured_lines(attempt, [entry.source for entry in entries])
        if attempt.capture:
            attempt.capture.add_answer(answer)
        return await _write_body(request, _body_parts(answer, entries), headers)


def _can_relay_body(request: web.Request, answer: Answer) -> bool:
    """Tell whether the provider's own body has all pictures, in the form that was asked for."""
    attempt, blobs = request[ATTEMPT], request[SNAPSHOT].settings.blobs
    wanted = attempt.params.get("response_format")
    by_url = wanted != "b64_json" and not blobs.persist_urls
    return not attempt.prior_images and all(
        by_url if it.url else wanted != "url" and is_canonical_base64(it.b64)
        for it in answer.images
    )


def _add_measured_lines(attempt: Attempt, sources: Sequence[ImageSource | None]) -> None:
    """Say in the receipt what pictures turned out to be."""
    for number, source in enumerate(sources, 1):
        if source:
            told = measured_receipt(number, source.measured, attempt.params, source.length)
            attempt.receipt = attempt.receipt.with_lines(*told)


async def _make_entries(
    request: web.Request, images: MadeImages, stack: AsyncExitStack
) -> list[DataEntry]:
    """Bring pictures into the form that the client asked for; one that is lost takes no others."""
    entries: list[DataEntry] = []
    made: list[tuple[Image, Target]] = []
    lost: list[ImageError] = []
    for image, target in images:
        try:
            entries.append(await _make_entry(request, image, target, stack))
            made.append((image, target))
        except ImageError as error:
            lost.append(error)
    if not entries:
        raise lost[0]
    if lost:
        handle_missing(request, tuple(made), len(lost), lost[0])
    whose = [target for _, target in made]
    request[ATTEMPT].images_out = list(map(bill_image, whose, [entry.source for entry in entries]))
    return entries


class DataEntry(msgspec.Struct, frozen=True):
    """An entry of `data`. Without a `url` in `fields` the base64 of `source` stands there."""

    fields: dict[str, Any]
    source: ImageSource | None = None

    __repr__ = object.__repr__


async def _make_entry(
    request: web.Request, image: Image, target: Target, stack: AsyncExitStack
) -> DataEntry:
    """Bring a picture into the form that the client asked for."""
    attempt, blobs = request[ATTEMPT], request[SNAPSHOT].settings.blobs
    wanted = attempt.params.get("response_format")
    if image.url and wanted != "b64_json" and not blobs.persist_urls:
        return DataEntry({"url": image.url, **image.extra})
    source = await open_image(client_for(request), target, image, stack, attempt.capture)
    if not (image.url or wanted == "url") or wanted == "b64_json":
        return DataEntry(dict(image.extra), source)
    if not source.measured.media_type:
        raise UpstreamFailed("The provider's answer holds no picture.", code="bad_answer")
    return DataEntry({"url": await _publish_image(request, source), **image.extra}, source)


async def _publish_image(request: web.Request, source: ImageSource) -> str:
    """Give a picture a URL of ours; what the cache has lies in the store already."""
    media_type = source.measured.media_type
    if isinstance(source.image, CachedImage):
        return await publish_existing(request, source.image.path, media_type)
    most = request[SNAPSHOT].settings.timeouts.total
    with Timeout(most, total_timeout_error):
        return await publish(request, source.iter_bytes(), media_type)


def _body_parts(answer: Answer, entries: list[DataEntry]) -> list[Part]:
    """Write everything but the pictures."""
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
    """Take an object in JSON up to where the text of a further, last member begins.

    >>> opened_string(b'{"seed":7}', "b64_json"), opened_string(b"{}", "b64_json")
    (b'{"seed":7,"b64_json":"', b'{"b64_json":"')
    """
    comma = b"" if written == b"{}" else b","
    return written[:-1] + comma + b'"%b":"' % name.encode()


def to_json(tree: dict[str, Any]) -> bytes:
    """Write what a provider said; raises where that cannot be."""
    try:
        return orjson.dumps(tree)
    except orjson.JSONEncodeError:
        # JSON nested so deeply that it can be read but not written again.
        raise UpstreamFailed(
            "The provider's answer cannot be passed on.", code="bad_answer"
        ) from None


async def iter_body(parts: list[Part]) -> AsyncGenerator[bytes, None]:
    """Give a body piece by piece."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for piece in part.iter_base64():
                yield piece


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
    """Give a body that is complete; aiohttp prepares and writes it."""
    if attempt.capture:
        attempt.capture.start(200, _JSON, len(body))
        attempt.capture.add_chunk(body)
        attempt.capture.complete = True
    return web.Response(body=body, content_type=_JSON, headers=headers)


async def stream_response(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Commit to `response` and write its body; each piece goes on as the same object.

    Where the pieces end in a failure, the body that has begun can only be cut: it is raised.
    """
    recording = request[ATTEMPT].capture
    if recording:
        recording.start(response.status, response.content_type, response.content_length)
    try:
        async with aclosing(pieces):
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
                if recording:
                    recording.add_chunk(piece)
                # It may have gone to disk by now, and the next one be long in coming.
                del piece
    except ImageError as error:
        request[ERROR_CODE] = error.code or "cut"
        raise
    if recording:
        recording.complete = True
    return response
