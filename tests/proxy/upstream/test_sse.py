"""Server-sent events of a provider, read through its adapter as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import ClientResponse

from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.errors import ProviderError
from proxy.errors import UpstreamFailed
from proxy.upstream.sse import stream_answers

CALL = ImageCall({}, {})


class Acme(Adapter):
    """An adapter with events for images, and one for a failure."""

    def parse_event(self, call: ImageCall, data: Any) -> Answer:
        del call
        if data and "error" in data:
            raise ProviderError(data["error"])
        return Answer((Image(b64=data["b64"]),)) if data else Answer(())


class Body:
    """A response whose body arrives in chunks."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.content = self
        self.headers: dict[str, str] = {}

    def at_eof(self) -> bool:
        return not self._pieces

    @staticmethod
    def exception() -> None:
        """No error of a connection."""

    async def readany(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def reading(*pieces: bytes, limit: int = 1000, secret: str = "") -> AsyncIterator[Answer]:
    response = cast("ClientResponse", Body(*pieces))
    return stream_answers(response, Acme(), CALL, limit, frozenset(filter(None, [secret])))


async def test_each_complete_event_yields_its_answer_and_empty_ones_none() -> None:
    stream = reading(b'data: {"b64": "a"}\n\nda', b"ta: [DONE]\n\ndata", b': {"b64": "b"}')
    assert [answer.images[0].b64 async for answer in stream] == ["a", "b"]


async def test_an_error_event_raises_it_without_the_secret() -> None:
    with pytest.raises(ProviderError, match=r"bad key \*\*\*"):
        await anext(reading(b'data: {"error": "bad key sk-123456789"}\n\n', secret="sk-123456789"))


async def test_events_without_an_end_are_cut_off() -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await anext(reading(*[b"data: x"] * 200, limit=500))
    assert caught.value.code == "too_large"
