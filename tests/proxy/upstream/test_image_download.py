"""Image downloads: sent without credentials, and only images are accepted."""

from __future__ import annotations

import base64
import gzip
import zlib

import pytest
from aiohttp import web

from adapters.tools.image_header import detect_media_type
from tests.support.gateway import PNG, Reply, gateway_to, json_reply
from tests.support.image_urls import SECRET, drawn, pictures

JPEG = bytes.fromhex("ffd8ffe000104a464946") + bytes(90)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(90)
GIF = b"GIF89a" + bytes(90)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'


def serving(
    body: bytes = PNG, status: int = 200, named: dict[str, str] | None = None, **headers: str
) -> Reply:
    """Serve the same bytes at every image URL."""

    async def reply(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, status=status, headers={**headers, **(named or {})})

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
        assert {request.path for request in fake.requests[1:]} <= {"/0.png", "/1.png"}
        assert got.error["message"].endswith(f"is at {fake.url}/0.png?sig=a%2Fb")


def moving(*places: str, status: int = 302, body: bytes = PNG) -> Reply:
    """Redirect from `/0.png` to the places one after the other; the last one has the image."""
    seen = ["/0.png?sig=a%2Fb", *places]

    async def reply(request: web.Request) -> web.Response:
        at = [it.replace("{url}", f"http://{request.host}") for it in seen]
        name = request.raw_path.rpartition("/")[2]
        step = next(n for n, it in enumerate(at) if it.rpartition("/")[2] == name)
        if step + 1 < len(at):
            return web.Response(status=status, headers={"location": at[step + 1]})
        return web.Response(body=body, content_type="application/octet-stream")

    return reply


MOVED = {
    "a relative path": ("/a.png",),
    "a relative name": ("a.png",),
    "an absolute URL": ("{url}/a.png?x=%2F&y=a+b",),
    "five times": tuple(f"/{it}.png" for it in range(1, 6)),
    "another query": ("/0.png?again",),
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_moved_image_is_followed_without_a_credential(status: int) -> None:
    for what, places in MOVED.items():
        async with pictures(moving(*places, status=status)) as (ours, fake):
            assert (await drawn(ours)).json["data"] == [entry(PNG)], what
            assert len(fake.requests) == 2 + len(places)
            assert not [it for it in fake.requests[1:] if SECRET in str(it.headers)]
            assert {it.method for it in fake.requests[1:]} == {"GET"}


async def test_a_moved_image_is_paid_for_once_and_cached() -> None:
    cached = {"x_portkey_config": '{"virtual_key": "up", "cache": {"mode": "simple"}}'}
    async with pictures(moving("/a.png")) as (ours, fake):
        for _ in range(2):
            got = await ours.draw(params={"model": "a/b", "response_format": "b64_json"}, **cached)
            assert got.json["data"] == [entry(PNG)]
        assert got.headers["x-portkey-cache-status"] == "HIT"
        assert len([it for it in fake.requests if it.method == "POST"]) == 1


async def test_six_redirects_are_too_many() -> None:
    async with pictures(moving(*(f"/{it}.png" for it in range(1, 7)))) as (ours, fake):
        assert (await drawn(ours)).error["code"] == "picture_lost"
        assert len(fake.requests) == 7


ODD_URLS = {
    "a blank": ("/a b.png", "/a%20b.png"),
    "blanks around it": ("  /a.png \n", "/a.png"),
    "letters beyond ASCII": ("/ü.png?q=ü", "/%C3%BC.png?q=%C3%BC"),
    "what is encoded": ("/a%20b%2Fc.png?x=%2f", "/a%20b%2Fc.png?x=%2f"),
    "quotes and brackets": ('/a"<b>.png', "/a%22%3Cb%3E.png"),
    "a line break": ("/a\nb.png", "/ab.png"),
    "a fragment": ("/a.png#here", "/a.png"),
}


async def test_a_url_is_requested_as_a_browser_would() -> None:
    for what, (written, sent) in ODD_URLS.items():
        for relative in (False, True):

            async def reply(request: web.Request, written: str = written) -> web.Response:
                if request.method == "GET":
                    return web.Response(body=PNG)
                host = "" if relative else f"http://{request.host}"  # noqa: B023 - of this round
                return json_reply({"data": [{"url": written.replace("/", f"{host}/", 1)}]})

            async with gateway_to(reply) as (ours, fake):
                for _ in range(2):
                    got = await ours.draw(params={"response_format": "b64_json"}, virtual_key="up")
                    assert (got.status, got.json["data"]) == (200, [entry(PNG)]), (what, relative)
                    assert fake.requests[-1].raw_path == sent, what
                if relative:
                    got = await ours.draw(params={"response_format": "url"}, virtual_key="up")
                    assert got.error["code"] == "no_picture", what


ENCODED = {
    "aws-chunked": (PNG, "aws-chunked"),
    "gzip, but plain": (PNG, "gzip"),
    "an unknown one": (JPEG, "x-nope"),
    "gzip": (gzip.compress(PNG), "gzip"),
    "deflate": (zlib.compress(PNG), "deflate"),
}


async def test_an_image_is_read_whatever_its_encoding_claims() -> None:
    for what, (body, coding) in ENCODED.items():
        at_url = serving(body, 200, {"content-encoding": coding, "content-type": "text/plain"})
        async with pictures(at_url) as (ours, _):
            got = (await drawn(ours)).json
            assert got["data"] in ([entry(PNG)], [entry(JPEG)]), (what, got)


async def test_what_is_encoded_in_an_unknown_way_is_no_image() -> None:
    async with pictures(serving(b"\x01\x02\x03" * 99, 200, {"content-encoding": "x-nope"})) as (
        ours,
        _,
    ):
        assert (await drawn(ours)).status == 502


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
