"""Case 12: one caller reads, or spoils, what the cache keeps for another."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.cached_requests import CACHED, PC, SHARED, another, statuses
from tests.support.gateway import OTHER_KEY, Reply, always, gateway_to
from tests.support.raw_http import gateway_at, wire

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500000\r\n\r\n"
POISON: dict[str, Reply] = {
    "an error": always({"error": {"message": "m", "type": "t"}}, 500),
    "an error that calls itself a success": always({"error": {"message": "m", "type": "t"}}),
    "a page": always({"data": [{"b64_json": "PGh0bWw+PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="}]}),
    "no picture": always({"data": []}),
}


async def test_a_caller_gets_no_answer_of_anothers() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        theirs = {**PC, "api_key": OTHER_KEY}
        assert await statuses(ours, PC, theirs, PC) == ["MISS", "MISS", "HIT"]
        assert len(fake.requests) == 2


async def test_what_callers_share_is_bound_to_the_credential() -> None:
    inline = '{"provider":"openai","api_key":"%s","cache":{"mode":"simple","shared":true}}'
    async with gateway_to(another, TRUSTED_CUSTOM_HOSTS="127.0.0.1") as (ours, fake):
        host = {"custom_host": fake.url + "/v1"}
        mine = {"config": inline % "k1", **host}
        theirs = {"config": inline % "k2", "api_key": OTHER_KEY, **host}
        assert await statuses(ours, mine, theirs) == ["MISS", "MISS"]


@pytest.mark.parametrize("reply", POISON.values(), ids=POISON.keys())
async def test_only_whole_answers_with_pictures_are_kept(reply: Reply) -> None:
    async with gateway_to(reply, CACHED) as (ours, fake):
        for _ in range(2):
            await ours.draw(**SHARED)
        assert len(fake.requests) == 2


async def test_an_answer_that_was_cut_is_not_kept() -> None:
    body = b'{"data":[{"b64_json":"' + b"A" * 100_000
    async with wire(HEAD + body) as url, gateway_at(url, CACHED) as ours:
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await ours.draw(**PC)
