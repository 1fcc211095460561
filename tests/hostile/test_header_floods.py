"""Request headers without end: bounded for each request, and for all connections together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import orjson
import pytest

from tests.support.connections import answer_to, connection_to
from tests.support.gateway import KEY, PATH, Gateway, gateway, gateway_to

START = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
LINE = b"x-a: " + b"a" * 8_000 + b"\r\n"
CHUNKED = (
    f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {KEY}\r\n".encode()
    + b"x-portkey-virtual-key: up\r\ncontent-type: application/json\r\n"
    + b'transfer-encoding: chunked\r\n\r\ne\r\n{"prompt":"a"}\r\n'
)
UNFINISHED = {
    "lines": (START, *[LINE] * 120),
    "one line": (START, b"x-a: ", *[b"a" * 8_000] * 20),
    "a request target": (b"GET /", *[b"a" * 8_000] * 20),
    "a header name": (START, *[b"a" * 8_000] * 20),
    "lines in one write": (START + LINE * 20,),
    "lines behind another request": (START + b"\r\n" + START + LINE * 20,),
    "lines behind a body": (
        START + b"content-length: 20000\r\n\r\n" + b"{" * 20_000 + START + LINE * 20,
    ),
    "trailers of a body": (CHUNKED, b"0\r\n", *[LINE] * 20),
    "an extension of a chunk": (CHUNKED, b"1;", *[b"a" * 8_000] * 20),
}
"""Pieces of headers whose end is never sent."""


def error_of(answer: bytes) -> tuple[bytes, str]:
    """Return status line and error code of the last response."""
    head, _, body = answer[answer.rindex(b"HTTP/1.") :].partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], orjson.loads(body)["error"]["code"]


@pytest.mark.parametrize("kind", UNFINISHED)
async def test_headers_without_end_are_refused_before_they_end(kind: str) -> None:
    async with gateway_to() as (ours, fake):
        answer = await answer_to(ours, *UNFINISHED[kind])
        status, code = error_of(answer)
        assert (status.split()[1], code) == (b"431", "headers_too_large")
        assert b"connection: close" in answer.lower()
        assert b"aaaa" not in answer
        assert not fake.requests


@pytest.mark.parametrize("before", [b"", START + b"\r\n"], ids=["alone", "pipelined"])
async def test_complete_headers_are_measured_as_a_whole(before: bytes) -> None:
    async with gateway() as ours:
        just = START + LINE * 5 + b"connection: close\r\n\r\n"
        assert b"HTTP/1.1 200 OK" in (await answer_to(ours, before + just))
        large = START + LINE * 5 + b"x-b: " + b"b" * 1_000 + b"\r\n\r\n"
        status, code = error_of(await answer_to(ours, before + large))
        assert (status.split()[1], code) == (b"431", "headers_too_large")


async def test_many_requests_on_a_connection_are_not_added_up() -> None:
    sent = (START + LINE * 3 + b"\r\n") * 8 + START + b"connection: close\r\n\r\n"
    async with gateway() as ours:
        assert (await answer_to(ours, sent)).count(b"HTTP/1.1 200 OK") == 9


async def test_a_large_body_is_not_counted_as_headers() -> None:
    body = b'{"prompt":"a","user":"' + b"b" * 500_000 + b'"}'
    head = CHUNKED.partition(b"transfer-encoding")[0] + b"connection: close\r\n"
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with gateway_to() as (ours, fake):
        for sent in (
            head + b"content-length: %d\r\n\r\n" % len(body) + body,
            head + b"transfer-encoding: chunked\r\n\r\n" + chunk,
        ):
            assert (await answer_to(ours, sent)).startswith(b"HTTP/1.1 200")
        assert fake.bodies == [body, body]


async def test_a_refused_request_has_a_trace_id_and_an_access_line() -> None:
    async with gateway() as ours:
        for sent in (START + LINE * 9, START + b"no-colon\r\n\r\n", b"\x16\x03\x01 tls\r\n\r\n"):
            answer = (await answer_to(ours, sent)).lower()
            assert b"x-portkey-trace-id: " in answer
            assert b"server: easel" in answer
        lines = (await ours.access_log()).splitlines()
        codes = [orjson.loads(line)["error"] for line in lines]
        assert codes == ["headers_too_large", "unreadable_request", "unreadable_request"]


@pytest.mark.parametrize("ends", [b"", b"\r\n"], ids=["unfinished", "idle"])
async def test_waiting_connections_have_a_bound_together(ends: bytes) -> None:
    async with gateway("limits: {idle_bytes: 1048576}") as ours, AsyncExitStack() as stack:
        clients = []
        for _ in range(30):
            reader, writer = await stack.enter_async_context(connection_to(ours))
            writer.write(START + LINE * 4 + ends)
            await writer.drain()
            if ends:
                await reader.readuntil(b"}")
            clients.append(reader)
            assert await is_answered(ours)
        # 16 KB and three times 32 KB each: about 9 have room, and the oldest were closed.
        async with asyncio.timeout(10):
            assert await clients[0].read() == b""
            assert await clients[19].read() == b""
        assert not clients[-1].at_eof()


async def is_answered(ours: Gateway) -> bool:
    return (await ours.ask(method="GET", path="/healthz")).status == 200
