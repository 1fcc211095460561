"""Renders a request's images to base64, in threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pybase64

from proxy.sandbox.request import SandboxRequest

_MAX_THREADS = 4


class RenderPool:
    """A thread pool that draws.

    It is separate from asyncio's own, so that DNS look-ups do not wait for images; and it is small,
    so that few images are in memory.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "sandbox")

    async def stages(self, request: SandboxRequest, index: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield one image's numbered stages in base64; `request.partials` is the final one."""
        loop = asyncio.get_running_loop()
        texts = _render_stages(request, index)
        for stage in range(request.partials + 1):
            yield stage, await loop.run_in_executor(self._threads, next, texts)

    async def images(self, request: SandboxRequest) -> list[bytes]:
        """Return all final images in base64, drawn concurrently."""
        return await asyncio.gather(
            *(self._final_image(request, index) for index in range(request.n))
        )

    async def _final_image(self, request: SandboxRequest, index: int) -> bytes:
        return [text async for _, text in self.stages(request, index)][-1]

    def close(self) -> None:
        """Stop the threads; work that has not started is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _render_stages(request: SandboxRequest, index: int) -> Iterator[bytes]:
    """Draw one image; yield it in base64 at each stage, the last one final."""
    # Pillow is imported with the first image: most gateways never draw one.
    from proxy.sandbox.draw import Scene, draw, encode, preview  # noqa: PLC0415 - see above

    scene = Scene(
        request.prompt, request.width, request.height, request.digest, index, request.transparent
    )
    image = draw(scene)
    for stage in range(request.partials):
        yield pybase64.b64encode(
            encode(preview(image, stage), request.output_format, request.compression)
        )
    yield pybase64.b64encode(encode(image, request.output_format, request.compression))
