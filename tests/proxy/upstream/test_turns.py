"""Long work of many requests: one short step of one of them in each turn of the event loop."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pybase64
import pytest

from adapters.errors import ImageError
from adapters.tools.image_header import ImageHeader
from proxy.pipeline import image_source
from proxy.pipeline.completeness import EventScan, check_events
from proxy.pipeline.image_source import ImageSource
from proxy.upstream import reply_limits
from proxy.upstream.base64_extract import Base64Extractor
from proxy.upstream.errors import ended_early
from proxy.upstream.reply_limits import Inflater, ValueCounter, check_values, inflate
from proxy.upstream.temp_file import ImageTempFile, TempFiles
from proxy.upstream.turns import next_turn

EVENTS = b'data: {"type":"x"}\n\n' * 400
VALUES = b"[" + b" " * (1 << 20) + b"]"
BASE64 = b"A" * (1 << 19)


class Turns:
    """Records in which turn of the event loop each step ran."""

    def __init__(self) -> None:
        self.now = 0
        self.steps: list[int] = []
        asyncio.get_running_loop().call_soon(self._count)

    def _count(self) -> None:
        self.now += 1
        asyncio.get_running_loop().call_soon(self._count)

    def note(self, *_: object) -> None:
        self.steps.append(self.now)


async def chunks_of(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def scan_events(_: Path) -> None:
    with pytest.raises(ImageError):
        async for _chunk in check_events(
            chunks_of(EVENTS), EventScan(), 1, lambda _: ended_early()
        ):
            pass


async def count_values(_: Path) -> None:
    await check_values(VALUES)


async def decompress(_: Path) -> None:
    packed = gzip.compress(bytes(range(256)) * 8192, 0)
    async for _chunk in inflate(chunks_of(packed), "gzip", 1 << 30):
        pass


async def extract(folder: Path) -> None:
    extractor = Base64Extractor(TempFiles(folder))
    for at in range(0, len(BASE64), 1 << 16):
        await extractor.feed((b'{"a":"' if at == 0 else b"") + BASE64[at : at + (1 << 16)])


def noted(turns: Turns, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **more: Any) -> Any:
        turns.note()
        return function(*args, **more)

    return call


def noted_pieces(turns: Turns, function: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
    def call(*args: Any) -> Iterator[Any]:
        for piece in function(*args):
            turns.note()
            yield piece

    return call


CASES: tuple[tuple[type, str, Any, Callable[[Path], Awaitable[None]], int], ...] = (
    (EventScan, "feed", noted, scan_events, 7),
    (ValueCounter, "add", noted, count_values, 4),
    (Inflater, "feed", noted_pieces, decompress, 8),
    (ImageTempFile, "append", noted, extract, 2),
)


async def test_long_work_of_several_replies_takes_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, name, wrap, work, least in CASES:
        turns = Turns()
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, wrap(turns, getattr(owner, name)))
            await asyncio.gather(*(work(tmp_path) for _ in range(3)))
        about = f"{owner.__name__}.{name}"
        assert len(turns.steps) >= 3 * least, about
        assert len(set(turns.steps)) >= len(turns.steps) - 3, about


async def test_a_step_of_one_waits_for_those_of_others() -> None:
    turns = Turns()

    async def work() -> None:
        for _ in range(10):
            await next_turn()
            turns.note()

    await asyncio.gather(*(work() for _ in range(5)))
    assert len(set(turns.steps)) == 50


async def test_ordinary_chunks_wait_for_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def never() -> None:
        asked.append(1)

    monkeypatch.setattr("proxy.pipeline.completeness.next_turn", never)
    monkeypatch.setattr(reply_limits, "next_turn", never)
    monkeypatch.setattr(image_source, "next_turn", never)
    event = b'data: {"b64_json":"' + BASE64 + b'"}\n\n'
    chunks = [it async for it in check_events(chunks_of(event), EventScan(), 1, _unexpected)]
    await check_values(b'{"data":[{"b64_json":"AAAA"}]}')
    image: Any = type("Image", (), {"b64": "", "data": pybase64.b64decode(BASE64[:40_000])})()
    source = ImageSource(image, ImageHeader("image/png", 1, 1), 30_000)
    assert b"".join([it async for it in source.iter_base64()]) == BASE64[:40_000]
    assert (chunks, asked) == ([event], [])


def _unexpected(_: bytes) -> ImageError:
    raise AssertionError
