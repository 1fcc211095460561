"""Case 23, 24: a provider that repeats all it was sent, key and prompt, in every part of an error.

The adapters come from the list of providers; each is asked as in a transcript that succeeds.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from adapters import PROVIDERS
from proxy.app import make_app
from proxy.settings.loader import parse
from tests.support.replay import by_virtual_key, fixed_urls_redirected
from tests.support.secret_markers import GATEWAY_KEY, PROMPT, listening, loose
from tests.support.transcript_provider import ScriptedProvider
from tests.support.transcripts import (
    Exchange,
    Seen,
    Transcript,
    naming,
    secrets_of,
    transcripts_of,
)

_NO_SECRET = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
_SCHEMES = ("basic", "bearer", "key", "token")


def _error(said: str) -> dict[str, Any]:
    """Say something in every place where some provider says what went wrong."""
    inner = {"message": said, "code": said, "type": said, "param": said, "Message": said}
    listed = [{"loc": ["body", said], "msg": said, "type": said, **inner}]
    response = {"Error": {"Message": said, "Code": said}, "RequestId": said}
    words = ("message", "code", "name", "reason", "status", "id", "title", "error_code")
    task = {"status": "FAILED", "reason": said}
    more = {"error": inner, "detail": listed, "errors": listed, "Response": response, "task": task}
    return {**dict.fromkeys(words, said), **more}


class Repeats(ScriptedProvider):
    """Follows its transcript, but for the last reply: an error that repeats the request."""

    def __init__(self, transcript: Transcript, at: int, status: int) -> None:
        super().__init__(transcript)
        self.secrets = {*secrets_of(transcript)}
        self.repeated = 0
        self._at = at
        self._status = status

    def _reply(self, exchange: Exchange) -> web.Response:
        if len(self.asked) - 1 < self._at:
            return super()._reply(exchange)
        seen = self.asked[-1]
        self.secrets |= _derived(seen)
        self.repeated += 1
        words = [value for name, value in seen.headers.items() if name not in _NO_SECRET]
        said = " ".join([*words, seen.line, *(str(it) for it in seen.body if it), *self.secrets])
        return web.json_response(_error(said), status=self._status, headers={"x-debug": said[:999]})


def _derived(seen: Seen) -> set[str]:
    """Give what stands for a credential in a request, a token or base64, and is no signature."""
    scheme, _, value = seen.headers.get("authorization", "").partition(" ")
    return {value} if scheme.lower() in _SCHEMES else set()


def _success(provider: str) -> Transcript:
    return next(it for it in transcripts_of(provider) if it.kind == "success" and it.exchanges)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_it_repeats_is_blotted_out(provider: str) -> None:
    transcript = _success(provider)
    for at in {0, len(transcript.exchanges) - 1}:
        for status in (200, 400):
            with naming(transcript), fixed_urls_redirected(transcript):
                await _assert_nothing_repeated(transcript, at, status)


async def _assert_nothing_repeated(transcript: Transcript, at: int, status: int) -> None:
    log = StringIO()

    async def at_once(seconds: float) -> None:
        del seconds

    with listening() as sinks:
        async with Repeats(transcript, at, status) as fake:
            stored, headers = by_virtual_key(transcript, fake)
            tree = {"api_keys": {"tests": {"key": GATEWAY_KEY}}, **stored}
            settings = parse(orjson.dumps(tree).decode(), environ={})
            headers |= {"x-portkey-api-key": GATEWAY_KEY, "content-type": "application/json"}
            data = orjson.dumps({**transcript.call, "prompt": PROMPT})
            app = make_app(settings, log_to=log, sleep=at_once)
            async with TestClient(TestServer(app)) as gateway:
                response = await gateway.post("/v1/images/generations", data=data, headers=headers)
                told = f"{dict(response.headers)} {await response.text()}"
    secrets = {it for it in fake.secrets if len(it) >= 8}
    assert fake.repeated
    assert [it for it in secrets if it in told or it.replace("/", "\\/") in told] == []
    assert "KEYMARK" not in told
    said = log.getvalue() + sinks.text
    assert log.getvalue()
    assert loose(said) == []
    assert [it for it in secrets if it in said] == []
