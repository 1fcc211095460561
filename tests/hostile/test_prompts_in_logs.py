"""Case 24: what clients ask for, and the pictures they get, are read by whoever reads the logs."""

from __future__ import annotations

import asyncio

import orjson

from tests.support.gateway import KEY, SETTINGS, always, gateway, provider
from tests.support.repeating_provider import GOOD, watched
from tests.support.secret_markers import GATEWAY_KEY, PROMPT, STORED

WANTED = SETTINGS.replace("format: json", "format: json, prompts: true")
CALLER = {"x_portkey_virtual_key": "up", "x_portkey_api_key": GATEWAY_KEY}
FAILED = {"error": {"message": f"no: {PROMPT}", "type": "t", "param": None, "code": "c"}}


async def test_no_log_holds_a_prompt_or_a_picture_whatever_became_of_it() -> None:
    for reply in (always(GOOD), always(FAILED, 400), always(FAILED, 500)):
        async with watched(reply) as (ours, _, sinks):
            for params in ({}, {"response_format": "url"}, {"n": PROMPT}, {"stream": True}):
                await ours.draw(PROMPT, params=params, **CALLER)
            await ours.ask(orjson.dumps({"prompt": PROMPT})[:-1], **CALLER)
            await asyncio.sleep(0.15)
            lines = ours.log.getvalue()
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
            await asyncio.sleep(0.15)
            lines = ours.log.getvalue().splitlines()
    assert len(lines) == 3
    for line in lines:
        assert orjson.loads(line)["prompt"] == (PROMPT * 40)[:500]
        assert not [it for it in (KEY, STORED, "iVBORw0KGgo") if it in line]
