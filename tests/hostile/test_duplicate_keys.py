"""Case 13: two requests that are not the same, and look the same to the cache."""

from __future__ import annotations

import pytest

from tests.support.cached_requests import CACHED, another
from tests.support.gateway import Answered, Gateway, gateway_to

TWICE = b'{"prompt":"a wolf","prompt":"a lamb","\\u0070rompt":"a lamb"}'
APART = (
    (b'{"prompt":"\xc3\xa9"}', b'{"prompt":"e\xcc\x81"}'),
    (b'{"prompt":"p","x":1}', b'{"prompt":"p","x":1.0}'),
    (b'{"prompt":"p","user":"1"}', b'{"prompt":"p ","user":"1"}'),
    (b'{"prompt":"p","x":true}', b'{"prompt":"p","x":1}'),
    (b'{"prompt":"p","x":{"a":1}}', b'{"prompt":"p","x":"{\\"a\\":1}"}'),
)
ALIKE = (
    (b'{"prompt":"p","user":"u"}', b'{ "user" : "u", "prompt" : "p" }'),
    (b'{"prompt":"p","seed":1}', b'{"prompt":"p","seed":1.0}'),
    (b'{"prompt":"\\u00e9"}', b'{"prompt":"\xc3\xa9"}'),
)


async def asked(ours: Gateway, body: bytes, config: str = "shared") -> Answered:
    return await ours.ask(body, config=config)


@pytest.mark.parametrize(("one", "two"), APART, ids=range(len(APART)))
async def test_what_a_provider_may_tell_apart_is_kept_apart(one: bytes, two: bytes) -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        answers = [await asked(ours, body) for body in (one, two)]
        assert [it.headers["x-portkey-cache-status"] for it in answers] == ["MISS", "MISS"]


@pytest.mark.parametrize(("one", "two"), ALIKE, ids=range(len(ALIKE)))
async def test_what_says_the_same_is_the_same(one: bytes, two: bytes) -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        answers = [await asked(ours, body) for body in (one, two)]
        assert [it.headers["x-portkey-cache-status"] for it in answers] == ["MISS", "HIT"]


@pytest.mark.parametrize("config", ["shared", "pc", '{"virtual_key":"up"}'])
async def test_a_key_given_twice_is_sent_on_with_the_meaning_that_we_read(config: str) -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        assert (await asked(ours, TWICE, config)).status == 200
        assert fake.bodies[-1].count(b"rompt") == 1
        assert fake.sent == {"prompt": "a lamb"}
