"""Case 5: a provider's answer names a place to go on at, and it is somebody else's."""

from __future__ import annotations

import pytest

from tests.support.gateway import provider
from tests.support.polling_provider import ELSEWHERE, HELD, SCHNELL, drawn, polled

BESIDE = ("{own}@evil.example/get", "{own}.evil.example/get", "https://evil.example/{own}")


@pytest.mark.parametrize("place", [*ELSEWHERE, *BESIDE])
async def test_no_key_follows_a_polling_url_to_a_stranger(place: str) -> None:
    async with polled(place) as (ours, polls):
        for got in (await drawn(ours), await ours.draw(params=SCHNELL, **HELD)):
            assert got.status == 502
            assert got.error["code"] in ("foreign_url", "invalid_url", "provider_unreachable")
        assert {it.method for it in polls.fake.requests} == {"POST"}


async def test_a_stranger_on_this_machine_hears_nothing_either() -> None:
    async with provider() as stranger, polled(f"{stranger.url}/get") as (ours, _):
        assert (await drawn(ours)).error["code"] == "foreign_url"
        assert not stranger.requests
