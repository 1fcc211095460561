"""Case 24: what clients ask for, and the pictures they get, are read by whoever reads the logs."""

from __future__ import annotations

import asyncio

import orjson

from tests.hostile.canary import GATEWAY_KEY, PROMPT
from tests.hostile.test_23_secrets import GOOD, watched
from tests.proxy.gateway import always

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
