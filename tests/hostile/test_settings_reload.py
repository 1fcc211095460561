"""Case 31: settings that change while the gateway runs; what was taken away is away at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cached_requests import CACHED, PC, SHARED, another, status
from tests.support.gateway import KEY, OTHER_KEY, SETTINGS, Gateway, Provider, gateway_to, key_to


async def remembered(ours: Gateway) -> None:
    """Have an answer lie ready, for a request that is known by its bytes."""
    for expected in ("MISS", "HIT", "HIT", "HIT"):
        assert status(await ours.draw(**PC)) == expected


async def test_a_key_that_was_taken_out_opens_nothing_from_the_next_request_on() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        await remembered(ours)
        job = (await ours.draw(**PC)).headers["x-easel-job"]
        only_other = f"api_keys: {{other: {{key: {OTHER_KEY}}}}}\n"
        assert await ours.reload(key_to(fake) + CACHED, base=only_other) == []
        for path, method in (
            ("/v1/images/generations", "POST"),
            (f"/v1/images/jobs/{job}", "GET"),
            ("/v1/models", "GET"),
            ("/readyz?verbose", "GET"),
        ):
            body = {"prompt": "a cube"} if method == "POST" else None
            got = await ours.ask(body, method=method, path=path, **PC)
            assert (got.status, got.error["code"]) == (401, "invalid_api_key"), path
        assert (await ours.draw(api_key=OTHER_KEY, virtual_key="up")).status == 200


def without_virtual_key(fake: Provider) -> str:
    del fake
    return CACHED.replace("virtual_key: up", "provider: sandbox") + "sandbox: true\n"


def with_another_credential(fake: Provider) -> str:
    return key_to(fake, "sk-rotated-0123456789") + CACHED


def without_the_config(fake: Provider) -> str:
    return key_to(fake)


def without_a_cache(fake: Provider) -> str:
    return key_to(fake) + CACHED.replace(", cache: {mode: simple}", "")


@pytest.mark.parametrize(
    ("changed", "answered"),
    [
        (with_another_credential, 200),
        (without_the_config, 400),
        (without_virtual_key, 200),
        (without_a_cache, 200),
    ],
)
async def test_what_was_taken_away_is_not_answered_from_memory(changed: Any, answered: int) -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        await remembered(ours)
        assert await ours.reload(changed(fake)) == []
        got = await ours.draw(**PC)
        assert got.status == answered
        assert got.headers.get("x-portkey-cache-status", "") != "HIT"


async def test_what_callers_do_not_share_any_more_is_each_ones_own() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        for expected in ("MISS", "HIT", "HIT"):
            got = await ours.draw(**SHARED, api_key=OTHER_KEY if expected == "HIT" else KEY)
            assert status(got) == expected
        assert await ours.reload(key_to(fake) + CACHED.replace(", shared: true", "")) == []
        assert status(await ours.draw(**SHARED, api_key=OTHER_KEY)) == "MISS"


async def test_a_host_that_is_not_trusted_any_more_is_not_reached() -> None:
    trusted = "trusted_custom_hosts: [127.0.0.1]\n"
    async with gateway_to(more=trusted) as (ours, fake):
        asked = {"provider": "openai", "authorization": "Bearer sk-of-theirs"}
        asked |= {"custom_host": f"{fake.url}/v1"}
        assert (await ours.draw(**asked)).status == 200
        assert await ours.reload(key_to(fake)) == []
        refused = await ours.draw(**asked)
        assert refused.status >= 400
        assert len(fake.requests) == 1


@pytest.mark.parametrize("lines", range(5))
async def test_half_a_file_opens_and_shuts_nothing(lines: int) -> None:
    async with gateway_to() as (ours, fake):
        whole = "images: {incomplete: deliver}\n" + key_to(fake) + SETTINGS
        half = "".join(whole.splitlines(keepends=True)[:lines])
        assert "api_keys" not in half
        assert await ours.reload(half, base="") != []
        assert (await ours.draw(virtual_key="up")).status == 200
        assert (await ours.draw(virtual_key="up", api_key=KEY[:-1])).status == 401
