"""Renders a request's images to base64, in threads."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from weakref import WeakValueDictionary

import pybase64

from adapters.errors import ImageError
from proxy.sandbox.request import SandboxRequest

_MIN_THREADS, _MAX_THREADS = 2, 4
MAX_PIXELS_DRAWN = 96 * 1024 * 1024
"""Pixels of all requests being drawn; the largest request has 83 million. Base64 has at most 4
bytes for a pixel, and much less for a drawn one."""
_PIXELS_FOR_OTHERS = 16 * 1024 * 1024
"""Of these, what several requests of one caller leave to other callers."""
_MIN_PIXELS = 64 * 1024
"""What an image counts at least."""


class RenderPool:
    """A thread pool that draws.

    It is separate from asyncio's own, so that nothing else waits for images; and it is small, so
    that few images are in memory uncompressed. All stages of an image are drawn in one go: while
    they waited for a thread in between, every waiting image would be in memory.

    One caller leaves a thread and some of the pixels to others.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS_DRAWN) -> None:
        threads = max(_MIN_THREADS, min(_MAX_THREADS, os.cpu_count() or 1))
        self._threads = ThreadPoolExecutor(threads, "sandbox")
        self._threads_each = threads - 1
        self._free: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._max_pixels = max_pixels
        self._pixels_by_caller: Counter[str] = Counter()
        self.pixels = 0
        """Pixels of the requests that are being drawn, or whose images are being sent."""

    @contextmanager
    def reserve(self, request: SandboxRequest, caller: str = "") -> Iterator[None]:
        """Count a request while the block runs; raises `ImageError` if too much is being drawn."""
        pixels, own = pixels_held(request), self._pixels_by_caller[caller]
        most = self._max_pixels - _PIXELS_FOR_OTHERS
        if (self.pixels and self.pixels + pixels > self._max_pixels) or (
            own and own + pixels > most
        ):
            raise ImageError(
                "The sandbox is drawing too many images. Try again soon, or ask for smaller ones.",
                status=503,
                type="server_error",
                code="overloaded",
            )
        self.pixels += pixels
        self._pixels_by_caller[caller] += pixels
        try:
            yield
        finally:
            self.pixels -= pixels
            self._pixels_by_caller[caller] -= pixels
            if not self._pixels_by_caller[caller]:
                del self._pixels_by_caller[caller]

    async def stages(self, request: SandboxRequest, index: int, caller: str = "") -> list[bytes]:
        """Return one image's stages in base64; the last one is final."""
        free = self._free.get(caller)
        if free is None:
            free = self._free[caller] = asyncio.Semaphore(self._threads_each)
        await free.acquire()
        loop = asyncio.get_running_loop()

        def release(_: object) -> None:
            with suppress(RuntimeError):  # The loop is closed: the process ends.
                loop.call_soon_threadsafe(free.release)

        # A thread counts until it has ended, even if nobody waits for its image any more.
        drawing = self._threads.submit(_draw_stages, request, index)
        drawing.add_done_callback(release)
        return await asyncio.wrap_future(drawing)

    async def images(self, request: SandboxRequest, caller: str = "") -> list[bytes]:
        """Return all final images in base64, drawn concurrently."""
        drawing = (self.stages(request, index, caller) for index in range(request.n))
        return [stages[-1] for stages in await asyncio.gather(*drawing)]

    def close(self) -> None:
        """Stop the threads; work that has not started is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def pixels_held(request: SandboxRequest) -> int:
    """Return the pixels of the images that a request holds at once, of small ones a minimum."""
    images = request.partials + 1 if request.stream else request.n
    return images * max(request.width * request.height, _MIN_PIXELS)


def _draw_stages(request: SandboxRequest, index: int) -> list[bytes]:
    return list(_render_stages(request, index))


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
