"""Case 32: whatever a stranger sends, a line of the log is one line, and moves no cursor."""

from __future__ import annotations

import orjson
import pytest
from aiohttp import web

from tests.support.gateway import SETTINGS, Provider, gateway, json_reply, provider
from tests.support.raw_http import shout

_EVIL = 'a"} {"status":200}\\n\x1b[2J\x9b31m\u2028\u202e\u0085'
_FORGED = "200 GET /healthz 0.4ms"


async def _evil_reply(request: web.Request) -> web.Response:
    del request
    error = {"message": _EVIL, "code": _EVIL, "type": _EVIL, "param": _EVIL}
    return json_reply({"error": error}, 400)


def _is_safe(line: str) -> bool:
    return line.isascii() and line.isprintable()


def _up(fake: Provider) -> str:
    return f"virtual_keys: {{up: {{provider: openai, custom_host: {fake.url}/v1}}}}"


@pytest.mark.parametrize("style", ["json", "text"])
async def test_each_request_is_one_line(style: str) -> None:
    answered: list[int] = []
    base = SETTINGS.replace("format: json", f"format: {style}")
    async with provider(_evil_reply) as fake, gateway(_up(fake), base) as ours:
        up, body = b"x-portkey-virtual-key: up", orjson.dumps({"prompt": _EVIL, "size": _EVIL})
        for name in (b"x-portkey-trace-id", b"x-portkey-metadata", b"user-agent"):
            for value in (_EVIL.encode(), orjson.dumps({_EVIL: _EVIL}), _FORGED.encode()):
                answered += [(await shout(ours, up, name + b": " + value, body=body)).status]
        await ours.ask(method="GET", path="/%0a%1b[2J" + _FORGED.replace(" ", "%20"))
        await ours.access_log()
    written = ours.log.getvalue().splitlines()
    # What the parser refuses has no line.
    assert answered == [400] * 9
    assert 1 < len(written) <= 10
    assert all(map(_is_safe, written))
    if style == "json":
        assert {orjson.loads(line)["status"] for line in written} == {400, 404}
