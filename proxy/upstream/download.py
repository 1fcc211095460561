"""Fetching a picture from the URL that a provider answered with; no credential goes along."""

from __future__ import annotations

from adapters.contract import Image, ProviderRequest
from proxy.errors import UpstreamFailed
from proxy.plan import Target
from proxy.upstream.dialer import Dialer
from proxy.upstream.replies import read_bytes
from proxy.upstream.sending import exchange

_OK = 200

_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"WEBP", 8, "image/webp"),
    (b"GIF8", 0, "image/gif"),
)


def media_type_of(data: bytes) -> str:
    """Tell a picture's type by its first bytes; "" when it is none that we know.

    >>> media_type_of(bytes.fromhex("ffd8ffe0"))
    'image/jpeg'
    """
    for magic, offset, media_type in _MAGIC:
        if data.startswith(magic, offset):
            return media_type
    return "image/svg+xml" if b"<svg" in data[:512] else ""


async def downloaded(dialer: Dialer, target: Target, image: Image, limit: int) -> Image:
    """Give the picture with its bytes instead of its URL; raises `UpstreamFailed`."""
    request = ProviderRequest(url=image.url, method="GET", signed=False)
    async with exchange(dialer, target, request) as response:
        if response.status != _OK:
            raise UpstreamFailed(
                f"The picture was made, but its URL answered {response.status}.",
                code="picture_lost",
            )
        data = await read_bytes(response, limit)
    media_type = media_type_of(data)
    if not media_type:
        raise UpstreamFailed(
            "The picture was made, but its URL answered something else.", code="picture_lost"
        )
    return Image(data=data, media_type=media_type, extra=image.extra)
