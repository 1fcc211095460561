"""The kinds of conversation, one column of the table each."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests.faults.wire import Reply

Replies = Callable[[str, bytes], dict[str, Reply]]
"""Gives the replies by method, from the provider's URL and the picture."""
_JSON = "application/json"


@dataclass(frozen=True)
class Kind:
    """A provider, what is asked of it, how it replies, and to which method it does so wrongly."""

    name: str
    provider: str
    params: Mapping[str, Any]
    replies: Replies
    method: str = "POST"
    relayed: bool = False
    """Whether the gateway passes on what it has not read."""


def _json(tree: Any, status: int = 200) -> Reply:
    return Reply(status, _JSON, orjson.dumps(tree))


def _text(picture: bytes) -> str:
    return b64encode(picture).decode()


def openai_shaped(url: str, picture: bytes) -> dict[str, Reply]:
    """Reply with a picture in OpenAI's shape."""
    del url
    return {"POST": _json({"created": 1, "data": [{"b64_json": _text(picture)}]})}


def _gemini(url: str, picture: bytes) -> dict[str, Reply]:
    del url
    part = {"inlineData": {"mimeType": "image/png", "data": _text(picture)}}
    told = {"content": {"parts": [part]}, "finishReason": "STOP"}
    return {"POST": _json({"candidates": [told]})}


def _bytes(url: str, picture: bytes) -> dict[str, Reply]:
    del url
    return {"POST": Reply(200, "image/png", picture)}


def _polled(url: str, picture: bytes) -> dict[str, Reply]:
    job = {"id": "a1", "urls": {"get": f"{url}/predictions/a1"}, "error": None}
    made = {"status": "succeeded", "output": f"data:image/png;base64,{_text(picture)}"}
    begun = _json({**job, "status": "starting", "output": None}, 201)
    return {"POST": begun, "GET": _json({**job, **made})}


def _linked(url: str, picture: bytes) -> dict[str, Reply]:
    link = _json({"created": 1, "data": [{"url": f"{url}/picture.png"}]})
    return {"POST": link, "GET": Reply(200, "image/png", picture)}


def _events(url: str, picture: bytes) -> dict[str, Reply]:
    del url
    name = "image_generation.completed"
    data = orjson.dumps({"type": name, "b64_json": _text(picture), "created_at": 1})
    body = b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return {"POST": Reply(200, "text/event-stream", body)}


_MODEL = {"model": "gpt-image-2"}

KINDS = (
    Kind("verbatim", "openai", _MODEL, openai_shaped, relayed=True),
    Kind("own JSON", "google", {"model": "gemini-3.1-flash-image"}, _gemini),
    Kind("form", "stability-ai", {"model": "stable-image-core"}, _bytes),
    Kind("binary", "huggingface", {"model": "stabilityai/sdxl"}, _bytes),
    Kind("polling", "replicate", {"model": "black-forest-labs/flux-1.1-pro"}, _polled, "GET"),
    Kind("events", "openai", {**_MODEL, "stream": True}, _events, relayed=True),
    Kind(
        "download", "openai", {"model": "dall-e-3", "response_format": "b64_json"}, _linked, "GET"
    ),
)
