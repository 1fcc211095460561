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
from adapters.errors import ImageError, no_picture
from proxy.blobs.publish import kept, linked
from proxy.cache.entry import KeptImage
from proxy.context import ATTEMPT, ERROR_CODE
from proxy.errors import UpstreamFailed
from proxy.pipeline.accounting import drawn_of
from proxy.pipeline.image_source import Source, cached_lines, is_tidy, lines_of, of_text, opened
from proxy.pipeline.partial import accounted
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, Made
from proxy.routing.plan import Target
from proxy.upstream.client import upstream_of
from proxy.upstream.timeout import Deadline, worked_too_long

_JSON = "application/json"
_SHORT = 256 * 1024
"""Bytes up to which a body is written in one piece."""

Part = bytes | Source
"""A piece of a body: bytes, or a picture whose base64 stands there."""


async def deliver(
    request: web.Request, answer: Answer, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with the pictures that were made, by earlier targets and by this one."""
    attempt = request[ATTEMPT]
    images = attempt.with_made(answer.images)
    if not images:
        raise no_picture()
    if answer.body is not None and _is_as_asked(request, answer):
        sources = [of_text(it) if it.b64 else None for it in answer.images]
        _measure(attempt, sources)
        attempt.drawn = [drawn_of(attempt.target, source) for source in sources]
        return _whole(attempt, answer.body, headers)
    attempt.receipt = attempt.receipt.plus(*cached_lines(image for image, _ in images))
    async with AsyncExitStack() as stack:
        entries = await _entries(request, images, stack)
        _measure(attempt, [entry.source for entry in entries])
        if attempt.recording:
            attempt.recording.consists_of(answer)
        return await _written(request, _body(answer, entries), headers)


def _is_as_asked(request: web.Request, answer: Answer) -> bool:
    """Tell whether the provider's own body has all pictures, in the form that was asked for."""
    attempt, blobs = request[ATTEMPT], request[SNAPSHOT].settings.blobs
    wanted = attempt.params.get("response_format")
    by_url = wanted != "b64_json" and not blobs.persist_urls
    return not attempt.made and all(
        by_url if it.url else wanted != "url" and is_tidy(it.b64) for it in answer.images
    )


def _measure(attempt: Attempt, sources: Sequence[Source | None]) -> None:
    """Say in the receipt what pictures turned out to be."""
    for number, source in enumerate(sources, 1):
        if source:
            told = lines_of(number, source.measured, attempt.params, source.length)
            attempt.receipt = attempt.receipt.plus(*told)


async def _entries(request: web.Request, images: Made, stack: AsyncExitStack) -> list[_Entry]:
    """Bring pictures into the form that the client asked for; one that is lost takes no others."""
    entries: list[_Entry] = []
    made: list[tuple[Image, Target]] = []
    lost: list[ImageError] = []
    for image, target in images:
        try:
            entries.append(await _entry(request, image, target, stack))
            made.append((image, target))
        except ImageError as error:
            lost.append(error)
    if not entries:
        raise lost[0]
    if lost:
        accounted(request, tuple(made), len(lost), lost[0])
    whose = [target for _, target in made]
    request[ATTEMPT].drawn = list(map(drawn_of, whose, [entry.source for entry in entries]))
    return entries


class _Entry(msgspec.Struct, frozen=True):
    """An entry of `data`. Without a `url` in `fields` the base64 of `source` stands there."""

    fields: dict[str, Any]
    source: Source | None = None

    __repr__ = object.__repr__


async def _entry(
    request: web.Request, image: Image, target: Target, stack: AsyncExitStack
) -> _Entry:
    """Bring a picture into the form that the client asked for."""
    attempt, blobs = request[ATTEMPT], request[SNAPSHOT].settings.blobs
    wanted = attempt.params.get("response_format")
    if image.url and wanted != "b64_json" and not blobs.persist_urls:
        return _Entry({"url": image.url, **image.extra})
    source = await opened(upstream_of(request), target, image, stack, attempt.recording)
    if not (image.url or wanted == "url") or wanted == "b64_json":
        return _Entry(dict(image.extra), source)
    if not source.measured.media_type:
        raise UpstreamFailed("The provider's answer holds no picture.", code="bad_answer")
    return _Entry({"url": await _url(request, source), **image.extra}, source)


async def _url(request: web.Request, source: Source) -> str:
    """Give a picture a URL of ours; what the cache has lies in the store already."""
    media_type = source.measured.media_type
    if isinstance(source.image, KeptImage):
        return await linked(request, source.image.place, media_type)
    most = request[SNAPSHOT].settings.timeouts.total
    with Deadline(most, worked_too_long):
        return await kept(request, source.raw(), media_type)


def _body(answer: Answer, entries: list[_Entry]) -> list[Part]:
    """Write everything but the pictures."""
    head = {"created": int(time.time()), **answer.extra}
    parts: list[Part] = [dumped(head)[:-1] + b',"data":[']
    for number, entry in enumerate(entries):
        comma, written = b"," if number else b"", dumped(entry.fields)
        if entry.source is None or "url" in entry.fields:
            parts.append(comma + written)
        else:
            parts += [comma + opened_string(written, "b64_json"), entry.source, b'"}']
    usage = b',"usage":' + dumped(dict(answer.usage)) if answer.usage else b""
    parts.append(b"]" + usage + b"}")
    return parts


def opened_string(written: bytes, name: str) -> bytes:
    """Take an object in JSON up to where the text of a further, last member begins.

    >>> opened_string(b'{"seed":7}', "b64_json"), opened_string(b"{}", "b64_json")
    (b'{"seed":7,"b64_json":"', b'{"b64_json":"')
    """
    comma = b"" if written == b"{}" else b","
    return written[:-1] + comma + b'"%b":"' % name.encode()


def dumped(tree: dict[str, Any]) -> bytes:
    """Write what a provider said; raises where that cannot be."""
    try:
        return orjson.dumps(tree)
    except orjson.JSONEncodeError:
        # JSON nested so deeply that it can be read but not written again.
        raise UpstreamFailed(
            "The provider's answer cannot be passed on.", code="bad_answer"
        ) from None


async def pieces_of(parts: list[Part]) -> AsyncGenerator[bytes, None]:
    """Give a body piece by piece."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for piece in part.text():
                yield piece


async def _written(
    request: web.Request, parts: list[Part], headers: Mapping[str, str]
) -> web.StreamResponse:
    lengths = [len(it) if isinstance(it, bytes) else it.base64_length for it in parts]
    known = [length for length in lengths if length is not None]
    length = sum(known) if len(known) == len(lengths) else None
    if length is not None and length <= _SHORT:
        return _whole(request[ATTEMPT], b"".join([it async for it in pieces_of(parts)]), headers)
    response = web.StreamResponse(headers=headers)
    response.content_type, response.content_length = _JSON, length
    return await poured(request, response, pieces_of(parts))


def _whole(attempt: Attempt, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """Give a body that is complete; aiohttp prepares and writes it."""
    if attempt.recording:
        attempt.recording.begin(200, _JSON, len(body))
        attempt.recording.add(body)
        attempt.recording.complete = True
    return web.Response(body=body, content_type=_JSON, headers=headers)


async def poured(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Commit to `response` and write its body; each piece goes on as the same object.

    Where the pieces end in a failure, the body that has begun can only be cut: it is raised.
    """
    recording = request[ATTEMPT].recording
    if recording:
        recording.begin(response.status, response.content_type, response.content_length)
    try:
        async with aclosing(pieces):
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
                if recording:
                    recording.add(piece)
                # It may have gone to disk by now, and the next one be long in coming.
                del piece
    except ImageError as error:
        request[ERROR_CODE] = error.code or "cut"
        raise
    if recording:
        recording.complete = True
    return response
