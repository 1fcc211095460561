"""What the client gets: the provider's bytes as they come, or an answer put together here.

`prepare()` is the commit point. Before it a failure can still be explained; after it the
connection is cut, and nothing is ever written into a body that has begun.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import ClientConnectionResetError, ClientResponse, web

from adapters.contract import Answer, Image
from adapters.errors import no_picture
from adapters.params import Line
from proxy.errors import GatewayError, UpstreamFailed
from proxy.keys import ATTEMPT, FAILURE, UPSTREAM
from proxy.plan import Attempt
from proxy.upstream.download import media_type_of
from proxy.upstream.faults import translated

CLIENT_GONE = "client_gone"
"""Why an answer was cut: nobody was left to read it."""
_JSON = "application/json"


async def relay(
    request: web.Request, provider: ClientResponse, headers: Mapping[str, str], head: bytes = b""
) -> web.StreamResponse:
    """Pass a provider's answer on, chunk by chunk, unread; `head` is its beginning, if taken."""
    recording = request[ATTEMPT].recording
    response = web.StreamResponse(status=provider.status, headers=headers)
    if recording:
        recording.begin(provider.status, provider.content_type, provider.content_length)
        if "content-encoding" in provider.headers:
            recording.chunks = None
    try:
        await response.prepare(request)
        chunk = head
        while chunk or not provider.content.at_eof():
            if chunk:
                await response.write(chunk)
                if recording:
                    recording.add(chunk)
            with translated():
                chunk = await provider.content.readany()
    except ClientConnectionResetError:
        return _cut(request, response, CLIENT_GONE)
    except GatewayError as error:
        return _cut(request, response, error.code or "cut")
    if recording:
        recording.complete = True
    return response


def _cut(request: web.Request, response: web.StreamResponse, why: str) -> web.StreamResponse:
    """End a body that has begun and cannot be finished: by cutting the connection."""
    request[FAILURE] = why
    if request.transport:
        request.transport.abort()
    return response


async def deliver(
    request: web.Request, answer: Answer, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer in OpenAI's shape, the pictures in the form that the client asked for."""
    attempt = request[ATTEMPT]
    if not answer.images:
        raise no_picture()
    wanted = attempt.params.get("response_format")
    streamed = attempt.params.get("stream") is True
    if answer.body is not None and not streamed and _as_wanted(answer, wanted):
        return _whole(attempt, answer.body, headers)
    upstream, target = request.app[UPSTREAM], attempt.target
    images = answer.images
    if wanted == "b64_json" or streamed:
        # One after the other: a picture is megabytes, and the first is what a client waits for.
        images = tuple([await upstream.fetched(target, image) for image in images])
    entries = await asyncio.to_thread(_entries, images, wanted, streamed)
    if wanted == "url" and any(entry["url"].startswith("data:") for entry in entries):
        line = Line("converted", "response_format", "url", "data-url")
        attempt.receipt = attempt.receipt.plus(line)
    if streamed:
        return await _events(request, answer, entries, headers)
    body = {"created": int(time.time()), **answer.extra, "data": entries}
    if answer.usage:
        body["usage"] = answer.usage
    return _whole(attempt, _written(body), headers)


def _written(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # JSON nested so deeply that it can be read but not written again.
        raise UpstreamFailed("The provider's answer cannot be passed on.") from None


def _as_wanted(answer: Answer, wanted: object) -> bool:
    """Tell whether every picture already has the form that the client asked for."""
    if wanted == "b64_json":
        return all(image.b64 for image in answer.images)
    if wanted == "url":
        return all(image.url for image in answer.images)
    return True


def _entries(
    images: tuple[Image, ...],
    wanted: object,
    streamed: bool,  # noqa: FBT001 - a thread's argument
) -> list[dict[str, Any]]:
    """Write each picture as an entry of `data`; off the loop, base64 of megabytes takes a while."""
    if wanted == "url" and not streamed:
        return [{"url": image.url or _data_url(image), **image.extra} for image in images]
    return [
        {"url": image.url, **image.extra}
        if image.url
        else {"b64_json": _base64(image), **image.extra}
        for image in images
    ]


def _base64(image: Image) -> str:
    return image.b64 or base64.b64encode(image.data).decode("ascii")


def _data_url(image: Image) -> str:
    text = _base64(image)
    head = image.data[:512] or base64.b64decode(text[:680] + "=" * (-len(text[:680]) % 4))
    media_type = image.media_type or media_type_of(head) or "application/octet-stream"
    return f"data:{media_type};base64,{text}"


def _whole(attempt: Attempt, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """Give a body that is complete; aiohttp prepares and writes it."""
    if attempt.recording:
        attempt.recording.begin(200, _JSON, len(body))
        attempt.recording.add(body)
        attempt.recording.complete = True
    return web.Response(body=body, content_type=_JSON, headers=headers)


async def _events(
    request: web.Request, answer: Answer, entries: list[dict[str, Any]], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer a client that asked for events where the provider has none: a finished one each."""
    response = web.StreamResponse(headers={**headers, "cache-control": "no-cache"})
    response.content_type = "text/event-stream"
    asked = request[ATTEMPT].params
    about: dict[str, Any] = {
        name: asked.get(name) or "auto" for name in ("size", "quality", "background")
    }
    about |= {"created_at": int(time.time()), "output_format": asked.get("output_format") or "png"}
    about |= {"usage": answer.usage or _NOTHING_COUNTED}
    kind = "image_generation.completed"
    events = [_written({"type": kind, **entry, **about}) for entry in entries]
    try:
        await response.prepare(request)
        for event in events:
            await response.write(b"event: %b\ndata: %b\n\n" % (kind.encode(), event))
    except ClientConnectionResetError:
        return _cut(request, response, CLIENT_GONE)
    return response


_NOTHING_COUNTED = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
