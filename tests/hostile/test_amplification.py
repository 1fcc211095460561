"""Case 11: one request of a client's becomes thousands of paid ones."""

from __future__ import annotations

import orjson

from tests.support.gateway import always, gateway, gateway_to, provider

MOST = 30


def config(**retry: object) -> str:
    leaf = {"virtual_key": "up", "retry": {"attempts": 5, "on_status_codes": [503], **retry}}
    level = {"strategy": {"mode": "fallback"}, "targets": [leaf] * 20}
    return orjson.dumps({"strategy": {"mode": "fallback"}, "targets": [level] * 10}).decode()


async def test_retries_times_targets_end_at_the_limit() -> None:
    async with gateway_to(always({"error": {"message": "m"}}, 503)) as (ours, fake):
        got = await ours.draw(params={"n": 10}, config=config())
        assert got.status == 503
        assert len(fake.requests) <= MOST


async def test_the_operator_can_set_a_lower_limit() -> None:
    failing = always({"error": {"message": "m"}}, 503)
    async with gateway_to(failing, "limits: {attempts: 3}\n") as (ours, fake):
        await ours.draw(config=config())
        assert len(fake.requests) == 3


async def test_more_calls_than_the_limit_leaves_are_not_begun() -> None:
    async with provider() as fake:
        stored = f"{{provider: luma, api_key: test-key-0123456789, custom_host: '{fake.url}'}}"
        settings = f"virtual_keys: {{up: {stored}}}\nlimits: {{attempts: 3}}\n"
        async with gateway(settings) as ours:
            got = await ours.draw(params={"model": "photon-1", "n": 4}, virtual_key="up")
            assert (got.status, got.error["code"]) == (400, "too_many_attempts")
            assert not fake.requests
