"""Reading replies: limits, compression, redaction and headers."""

from __future__ import annotations

import gzip
import zlib
from base64 import b64encode
from itertools import chain
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web

from proxy.errors import UpstreamFailed
from proxy.observability.access_log import ACCESS_LOG
from proxy.upstream.redact import ERROR_LIMIT
from proxy.upstream.reply import PARSED_IN_LOOP, _is_whole_without_end
from proxy.upstream.reply_limits import Inflater
from tests.support.gateway import Reply, always, gateway_to
from tests.support.raw_http import SECRET, gateway_at, wire

UP = {"virtual_key": "up"}
TEXT = b64encode(Random(7).randbytes(225_000))  # noqa: S311 - no secret
LARGE = b'{"created":1,"data":[{"b64_json":"' + TEXT + b'"}]}'
SMALL = b'{"created":1,"data":[{"b64_json":"AAAA"}]}'


def encoded(body: bytes, encoding: str) -> Reply:
    """Reply with a body and a content-encoding."""

    async def reply(request: web.Request) -> web.Response:
        assert request.headers["accept-encoding"] == "identity"
        headers = {"content-encoding": encoding, "content-type": "application/json"}
        return web.Response(body=body, headers=headers)

    return reply


@pytest.mark.parametrize("plain", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
async def test_unrequested_compression_is_undone(plain: bytes, encoding: str) -> None:
    packed = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain)
    async with gateway_to(encoded(packed, encoding)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.body) == (200, plain)
        assert "content-encoding" not in got.headers


@pytest.mark.parametrize(
    "reply",
    [
        *(encoded(gzip.compress(SMALL), "br"), encoded(gzip.compress(SMALL)[:-9], "gzip")),
        *(encoded(gzip.compress(LARGE)[:-9], "gzip"), encoded(gzip.compress(SMALL), "gzip, br")),
    ],
)
async def test_an_unknown_or_broken_encoding_is_a_named_error(reply: Reply) -> None:
    async with gateway_to(reply) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "bad_answer")


@pytest.mark.parametrize("plain", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "aws-chunked", "zstd"])
async def test_a_label_of_what_is_not_encoded_is_ignored(plain: bytes, encoding: str) -> None:
    async with gateway_to(encoded(plain, encoding)) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.body) == (200, plain)
        assert "content-encoding" not in got.headers


@pytest.mark.parametrize(("limit", "status"), [(len(LARGE), 200), (len(LARGE) - 1, 502)])
async def test_a_body_may_be_as_long_as_the_limit_after_decompression(
    limit: int, status: int
) -> None:
    packed = gzip.compress(LARGE)
    assert len(packed) < limit
    async with gateway_to(encoded(packed, "gzip"), f"limits: {{reply_bytes: {limit}}}\n") as (
        ours,
        _,
    ):
        got = await ours.draw(**UP)
        assert got.status == status
        assert status == 200 or got.error["code"] == "too_large"


@pytest.mark.parametrize("step", [1, 100, 10_000])
def test_a_body_decompresses_to_at_most_a_hundred_times_its_size(step: int) -> None:
    packed = gzip.compress(b"{}," * 100_000)
    inflater, plain = Inflater("gzip"), 0
    pieces = (packed[at : at + step] for at in range(0, len(packed), step))
    with pytest.raises(UpstreamFailed) as caught:  # noqa: PT012 - the sum is of what came before it
        for piece in chain.from_iterable(map(inflater.feed, pieces)):
            plain += len(piece)
    assert caught.value.code == "too_large"
    assert plain <= 100 * len(packed)


# Where a provider may repeat the credential it was sent.
ECHOES = {
    "an error": (401, {"error": {"message": f"wrong key {SECRET}", "type": "x"}}),
    "an error's code": (400, {"error": {"message": "no", "code": SECRET, "param": SECRET}}),
    "a success that is none": (200, {"error": {"message": f"wrong key {SECRET}"}}),
    "another shape": (403, {"detail": SECRET}),
    "a picture's entry": (200, {"data": [{"b64_json": "AAAA", "revised_prompt": SECRET}]}),
}


@pytest.mark.parametrize(("status", "body"), ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("escaped", [False, True])
async def test_an_echoed_secret_is_redacted(status: int, body: object, *, escaped: bool) -> None:
    said = orjson.dumps(body).replace(b"/", b"\\/" if escaped else b"/")
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-echo: Bearer {SECRET}\r\n"
    async with wire(head.encode() + b"\r\n" + said) as url, gateway_at(url) as ours:
        got = await ours.draw(**UP)
        assert got.status == (status if body != ECHOES["a success that is none"][1] else 502)
        ours.app[ACCESS_LOG].flush()
        assert "secret" not in got.body.decode() + str(got.headers) + ours.log.getvalue()


async def test_no_header_of_a_relayed_reply_holds_the_credential() -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-echo: {SECRET}\r\n\r\n"
    async with wire(head.encode() + LARGE) as url, gateway_at(url) as ours:
        got = await ours.draw(**UP)
        assert (got.body, got.headers.get("x-echo")) == (LARGE, None)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["read", "relayed"])
async def test_gateway_headers_from_a_provider_are_dropped(body: bytes) -> None:
    lines = b"set-cookie: a=b\r\nx-portkey-trace-id: theirs\r\nx-easel-receipt: theirs\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r\r\n" + lines
    async with wire(head + b"\r\n" + body) as url, gateway_at(url) as ours:
        got = await ours.draw(trace_id="mine", **UP)
        assert got.headers.getall("x-portkey-trace-id") == ["mine"]
        assert "set-cookie" not in {name.lower() for name in got.headers}
        assert "theirs" not in got.headers.getall("x-easel-receipt", [])
        assert got.headers["x-request-id"] == "r"


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["read", "relayed"])
@pytest.mark.parametrize("value", [b"a\x01b", b"\x7f", b"a\xffb"])
async def test_an_unprintable_header_is_dropped(value: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-odd: " + value
    async with wire(head + b"\r\nx-even: a\tb\r\n\r\n" + body) as url, gateway_at(url) as ours:
        got = await ours.draw(**UP)
        assert (got.status, got.body) == (200, body)
        assert (got.headers.get("x-odd"), got.headers["x-even"]) == (None, "a\tb")


async def test_rate_limit_headers_are_relayed_with_an_error() -> None:
    limits = {"retry_after": "7", "x_ratelimit_remaining_images": "0"}
    async with gateway_to(always({"error": {"message": "m", "type": "t"}}, 429, **limits)) as (
        ours,
        _,
    ):
        got = await ours.draw(**UP)
        assert (got.status, got.headers["retry-after"]) == (429, "7")
        assert got.headers["x-ratelimit-remaining-images"] == "0"


LIMITS = "limits: {reply_bytes: 2048, image_bytes: 1024}\n"


@pytest.mark.parametrize("size", [2_000_000, 3000])
async def test_a_reply_above_the_limit_is_too_large(size: int) -> None:
    async def long(request: web.Request) -> web.Response:
        del request
        return web.Response(body=b"x" * size)

    async with gateway_to(long, LIMITS) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "too_large")


async def test_an_error_above_its_limit_is_too_large() -> None:
    async def long(request: web.Request) -> web.Response:
        del request
        return web.Response(status=500, body=b"x" * (ERROR_LIMIT + 1))

    async with gateway_to(long) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "too_large")


async def test_a_decompression_bomb_is_not_decompressed() -> None:
    async with gateway_to(encoded(gzip.compress(b"0" * 9_999_999), "gzip"), LIMITS) as (ours, _):
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "too_large")


LOST = UpstreamFailed("Lost.", code="connection_lost")
WITHOUT_END = (
    (b'{"a": [1]}\n', None, True),
    (b'{"a": [1]', None, False),
    (b'{"a": [1]}', 99, False),
    (b'{"a": [' + b"{}," * 100_001 + b"0]}", None, False),
    (b'{"a": "' + b"A" * PARSED_IN_LOOP + b'"}', None, False),
)
"""Bodies whose connection was lost, the length that was declared, and whether they are whole."""


def test_a_body_without_its_end_is_parsed_only_if_it_is_short() -> None:
    for body, length, expected in WITHOUT_END:
        response: Any = SimpleNamespace(content_length=length, status=200)
        assert _is_whole_without_end(response, LOST, body) is expected, body[:20]
