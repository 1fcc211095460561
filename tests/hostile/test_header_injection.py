"""Case 7: CR, LF, NUL and names of hop-by-hop headers, wherever a value becomes a header."""

from __future__ import annotations

import orjson
import pytest

from tests.support.gateway import ANSWER, always, gateway, gateway_to
from tests.support.raw_http import gateway_at, shout, wire

BREAKS = ("a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx-evil: 1", "a\0b", "a\r\n\r\nGET / HTTP/1.1")
UP = (b"x-portkey-virtual-key: up",)


@pytest.mark.parametrize("text", BREAKS)
async def test_no_value_of_a_config_becomes_a_header_of_its_own(text: str) -> None:
    configs = (
        {"provider": "openai", "api_key": text},
        {"provider": "openai", "api_key": "k", "openai_organization": text},
        {"provider": "openai", "api_key": "k", "custom_host": f"http://images.example.com/{text}"},
        {"virtual_key": "up", "forward_headers": [text]},
    )
    async with gateway_to() as (ours, fake):
        for config in configs:
            got = await ours.draw(config=orjson.dumps(config).decode())
            assert got.status == 400, config
            assert "x-evil" not in got.headers
        assert not fake.requests


async def test_what_is_in_metadata_or_a_prompt_stays_out_of_every_head() -> None:
    async with gateway_to() as (ours, fake):
        metadata = orjson.dumps({"_user": BREAKS[0], "x\r\nx-evil": "1"}).decode()
        got = await ours.draw(BREAKS[0], metadata=metadata, virtual_key="up")
        assert (got.status, "x-evil" in got.headers) == (200, False)
        assert "x-evil" not in fake.requests[0].headers


@pytest.mark.parametrize(
    "line", [b"x-portkey-trace-id: a\0b", b"x-portkey-trace-id: a\rx-evil: 1", b"x-evil : 1"]
)
async def test_a_head_with_control_characters_is_no_request(line: bytes) -> None:
    async with gateway_to() as (ours, fake):
        got = await shout(ours, *UP, line)
        assert (got.status, "x-evil" in got.headers, fake.requests) == (400, False, [])


async def test_a_folded_header_is_no_request() -> None:
    async with gateway_to() as (ours, fake):
        got = await shout(ours, *UP, b"x-portkey-trace-id: a", b" x-evil: 1")
        assert (got.status, fake.requests) == (400, [])


async def test_what_connection_names_is_not_smuggled_through_forwarding() -> None:
    lines = (b"connection: close, x-tenant", b"x-tenant: t", b"x-other: o")
    async with gateway_to() as (ours, fake):
        asked = b"x-portkey-forward-headers: x-tenant, x-other"
        assert (await shout(ours, *UP, asked, *lines)).status == 200
        sent = fake.requests[0].headers
        assert ("x-tenant" in sent, sent["x-other"]) == (False, "o")


async def test_no_header_of_a_providers_becomes_two() -> None:
    body = orjson.dumps(ANSWER)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-a: b\xc2\x85x-evil: 1\r\n"
    head += b"connection: x-inner\r\nx-inner: 1\r\nx-accel-redirect: /etc/passwd\r\n"
    answer = head + b"content-length: %d\r\n\r\n" % len(body) + body
    async with wire(answer) as url, gateway_at(url) as ours:
        got = await ours.draw(virtual_key="up")
        assert got.status == 200
        assert not {"x-evil", "x-inner", "x-accel-redirect"} & {
            name.lower() for name in got.headers
        }


COMMANDS = {
    *("x-accel-redirect", "x-accel-limit-rate", "x-accel-expires", "x-sendfile", "x-sendfile2"),
    *("x-sendfile-temporary", "x-lighttpd-send-tempfile", "x-lighttpd-send-file"),
    *("x-reproxy-url", "x-reproxy-file", "x-litespeed-location", "x-litespeed-cache-control"),
    *("x-archive-files", "refresh", "link", "www-authenticate", "surrogate-control"),
    *("surrogate-key", "service-worker-allowed", "location", "x-rewrite-url", "x-original-url"),
}


@pytest.mark.parametrize("status", [200, 400])
async def test_no_command_to_a_server_or_browser_in_front_is_relayed(status: int) -> None:
    body = ANSWER if status == 200 else {"error": {"message": "no", "type": "t"}}
    commands = {name.title(): "/etc/passwd" for name in COMMANDS}
    async with gateway_to(always(body, status, x_request_id="r", **commands)) as (ours, _):
        got = await ours.draw(virtual_key="up")
        assert (got.status, got.headers["x-request-id"]) == (status, "r")
        assert not COMMANDS & {name.lower() for name in got.headers}


async def test_a_trace_id_is_echoed_whole_or_refused() -> None:
    async with gateway() as ours:
        for text in ("a\x7fb", "a\x01b", "é"):
            got = await shout(ours, b"x-portkey-trace-id: " + text.encode(), known=False)
            assert got.status in (400, 401)
            assert got.headers.get("x-portkey-trace-id", "").isascii()
