"""Case 11: one request of a client's becomes thousands of paid ones."""

from __future__ import annotations

import orjson
import pytest
from aiohttp import web

from tests.support.gateway import PNG, always, gateway, gateway_to, provider
from tests.support.image_urls import drawn, pictures

MOST = 30
MOST_IMAGES = 10


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


async def png(request: web.Request) -> web.Response:
    del request
    return web.Response(body=PNG, content_type="image/png")


KEPT = "blobs: {persist_urls: true}\n"
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "base64": ("", {}),
    "events": ("", {"stream": True}),
    "stored URLs": (KEPT, {"response_format": "url"}),
}


@pytest.mark.parametrize(("more", "params"), FORMS.values(), ids=FORMS.keys())
async def test_a_reply_has_no_more_images_fetched_than_a_request_may_have(
    more: str, params: dict[str, object]
) -> None:
    async with pictures(png, count=60, more=more) as (ours, fake):
        got = await drawn(ours, **params)
        assert got.status == 200
        assert len([it for it in fake.requests if it.method == "GET"]) == MOST_IMAGES
        if not params.get("stream"):
            assert "dropped images=50>limits.images" in got.headers["x-easel-receipt"]
            assert len(got.json["data"]) == MOST_IMAGES
