"""Connection errors: what the client is told, and that nothing leaks."""

from __future__ import annotations

import traceback

import aiohttp
import pytest
from aiohttp import InvalidURL, web

from proxy.errors import UpstreamFailed
from proxy.upstream.client import PEEK_LIMIT
from proxy.upstream.errors import map_client_errors
from tests.support.gateway import Answered, Gateway, gateway_to
from tests.support.raw_http import SECRET, connections, gateway_at, wire

UP = {"virtual_key": "up"}
SOON = "timeouts: {idle: 0.2}\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
LONG = JSON + b"content-length: %d\r\n\r\n" % (9 * PEEK_LIMIT)
CHUNKED = JSON + b"transfer-encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b"event: a\ndata: {}\n\n"

# What the provider writes, and what it does then -> our status and code.
BEFORE_THE_ANSWER = {
    "closes": ((), "close", 502, "connection_lost"),
    "resets": ((), "reset", 502, "connection_lost"),
    "is silent": ((), "silence", 504, "timeout"),
    "cuts its head": ((b"HTTP/1.1 200 OK\r\ncontent-ty",), "close", 502, "connection_lost"),
    "speaks nonsense": ((b"SSH-2.0-OpenSSH_9.9\r\n\r\n",), "close", 502, "connection_lost"),
    "has no status": ((b"HTTP/1.1 OK\r\n\r\n",), "close", 502, "connection_lost"),
    "has an endless header": ((b"HTTP/1.1 200 OK\r\nx: " + b"x" * 99_999,), "close", 502, None),
    "has two lengths": (
        (CHUNKED[:-2] + b"content-length: 9\r\n\r\n0\r\n\r\n",),
        "close",
        502,
        "connection_lost",
    ),
}
IN_THE_ANSWER = {
    "closes": ((JSON + b"content-length: 9\r\n\r\n{",), "close", 502, "connection_lost"),
    "resets": ((JSON + b"content-length: 9\r\n\r\n{",), "reset", 502, "connection_lost"),
    "is silent": ((JSON + b"content-length: 9\r\n\r\n{",), "silence", 504, "timeout"),
    "cuts a chunk": ((CHUNKED + b"9\r\n{",), "close", 502, "connection_lost"),
    "leaves out the last chunk": ((CHUNKED + b"2\r\n{ \r\n",), "close", 502, "connection_lost"),
    "has a chunk that is none": ((CHUNKED + b"zz\r\n{}\r\n",), "close", 502, "connection_lost"),
}
FAULTS = [*BEFORE_THE_ANSWER.items(), *IN_THE_ANSWER.items()]
_IMAGE = b'{"data":[{"b64_json":"'.ljust(2 * PEEK_LIMIT, b"x")
RELAYED = {
    "long JSON": (LONG, _IMAGE),
    "chunks": (CHUNKED, b"20000\r\n" + _IMAGE + b"\r\n"),
    "events": (EVENTS.replace(b"\r\n\r\n", b"\r\ncontent-length: 99\r\n\r\n"), EVENT),
}
Script = tuple[tuple[bytes, ...], str, int, str | None]


@pytest.mark.parametrize("script", [it for _, it in FAULTS], ids=[name for name, _ in FAULTS])
async def test_a_lost_connection_is_a_named_error(script: Script) -> None:
    pieces, then, status, code = script
    async with wire(*pieces, then=then) as url, gateway_at(url, SOON) as ours:
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (status, code or got.error["code"])
        assert_is_complete_error(got)
        assert connections(ours) == 0


def assert_is_complete_error(got: Answered) -> None:
    """Assert that a provider error has all its parts."""
    assert got.error["type"] == "server_error"
    assert got.headers["x-portkey-gateway-exception"] == "true"
    assert got.headers["x-portkey-provider"] == "openai"
    assert got.headers["x-portkey-last-used-option-index"] == "config"
    assert got.headers["x-portkey-retry-attempt-count"] == "0"
    assert got.headers["x-portkey-cache-status"] == "DISABLED"
    assert got.headers["x-portkey-trace-id"]
    assert SECRET not in got.body.decode() + str(got.headers)


async def test_a_closed_port_is_a_named_error() -> None:
    async with wire() as url:
        pass
    async with gateway_at(url) as ours:
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "provider_unreachable")
        assert_is_complete_error(got)


async def test_an_unknown_host_is_a_named_error() -> None:
    async with gateway_at("http://nowhere.invalid") as ours:
        got = await ours.draw(**UP)
        assert (got.status, got.error["code"]) == (502, "provider_unreachable")


@pytest.mark.parametrize("then", ["close", "reset", "silence"])
@pytest.mark.parametrize("pieces", RELAYED.values(), ids=RELAYED.keys())
async def test_a_relayed_response_that_breaks_off_is_cut(
    pieces: tuple[bytes, ...], then: str
) -> None:
    async with wire(*pieces, then=then) as url, gateway_at(url, SOON) as ours:
        if pieces[1] == EVENT:
            # Between two events there is room for an error event.
            got = await ours.draw(params={"stream": True}, **UP)
            assert b"event: error" in got.body
        else:
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
                await ours.draw(**UP)
        assert connections(ours) == 0


async def test_a_cut_response_is_in_the_access_log() -> None:
    async with wire(*RELAYED["long JSON"], then="close") as url, gateway_at(url) as ours:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ours.draw(**UP)
        line = await logged(ours)
        assert '"status":200' in line
        assert '"error":"connection_lost"' in line


async def logged(ours: Gateway) -> str:
    """Return the access lines, once they have been written."""
    await ours.app.cleanup()
    return ours.log.getvalue()


async def test_a_request_that_may_have_been_charged_is_not_repeated() -> None:
    async def breaks_off(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with gateway_to(breaks_off) as (ours, fake):
        assert (await ours.draw(**UP)).status == 502
        assert len(fake.requests) == 1


def test_neither_message_nor_traceback_shows_the_librarys_text() -> None:
    with pytest.raises(UpstreamFailed) as caught, map_client_errors():
        raise InvalidURL(f"https://provider.example/?key={SECRET}")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
