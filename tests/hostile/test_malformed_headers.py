"""Header values that no honest client sends: a clear 4xx for each, and nothing of it repeated."""

from __future__ import annotations

import orjson
import pytest

from tests.support.connections import answer_to
from tests.support.gateway import KEY, PATH, gateway, gateway_to

HOST = b"host: localhost\r\n"
BODY = b'content-type: application/json\r\ncontent-length: 14\r\n\r\n{"prompt":"x"}'
CLOSE = b"connection: close\r\n"
POST = f"POST {PATH} HTTP/1.1\r\n".encode() + CLOSE
KEYED = f"x-portkey-api-key: {KEY}\r\nx-portkey-virtual-key: up\r\n".encode()
NOT_UTF8 = (b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"abc\xfe")
NO_KEYS = (b"x-portkey-api-key: %b\r\n", b"authorization: Bearer %b\r\n", b"authorization: %b\r\n")
EXPECTED = (b"x-secret", b"\xff", b"200-ok", b"100-continue, x-secret", b"100 continue")


@pytest.mark.parametrize("bad", NOT_UTF8)
@pytest.mark.parametrize("header", NO_KEYS)
async def test_a_key_that_is_not_utf8_is_an_invalid_key(
    header: bytes, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as ours:
        for line in (POST, b"GET /v1/models HTTP/1.1\r\n" + CLOSE):
            sent = line + HOST + header % bad + BODY
            answer = await answer_to(ours, sent)
            assert answer.startswith(b"HTTP/1.1 401")
            assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == (
                "invalid_api_key"
            )
        assert caplog.text == ""


@pytest.mark.parametrize("value", EXPECTED)
async def test_an_unknown_expectation_is_an_error_like_any_other(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as ours:
        starts = (POST, b"GET /healthz HTTP/1.1\r\n", b"GET /nowhere HTTP/1.1\r\n")
        for start in (*starts, b"DELETE /healthz HTTP/1.1\r\n"):
            sent = start + HOST + b"expect: " + value + b"\r\n"
            answer = await answer_to(ours, sent + (BODY if start is POST else b"\r\n"))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 417")
            assert b"x-portkey-trace-id: \r\n" not in head.lower() + b"\r\n"
            assert orjson.loads(body)["error"]["code"] == "unknown_expectation"
            assert b"secret" not in answer
        lines = (await ours.access_log()).splitlines()
        assert [orjson.loads(line)["error"] for line in lines] == ["unknown_expectation"] * 4
        assert caplog.text == ""


async def test_the_host_is_checked_before_an_expectation() -> None:
    async with gateway() as ours:
        sent = b"GET /nowhere HTTP/1.1\r\nhost: evil.example\r\nexpect: x\r\nconnection: close\r\n"
        assert (await answer_to(ours, sent + b"\r\n")).startswith(b"HTTP/1.1 421")


async def test_a_body_is_asked_for_after_the_key_was_checked() -> None:
    expecting = b"expect: 100-Continue\r\n"
    async with gateway_to() as (ours, _):
        answer = await answer_to(ours, POST + HOST + KEYED + expecting + BODY)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        answer = await answer_to(ours, POST + HOST + expecting + BODY)
        assert answer.startswith(b"HTTP/1.1 401")


async def test_bytes_that_are_no_request_are_not_repeated() -> None:
    async with gateway() as ours:
        for sent in (b"x-secret\r\n\r\n", POST + HOST + b"x-secret\r\n\r\n", b"\xff" * 99):
            answer = await answer_to(ours, sent + b"\r\n\r\n")
            assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == (
                "unreadable_request"
            )
            assert b"secret" not in answer
