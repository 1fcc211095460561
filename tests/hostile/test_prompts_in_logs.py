"""Case 24: what clients ask for, and the pictures they get, are read by whoever reads the logs."""

from __future__ import annotations

import logging

import orjson
import pytest
from aiohttp import web

from tests.support.gateway import KEY, SETTINGS, always, gateway, provider
from tests.support.repeating_provider import GOOD, watched
from tests.support.secret_markers import GATEWAY_KEY, NEVER_IN_A_LOG, PICTURE, PROMPT, STORED

WANTED = SETTINGS.replace("format: json", "format: json, prompts: true")
CALLER = {"x_portkey_virtual_key": "up", "x_portkey_api_key": GATEWAY_KEY}
FAILED = {"error": {"message": f"no: {PROMPT}", "type": "t", "param": None, "code": "c"}}


async def test_no_log_holds_a_prompt_or_a_picture_whatever_became_of_it() -> None:
    for reply in (always(GOOD), always(FAILED, 400), always(FAILED, 500)):
        async with watched(reply) as (ours, _, sinks):
            for params in ({}, {"response_format": "url"}, {"n": PROMPT}, {"stream": True}):
                await ours.draw(PROMPT, params=params, **CALLER)
            await ours.ask(orjson.dumps({"prompt": PROMPT})[:-1], **CALLER)
            lines = await ours.access_log()
        assert lines.count("\n") >= 5
        for sink in (lines, sinks.text):
            assert "PROMPTMARK" not in sink
            assert "iVBORw0KGgo" not in sink


async def test_where_the_operator_wants_prompts_a_line_still_holds_no_key_and_no_picture() -> None:
    async with provider(always(GOOD)) as fake:
        stored = f"{{provider: openai, api_key: {STORED!r}, custom_host: {fake.url}}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}", WANTED) as ours:
            for params in ({}, {"response_format": "url"}, {"stream": True}):
                await ours.draw(PROMPT * 40, params=params, virtual_key="up")
            lines = (await ours.access_log()).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert orjson.loads(line)["prompt"] == (PROMPT * 40)[:500]
        assert not [it for it in (KEY, STORED, "iVBORw0KGgo") if it in line]


def _echo(body: bytes, headers: str) -> list[tuple[str, bytes]]:
    """Return replies without an image that repeat a request in every way."""
    text = f"{headers} {body.decode()} {PICTURE * 9}"
    nested = orjson.dumps({"data": [], "request": orjson.dumps(text).decode(), "b64": PICTURE})
    return [
        ("application/json", orjson.dumps({"created": 1, "data": [], "why": text})),
        ("application/json", nested),
        ("application/json", b'{"created":1,"data":[],"echo":' + body + b"}"),
        ("application/json", b'{"created":1,"data":[{"url":"","revised_prompt":' + body + b"}]}"),
    ]


@pytest.mark.parametrize("at", range(4))
async def test_debug_lines_about_replies_without_an_image_hold_no_prompt_key_or_image(
    at: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def reply(request: web.Request) -> web.Response:
        headers = " ".join(f"{name}: {value}" for name, value in request.headers.items())
        media_type, body = _echo(await request.read(), headers)[at]
        return web.Response(body=body, content_type=media_type)

    caplog.set_level(logging.DEBUG, "easel")
    async with provider(reply) as fake:
        stored = f"{{provider: openai, api_key: {STORED!r}, custom_host: {fake.url}}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}") as ours:
            for params in ({}, {"n": 2}):
                got = await ours.draw(PROMPT, params=params, virtual_key="up")
                assert (got.status, got.error["code"]) == (502, "no_picture")
    lines = [it for it in caplog.messages if "without an image" in it]
    assert len(lines) >= 2
    for line in lines:
        assert len(line.encode()) <= 2048 + 100
        assert not [it for it in (*NEVER_IN_A_LOG, "lighthouse", KEY, STORED) if it in line]
