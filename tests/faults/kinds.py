"""Kinds of conversation with a provider, one column of the table each."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests.faults.wire import Reply

Replies = Callable[[str, bytes], dict[str, Reply]]
"""Returns the correct replies by method, for the provider's URL and an image."""
_JSON = "application/json"


@dataclass(frozen=True)
class Kind:
    """A provider, the client's parameters, the correct replies, and the method that fails."""

    name: str
    provider: str
    params: Mapping[str, Any]
    replies: Replies
    faulty_method: str = "POST"
    relayed: bool = False
    """Whether the gateway relays the body without parsing it."""


def _json(tree: Any, status: int = 200) -> Reply:
    return Reply(status, _JSON, orjson.dumps(tree))


def _base64(image: bytes) -> str:
    return b64encode(image).decode()


def openai_shaped(url: str, image: bytes) -> dict[str, Reply]:
    """Return an OpenAI-compatible reply with an image."""
    del url
    return {"POST": _json({"created": 1, "data": [{"b64_json": _base64(image)}]})}


def _gemini(url: str, image: bytes) -> dict[str, Reply]:
    del url
    part = {"inlineData": {"mimeType": "image/png", "data": _base64(image)}}
    candidate = {"content": {"parts": [part]}, "finishReason": "STOP"}
    return {"POST": _json({"candidates": [candidate]})}


def _image_bytes(url: str, image: bytes) -> dict[str, Reply]:
    del url
    return {"POST": Reply(200, "image/png", image)}


def _polling(url: str, image: bytes) -> dict[str, Reply]:
    job = {"id": "a1", "urls": {"get": f"{url}/predictions/a1"}, "error": None}
    finished = {"status": "succeeded", "output": f"data:image/png;base64,{_base64(image)}"}
    created = _json({**job, "status": "starting", "output": None}, 201)
    return {"POST": created, "GET": _json({**job, **finished})}


def _by_url(url: str, image: bytes) -> dict[str, Reply]:
    link = _json({"created": 1, "data": [{"url": f"{url}/image.png"}]})
    return {"POST": link, "GET": Reply(200, "image/png", image)}


def _events(url: str, image: bytes) -> dict[str, Reply]:
    del url
    name = "image_generation.completed"
    data = orjson.dumps({"type": name, "b64_json": _base64(image), "created_at": 1})
    body = b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return {"POST": Reply(200, "text/event-stream", body)}


_MODEL = {"model": "gpt-image-2"}

KINDS = (
    Kind("verbatim", "openai", _MODEL, openai_shaped, relayed=True),
    Kind("own JSON", "google", {"model": "gemini-3.1-flash-image"}, _gemini),
    Kind("form", "stability-ai", {"model": "stable-image-core"}, _image_bytes),
    Kind("binary", "huggingface", {"model": "stabilityai/sdxl"}, _image_bytes),
    Kind("polling", "replicate", {"model": "black-forest-labs/flux-1.1-pro"}, _polling, "GET"),
    Kind("events", "openai", {**_MODEL, "stream": True}, _events, relayed=True),
    Kind(
        "download", "openai", {"model": "dall-e-3", "response_format": "b64_json"}, _by_url, "GET"
    ),
)
