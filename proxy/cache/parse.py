"""Takes apart an answer that was relayed unread: JSON in the client's shape, or events of it."""

from __future__ import annotations

from typing import Any

from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.errors import ImageError
from adapters.http import ProviderReply
from adapters.tools.json_access import at, text_at
from adapters.tools.sse import Events

EVENTS = "text/event-stream"
_ABOUT = ("background", "output_format", "quality", "size")
"""Members of an event that stand at the top of an answer in JSON."""
_OWN = frozenset({*_ABOUT, "type", "b64_json", "created_at", "usage"})


def read(adapter: Adapter, call: ImageCall, content_type: str, body: bytes) -> list[Answer]:
    """Give what an answer consists of; nothing where it is no whole answer with pictures.

    It takes its time with an answer of megabytes: call it in a thread.
    """
    if content_type == EVENTS:
        return _read_events(body)
    reply = ProviderReply(body=body)
    try:
        answer = adapter.answer(call, reply)
    except ImageError:
        return []
    created = at(reply.json(), "created")
    extra = {**answer.extra, "created": created} if isinstance(created, int) else answer.extra
    return [Answer(answer.images, usage=answer.usage, extra=extra)]


def _read_events(body: bytes) -> list[Answer]:
    events = Events()
    told = [event.json() for event in (*events.feed(body), *events.rest())]
    if any(at(it, "error") is not None or text_at(it, "type") == "error" for it in told):
        return []
    return [_finished(it) for it in told if text_at(it, "type").endswith(".completed")]


def _finished(told: dict[str, Any]) -> Answer:
    own = {name: value for name, value in told.items() if name not in _OWN}
    about = {name: told[name] for name in _ABOUT if name in told}
    if isinstance(created := told.get("created_at"), int):
        about["created"] = created
    image = Image(b64=text_at(told, "b64_json"), extra=own)
    usage = told.get("usage")
    return Answer((image,), usage=usage if isinstance(usage, dict) else None, extra=about)
