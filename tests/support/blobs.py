"""A gateway that keeps what it is sent, and images to send."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from proxy.app import make_app
from proxy.blobs.publish import publish
from proxy.settings.loader import parse
from tests.support.gateway import OURS, PNG, SETTINGS, Answered, Gateway, served

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L" + bytes(64)
GIF = b"GIF89a" + bytes(64)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
IMAGES = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/webp": WEBP,
    "image/gif": GIF,
    "image/svg+xml": SVG,
}

ChunkSource = Callable[[bytes], AsyncIterator[bytes]]


async def in_chunks(image: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    """Return an image's bytes as a provider would."""
    for start in range(0, len(image), size):
        yield image[start : start + size]


@dataclass
class BlobGateway(Gateway):
    """A gateway in whose blob store a test can put an image, as the owner of an API key."""

    folder: Path = Path()
    source: ChunkSource = field(default=in_chunks)

    async def post(self, image: bytes, media_type: str = "", **headers: str) -> Answered:
        """Store an image; the answer's body is its URL."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {**OURS, "x-picture-type": media_type, **named}
        async with self.session.post(f"{self.url}/keep", data=image, headers=sent) as got:
            return Answered(got.status, got.headers, await got.read())

    async def publish(self, image: bytes = PNG, media_type: str = "", **headers: str) -> str:
        """Store an image; gives its URL."""
        got = await self.post(image, media_type, **headers)
        assert got.status == 200
        return got.body.decode()

    async def get(self, url: str, method: str = "GET", **headers: str) -> Answered:
        """Fetch a URL as a browser would: without a key."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, headers=named) as got:
            return Answered(got.status, got.headers, await got.read())

    @property
    def files(self) -> list[Path]:
        """Every file of the blobs' folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@asynccontextmanager
async def blob_gateway(folder: Path, more: str = "", **environ: str) -> AsyncIterator[BlobGateway]:
    """Run a gateway whose state lies in a folder, with a route that keeps what it is sent."""
    settings = parse(f"{SETTINGS}state_dir: {folder / 'state'}\n{more}", environ=environ)
    log = io.StringIO()
    app = make_app(settings, log_to=log)

    async def keep(request: web.Request) -> web.Response:
        chunks = running.source(await request.read())
        return web.Response(text=await publish(request, chunks, request.headers["x-picture-type"]))

    app.router.add_post("/keep", keep)
    async with served(app) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        running = BlobGateway(url, session, app, log, folder / "state" / "blobs")
        yield running
