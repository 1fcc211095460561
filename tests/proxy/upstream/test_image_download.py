"""Image downloads: sent without credentials, and only images are accepted."""

from __future__ import annotations

import base64

import pytest
from aiohttp import web

from adapters.tools.image_header import detect_media_type
from tests.support.gateway import (
    PNG,
    Reply,
)
from tests.support.image_urls import SECRET, drawn, pictures

JPEG = bytes.fromhex("ffd8ffe000104a464946") + bytes(90)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(90)
GIF = b"GIF89a" + bytes(90)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'


def serving(body: bytes = PNG, status: int = 200, **headers: str) -> Reply:
    """Serve the same bytes at every image URL."""

    async def reply(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, status=status, headers=headers)

    return reply


def entry(data: bytes) -> dict[str, str]:
    return {"b64_json": base64.b64encode(data).decode()}


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP, GIF, SVG])
async def test_an_image_is_downloaded_for_b64_json(data: bytes) -> None:
    async with pictures(serving(data)) as (ours, _):
        assert (await drawn(ours)).json["data"] == [entry(data)]


async def test_neither_credential_nor_forwarded_headers_are_sent() -> None:
    async with pictures(serving()) as (ours, fake):
        await drawn(ours)
        asked, fetched = fake.requests
        assert (asked.headers["x-tenant"], SECRET in str(asked.headers)) == ("t", True)
        assert {name.lower() for name in fetched.headers} == {
            *("host", "accept", "accept-encoding", "user-agent"),
        }


async def test_a_signed_url_is_not_re_encoded() -> None:
    async with pictures(serving()) as (ours, fake):
        await drawn(ours)
        assert fake.requests[-1].raw_path == "/0.png?sig=a%2Fb"


async def test_images_keep_their_order() -> None:
    async def numbered(request: web.Request) -> web.Response:
        return web.Response(body=PNG + request.path.encode())

    async with pictures(numbered, count=4) as (ours, _):
        data = (await drawn(ours)).json["data"]
        found = [base64.b64decode(it["b64_json"])[-5:-4] for it in data]
        assert found == [b"0", b"1", b"2", b"3"]


async def test_nothing_is_downloaded_for_url() -> None:
    async with pictures(serving()) as (ours, fake):
        got = await drawn(ours, response_format="url")
        assert got.json["data"][0]["url"].startswith(fake.url)
        assert len(fake.requests) == 1


LOST = {
    "it is gone": serving(b"", 404),
    "it is forbidden": serving(b"<Error/>", 403),
    "it has moved": serving(PNG, 302, location="/1.png"),
    "it is a part": serving(PNG, 206),
    "it is a page": serving(b"<html>" + b" " * 600 + b"<svg>"),
    "it is text": serving(b"not yet"),
    "it is nothing": serving(b""),
}


@pytest.mark.parametrize("at_url", LOST.values(), ids=LOST.keys())
async def test_a_url_without_an_image_is_a_lost_image(at_url: Reply) -> None:
    async with pictures(at_url) as (ours, fake):
        got = await drawn(ours)
        assert (got.status, got.error["code"]) == (502, "picture_lost")
        assert {request.path for request in fake.requests[1:]} == {"/0.png"}
        assert fake.url not in got.body.decode()


@pytest.mark.parametrize("size", [4097, 9_000_000])
async def test_an_image_above_the_limit_is_too_large(size: int) -> None:
    async with pictures(serving(PNG + bytes(size - len(PNG)))) as (ours, _):
        got = await drawn(ours)
        assert (got.status, got.error["code"]) == (502, "too_large")


async def test_an_image_may_be_as_large_as_the_limit() -> None:
    async with pictures(serving(PNG + bytes(4096 - len(PNG)))) as (ours, _):
        assert (await drawn(ours)).status == 200


def test_a_page_is_recognized_by_its_first_bytes() -> None:
    assert detect_media_type(WEBP) == "image/webp"
    assert detect_media_type(b"WEBP" + bytes(90)) == ""
    assert detect_media_type(b" " * 512 + b"<svg") == ""


async def test_a_broken_download_does_not_break_other_images() -> None:
    async def second_cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 200_000
        await response.prepare(request)
        await response.write(PNG + bytes(100_000 - len(PNG)))
        if request.path == "/1.png" and request.transport:
            request.transport.abort()
        await response.write(bytes(100_000))
        return response

    async with pictures(second_cut, count=3, limit=200_000) as (ours, _):
        got = await drawn(ours)
        assert len(got.json["data"]) == 2
        assert "failed images=1>connection_lost" in got.headers["x-easel-receipt"]
