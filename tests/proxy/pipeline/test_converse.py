"""Several provider calls for one request: concurrent, merged, with failures reported."""

from __future__ import annotations

from aiohttp import web

from tests.support.gateway import B64, PNG, Gateway, Provider, always, gateway, provider

UP = {"virtual_key": "up"}
CORE = {"model": "stable-image-core"}


def settings(fake: Provider) -> str:
    return f"""
virtual_keys:
  up: {{provider: stability-ai, api_key: test-key-0123456789, custom_host: {fake.url}}}
"""


async def png(request: web.Request) -> web.Response:
    del request
    return web.Response(body=PNG, content_type="image/png")


async def test_n_pictures_take_n_calls_where_a_provider_makes_one() -> None:
    async with provider(png) as fake, gateway(settings(fake)) as ours:
        got = await ours.draw(params={**CORE, "n": 3}, **UP)
        assert len(got.json["data"]) == len(fake.requests) == 3
        assert "converted n=3>calls=3" in got.headers["x-easel-receipt"]


async def test_each_of_several_calls_has_a_seed_of_its_own() -> None:
    async with provider(png) as fake, gateway(settings(fake)) as ours:
        await ours.draw(params={**CORE, "n": 3, "seed": 7}, **UP)
        seeds = {body.partition(b'name="seed"\r\n\r\n')[2][:1] for body in fake.bodies}
        assert seeds == {b"7", b"8", b"9"}


def failing_first(times: int) -> Provider:
    fake = Provider()

    async def reply(request: web.Request) -> web.Response:
        if len(fake.requests) <= times:
            return web.json_response({"name": "internal_error", "errors": ["no"]}, status=500)
        return await png(request)

    fake.reply = reply
    return fake


async def _draw(ours: Gateway) -> tuple[int, str, int]:
    got = await ours.draw(params={**CORE, "n": 2}, **UP)
    pictures = len(got.json.get("data", []))
    return got.status, got.headers.get("x-easel-receipt", ""), pictures


async def test_what_was_made_is_given_and_what_failed_is_said() -> None:
    script = failing_first(1)
    async with provider() as fake, gateway(settings(fake)) as ours:
        script.requests, fake.reply = fake.requests, script.reply
        status, receipt, pictures = await _draw(ours)
        assert (status, pictures) == (200, 1)
        assert "failed images=1" in receipt


async def test_all_or_nothing_is_a_setting() -> None:
    script = failing_first(1)
    async with provider() as fake, gateway("images: {incomplete: fail}\n" + settings(fake)) as ours:
        script.requests, fake.reply = fake.requests, script.reply
        assert (await _draw(ours))[0] == 502


async def test_fewer_pictures_than_asked_are_never_given_in_silence() -> None:
    one = always({"artifacts": [{"base64": B64, "finishReason": "SUCCESS"}]})
    asked = {"model": "stable-diffusion-xl-1024-v1-0", "n": 3}
    async with provider(one) as fake, gateway(settings(fake)) as ours:
        got = await ours.draw(params=asked, **UP)
        assert len(got.json["data"]) == 1
        assert "failed images=2>incomplete" in got.headers["x-easel-receipt"]


async def test_what_is_incomplete_is_not_kept() -> None:
    script = failing_first(1)
    async with provider() as fake, gateway(settings(fake)) as ours:
        script.requests, fake.reply = fake.requests, script.reply
        config = '{"virtual_key": "up", "cache": {"mode": "simple"}}'
        for pictures in (1, 2):
            got = await ours.draw(params={**CORE, "n": 2}, config=config)
            assert len(got.json["data"]) == pictures


async def test_nothing_made_is_the_first_failure() -> None:
    script = failing_first(2)
    async with provider() as fake, gateway(settings(fake)) as ours:
        script.requests, fake.reply = fake.requests, script.reply
        assert (await _draw(ours))[0] == 502


async def test_more_calls_than_attempts_are_left_are_not_begun() -> None:
    few = "limits: {attempts: 2}\n"
    async with provider(png) as fake, gateway(few + settings(fake)) as ours:
        got = await ours.draw(params={**CORE, "n": 3}, **UP)
        assert (got.status, got.error["param"], len(fake.requests)) == (400, "n", 0)
