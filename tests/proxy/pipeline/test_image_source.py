"""Images in chunks: the same bytes for every source and format."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import get_adapter
from adapters.contract import Credentials, Image
from adapters.tools.image_header import ImageHeader
from proxy.cache.entry import CachedImage
from proxy.errors import UpstreamFailed
from proxy.pipeline.image_source import (
    ImageSource,
    cached_receipt,
    decode_base64,
    measure_base64,
    measured_receipt,
    normalize_base64,
    open_image,
)
from proxy.routing.plan import Target
from proxy.settings.loader import Settings
from proxy.upstream.client import ProviderClient
from proxy.upstream.image_download import Download
from tests.support.gateway import B64, PNG

UNKNOWN = ImageHeader("")


async def joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def arriving(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(head=st.binary(max_size=9), rest=st.lists(st.binary(max_size=9), max_size=5))
async def test_a_download_is_encoded_as_if_it_were_whole(head: bytes, rest: list[bytes]) -> None:
    def source() -> ImageSource:
        download = Download(head, UNKNOWN, None, arriving(rest))
        return ImageSource(Image(url="https://a.test"), UNKNOWN, None, download)

    whole = b"".join((head, *rest))
    assert await joined(source().iter_bytes()) == whole
    assert await joined(source().iter_base64()) == base64.b64encode(whole)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_608, 500_000, 1_000_001])
async def test_bytes_and_base64_are_two_forms_of_one_picture(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    text = base64.b64encode(data)
    for image in (Image(data=data), Image(b64=text.decode())):
        source = ImageSource(image, UNKNOWN, size)
        assert await joined(source.iter_bytes()) == data
        assert await joined(source.iter_base64()) == text
        assert source.base64_length == len(text)


async def test_a_large_picture_goes_in_pieces() -> None:
    source = ImageSource(Image(data=bytes(1_000_000)), UNKNOWN, 1_000_000)
    assert max([len(piece) async for piece in source.iter_base64()]) < 300_000


async def test_a_picture_of_the_cache_is_read_as_if_it_came_from_a_url() -> None:
    data, png = bytes(range(256)) * 3000, ImageHeader("image/png", 1, 1)
    image = CachedImage(length=len(data), header=png, read=lambda: arriving([data, b"end"]))
    async with AsyncExitStack() as stack, ProviderClient(Settings()) as upstream:
        target = Target(get_adapter("openai"), Credentials(), "https://a.test")
        source = await open_image(upstream, target, image, stack)
        assert (source.measured, source.length) == (png, len(data))
        assert await joined(source.iter_base64()) == base64.b64encode(data + b"end")
    assert [str(it) for it in cached_receipt([image, Image(), image])] == ["cached images=2"]
    assert list(cached_receipt([Image()])) == []


async def test_a_page_is_no_picture_whatever_it_is_said_to_be() -> None:
    page = Image(data=b"<html>Sorry</html>", media_type="image/png")
    async with AsyncExitStack() as stack, ProviderClient(Settings()) as upstream:
        target = Target(get_adapter("openai"), Credentials(), "https://a.test")
        with pytest.raises(UpstreamFailed):
            await open_image(upstream, target, page, stack)


def test_base64_is_measured_by_its_beginning() -> None:
    assert measure_base64(B64) == ImageHeader("image/png", 1, 1)


def test_what_is_no_base64_is_a_damaged_answer() -> None:
    with pytest.raises(UpstreamFailed) as caught:
        decode_base64("ä" * 8)
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        *(({}, []), ({"size": "auto"}, []), ({"size": "1x1", "output_format": "png"}, [])),
        ({"size": "1024x1024", "output_format": "webp"}, ["asked 1=1024x1024;webp"]),
        ({"size": 7, "output_format": None}, []),
    ],
)
def test_a_receipt_has_what_was_asked_for_where_the_picture_is_not_that(
    params: dict[str, object], asked: list[str]
) -> None:
    found = ImageHeader("image/png", 1, 1)
    told = [str(line) for line in measured_receipt(1, found, params, len(PNG))]
    assert told == [f"measured 1=1x1;png;{len(PNG)}", *asked]


@pytest.mark.parametrize("size", [1, 2, 3, 300_000])
def test_base64_is_tidied_however_it_is_written(size: int) -> None:
    data = b"\xff\xfe\xfb" * size + b"\xff"
    proper = base64.b64encode(data).decode()
    assert normalize_base64(proper) is proper
    for text in (
        base64.encodebytes(data).decode(),
        base64.encodebytes(data).decode().replace("\n", "\r\n"),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        f" data:image/png;base64,{proper}".strip(),
        f"\t{proper} ",
    ):
        assert normalize_base64(text) == proper


@pytest.mark.parametrize("text", ['AAAA","url":"https://a.test', "AAAAA", "ä===", "=", "AA=A", " "])
def test_what_would_not_end_as_it_began_is_damaged(text: str) -> None:
    with pytest.raises(UpstreamFailed):
        normalize_base64(text)
