"""From an order to its pictures' base64 texts, in threads beside the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pybase64

from proxy.sandbox.request import SandboxRequest

_MAX_THREADS = 4


class RenderPool:
    """Threads that draw.

    They are the studio's own: name look-ups, which share asyncio's threads, must not wait behind
    pictures, and few threads hold few pictures in memory.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "studio")

    async def stages(self, order: SandboxRequest, index: int) -> AsyncIterator[tuple[int, bytes]]:
        """Give one picture's texts as they are made, numbered; number `order.partials` is done."""
        loop = asyncio.get_running_loop()
        texts = _render_stages(order, index)
        for stage in range(order.partials + 1):
            yield stage, await loop.run_in_executor(self._threads, next, texts)

    async def images(self, order: SandboxRequest) -> list[bytes]:
        """Give the texts of all the finished pictures, drawn side by side."""
        return await asyncio.gather(*(self._final_image(order, index) for index in range(order.n)))

    async def _final_image(self, order: SandboxRequest, index: int) -> bytes:
        return [text async for _, text in self.stages(order, index)][-1]

    def close(self) -> None:
        """Let the threads go; what none of them has begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _render_stages(order: SandboxRequest, index: int) -> Iterator[bytes]:
    """Draw one picture: give it at each stage, the last one finished."""
    # Pillow is imported with the first picture: most gateways never draw one.
    from proxy.sandbox.draw import Scene, draw, encode, preview  # noqa: PLC0415 - see above

    subject = Scene(order.prompt, order.width, order.height, order.digest, index, order.transparent)
    image = draw(subject)
    for stage in range(order.partials):
        yield pybase64.b64encode(
            encode(preview(image, stage), order.output_format, order.compression)
        )
    yield pybase64.b64encode(encode(image, order.output_format, order.compression))
