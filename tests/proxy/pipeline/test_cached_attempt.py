"""The cache over HTTP: each status, each response format, and who shares entries with whom."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from adapters.tools.sse import EventParser
from tests.support.cached_requests import (
    _COUNT,
    CACHED,
    COMPLETED,
    PC,
    POOL,
    SHARED,
    another,
    picture,
    status,
    statuses,
    texts,
)
from tests.support.gateway import (
    B64,
    OTHER_KEY,
    PNG,
    Answered,
    Gateway,
    Provider,
    always,
    gateway,
    gateway_to,
    json_reply,
    provider,
)


async def fetch_images(ours: Gateway, got: Answered) -> list[str]:
    """Return the base64 of each image of a response with URLs."""
    places = [entry["url"].removeprefix(ours.url) for entry in got.json["data"]]
    answers = [await ours.ask(method="GET", path=place, api_key="") for place in places]
    return [base64.b64encode(it.body).decode() for it in answers]


async def test_the_same_again_is_a_hit_with_the_same_answer() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        first, second = await ours.draw(**PC), await ours.draw(**PC)
        assert (status(first), status(second)) == ("MISS", "HIT")
        assert (first.json, len(fake.requests)) == (second.json, 1)
        assert second.headers["x-portkey-provider"] == "openai"
        assert second.headers["x-easel-receipt"] == "cached images=1, measured 1=1x1;png;78"


async def test_without_a_config_nothing_is_looked_up() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        assert await statuses(ours, PC, {"virtual_key": "up"}) == ["MISS", "DISABLED"]


async def test_what_is_not_to_be_tracked_is_not_kept() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        untracked = {**PC, "debug": "false"}
        assert await statuses(ours, untracked, PC, untracked) == ["DISABLED", "MISS", "DISABLED"]


async def test_force_refresh_asks_again_and_keeps_the_new_answer() -> None:
    refresh = {**PC, "cache_force_refresh": "True"}
    plain = {**PC, "cache_force_refresh": "false"}
    async with gateway_to(another, CACHED) as (ours, _):
        assert await statuses(ours, PC) == ["MISS"]
        fresh, again = await ours.draw(**refresh), await ours.draw(**plain)
        assert (status(fresh), status(again)) == ("REFRESH", "HIT")
        assert fresh.json == again.json


async def test_namespace_and_metadata_tell_answers_apart() -> None:
    asks = (PC, {**PC, "cache_namespace": "b"}, {**PC, "metadata": '{"_user":"u"}'})
    async with gateway_to(another, CACHED) as (ours, _):
        assert await statuses(ours, *asks) == ["MISS"] * 3


async def test_callers_never_share() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        asks = (PC, {**PC, "api_key": OTHER_KEY})
        assert await statuses(ours, *asks, *asks) == ["MISS", "MISS", "HIT", "HIT"]


async def test_callers_share_where_the_config_says_so() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        asks = (SHARED, {**SHARED, "api_key": OTHER_KEY}, PC)
        assert await statuses(ours, *asks) == ["MISS", "HIT", "MISS"]


@pytest.mark.parametrize("more", ["", ',"shared":true'])
async def test_credentials_never_share(more: str) -> None:
    inline = '{"provider":"openai","api_key":"%s","cache":{"mode":"simple"' + more + "}}"
    async with gateway_to(another, TRUSTED_CUSTOM_HOSTS="127.0.0.1") as (ours, fake):
        host = {"custom_host": fake.url + "/v1"}
        asks = ({"config": inline % "k1", **host}, {"config": inline % "k2", **host})
        assert await statuses(ours, *asks, *asks) == ["MISS", "MISS", "HIT", "HIT"]


async def test_a_failure_is_never_kept() -> None:
    async with gateway_to(always({"error": {"message": "m", "type": "t"}}, 500), CACHED) as (
        ours,
        fake,
    ):
        assert await statuses(ours, PC, PC) == ["MISS", "MISS"]
        assert len(fake.requests) == 2


@pytest.mark.parametrize("text", ["AAAA", "A" * 200_000, "!" * 80, ""])
async def test_what_is_no_picture_is_never_kept(text: str) -> None:
    async with gateway_to(always({"data": [{"b64_json": text}]}), CACHED) as (ours, _):
        await ours.draw(**PC)
        assert status(await ours.draw(**PC)) == "MISS"


async def test_a_large_relayed_answer_is_kept_too() -> None:
    body = {"created": 1, "data": [{"b64_json": picture(200_000)}], "unknown": 7}
    async with gateway_to(always(body), CACHED) as (ours, fake):
        first, second = await ours.draw(**PC), await ours.draw(**PC)
        assert status(second) == "HIT"
        assert (first.json, len(fake.requests)) == (second.json, 1)


async def test_what_is_too_large_is_not_kept() -> None:
    settings = CACHED + "cache: {answer_bytes: 100_000}\n"
    body = {"data": [{"b64_json": picture(200_000)}]}
    async with gateway_to(always(body), settings) as (ours, _):
        assert await statuses(ours, PC, PC) == ["MISS", "MISS"]


FORMS: list[dict[str, Any]] = [
    {"response_format": "b64_json"},
    {"response_format": "url"},
    {"stream": True},
    {"stream": True, "partial_images": 2},
]


async def events(request: web.Request) -> web.StreamResponse:
    """Reply in the requested format, as a provider with OpenAI's API does."""
    asked = orjson.loads(await request.read())
    if not asked.get("stream"):
        return await another(request)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    preview = {"type": "image_generation.partial_image", "b64_json": B64, "partial_image_index": 0}
    for told in (preview, {"type": COMPLETED, "b64_json": picture(), "usage": {"total_tokens": 1}}):
        await response.write(b"data: %b\n\n" % orjson.dumps(told))
    return response


async def draw_in_form(ours: Gateway, form: dict[str, Any]) -> tuple[str, list[str]]:
    got = await ours.draw(params={"model": "gpt-image-2", **form}, **PC)
    by_url = form.get("response_format") == "url"
    return status(got), await fetch_images(ours, got) if by_url else texts(got)


@pytest.mark.parametrize("filled", range(len(FORMS)))
async def test_an_answer_in_one_form_serves_every_other(filled: int) -> None:
    async with gateway_to(events, CACHED) as (ours, fake):
        first, made = await draw_in_form(ours, FORMS[filled])
        assert first == "MISS"
        assert len(made) == 1
        for form in FORMS:
            assert await draw_in_form(ours, form) == ("HIT", made)
        assert len(fake.requests) == 1


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_hit_by_url_writes_no_picture(tmp_path: Path) -> None:
    store = f"blobs: {{store: {tmp_path}}}\n"
    async with gateway_to(another, CACHED + store) as (ours, _):
        params = {"response_format": "url", "model": "gpt-image-2"}
        await ours.draw(params={**params, "response_format": "b64_json"}, **PC)
        for _ in range(2):
            assert status(await ours.draw(params=params, **PC)) == "HIT"
        places = files(tmp_path)
        assert len(places) == 2
        assert places[0].samefile(places[1])


OTHER = """
virtual_keys: {{up: {{provider: {name}, api_key: test-key-0123456789, custom_host: "{url}"}}}}
"""


async def png(request: web.Request) -> web.Response:
    """Reply with bytes, as a provider with an API of its own does."""
    del request
    return web.Response(body=PNG + next(_COUNT).to_bytes(8), content_type="image/png")


@pytest.mark.parametrize("filled", range(len(FORMS)))
async def test_an_answer_that_was_put_together_serves_every_form(filled: int) -> None:
    async with (
        provider(png) as fake,
        gateway(OTHER.format(name="stability-ai", url=fake.url) + CACHED) as ours,
    ):
        params = {"model": "stable-image-core", "n": 2}
        first, made = await draw_in_form(ours, {**FORMS[filled], **params})
        assert (first, len(set(made))) == ("MISS", 2)
        for form in FORMS:
            assert await draw_in_form(ours, {**form, **params}) == ("HIT", made)
        assert len(fake.requests) == 2


async def test_a_hit_has_the_lines_of_the_parameters_and_not_of_the_calls() -> None:
    async with (
        provider(png) as fake,
        gateway(OTHER.format(name="stability-ai", url=fake.url) + CACHED) as ours,
    ):
        params = {"model": "stable-image-core", "n": 2, "style": "vivid"}
        miss, hit = [await ours.draw(params=params, **PC) for _ in range(2)]
        assert "converted n=2>calls=2" in miss.headers["x-easel-receipt"]
        told = hit.headers["x-easel-receipt"]
        assert "dropped style" in told
        assert "cached images=2, measured 1=" in told
        assert "calls" not in told


async def test_a_hit_as_events_says_how_many_pictures_came_from_the_cache() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        params = {"n": 3}
        await ours.draw(params=params, **PC)
        got = await ours.draw(params={**params, "stream": True}, **PC)
        assert "cached images=3" in got.headers["x-easel-receipt"]
        told = EventParser()
        usages = [it.json()["usage"]["total_tokens"] for it in told.feed(got.body)]
        assert usages == [0, 0, 3]


async def by_url(request: web.Request) -> web.Response:
    """Reply with a URL, and serve the image at that URL."""
    if request.method == "GET":
        return web.Response(body=PNG + bytes(300_000))
    return json_reply({"created": 1, "data": [{"url": str(request.url.with_path("/p.png"))}]})


async def test_a_providers_url_is_answered_again_while_it_lives_and_then_one_of_ours() -> None:
    async with gateway_to(by_url, CACHED) as (ours, fake):
        now = 0.0
        await _with_clock(ours, lambda: now)
        first, second = await ours.draw(**PC), await ours.draw(**PC)
        assert (status(second), second.json) == ("HIT", first.json)
        now = 1801.0
        third = await ours.draw(**PC)
        assert status(third) == "HIT"
        assert third.json["data"][0]["url"].startswith(ours.url + "/v1/images/blobs/")
        assert await fetch_images(ours, third) == [base64.b64encode(PNG + bytes(300_000)).decode()]
        assert [it.method for it in fake.requests] == ["POST", "GET"]


async def _with_clock(ours: Gateway, clock: Any) -> None:
    from proxy.cache.store import CACHE  # noqa: PLC0415 - only here

    ours.app[CACHE].clock = clock
    ours.app[CACHE].index._clock = clock  # type: ignore[attr-defined]  # the local one has it


async def test_a_picture_from_a_url_is_kept_while_it_passes_and_fetched_once() -> None:
    async with gateway_to(by_url, CACHED) as (ours, fake):
        params = {"response_format": "b64_json"}
        first, second = [await ours.draw(params=params, **PC) for _ in range(2)]
        assert (status(second), texts(second)) == ("HIT", texts(first))
        assert [it.method for it in fake.requests] == ["POST", "GET"]


async def test_a_picture_that_is_cut_is_not_kept() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return await by_url(request)
        response = web.StreamResponse()
        response.content_length = 3_000_000
        await response.prepare(request)
        await response.write(PNG + bytes(500_000))
        assert request.transport
        request.transport.abort()
        return response

    async with gateway_to(cut, CACHED) as (ours, fake):
        params = {"response_format": "b64_json"}
        with pytest.raises(Exception, match="payload"):
            await ours.draw(params=params, **PC)
        fake.reply = by_url
        assert status(await ours.draw(params=params, **PC)) == "MISS"


async def test_a_pool_serves_fewer_and_asks_for_what_is_missing() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        three, four, two = [await ours.draw(params={"n": n}, **POOL) for n in (3, 4, 2)]
        assert [status(it) for it in (three, four, two)] == ["MISS", "MISS", "HIT"]
        assert fake.sent["n"] == 1
        assert texts(four)[:3] == texts(three)
        assert len(set(texts(four))) == 4
        assert texts(two) == texts(three)[:2]
        assert "cached images=3" in four.headers["x-easel-receipt"]
        assert len(fake.requests) == 2


async def test_a_pool_answers_events_from_what_it_has_and_else_asks_for_all() -> None:
    async with gateway_to(events, CACHED) as (ours, fake):
        params = {"n": 2}
        made = texts(await ours.draw(params=params, **POOL))
        got = await ours.draw(params={**params, "stream": True}, **POOL)
        assert (status(got), texts(got)) == ("HIT", made)
        await ours.draw(params={"n": 3, "stream": True}, **POOL)
        assert fake.sent["n"] == 3


async def test_a_seed_asks_for_pictures_of_no_pool() -> None:
    async with gateway_to(another, CACHED) as (ours, fake):
        for n in (2, 3):
            await ours.draw(params={"n": n, "seed": 7}, **POOL)
        assert fake.sent["n"] == 3


async def test_without_a_pool_another_number_is_another_answer() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        got = [await ours.draw(params={"n": n}, **PC) for n in (3, 2)]
        assert [status(it) for it in got] == ["MISS", "MISS"]


async def test_what_a_pool_has_goes_on_to_the_next_target() -> None:
    flaky = Provider()

    async def reply(request: web.Request) -> web.Response:
        if len(flaky.requests) in (2, 3):
            return json_reply({"name": "internal_error", "errors": ["no"]}, 500)
        return await png(request)

    config = """
configs:
  both:
    strategy: {mode: fallback, complete: true}
    cache: {mode: simple, pool: true}
    targets: [{virtual_key: up}, {virtual_key: up, override_params: {seed: 1}}]
"""
    async with provider(reply) as fake:
        flaky.requests = fake.requests
        text = OTHER.format(name="stability-ai", url=fake.url) + config
        async with gateway(text) as ours:
            params = {"model": "stable-image-core"}
            first = await ours.draw(params=params, config="both")
            got = await ours.draw(params={**params, "n": 4}, config="both")
            assert len(set(texts(got))) == 4
            assert texts(got)[0] == texts(first)[0]


async def test_what_is_no_request_is_no_hit() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        await ours.draw(**PC)
        assert (await ours.draw(params={"response_format": "gif"}, **PC)).status == 400


@pytest.mark.parametrize("stream", [True, False])
async def test_a_part_of_an_answer_is_not_kept(stream: bool) -> None:  # noqa: FBT001 - a case
    failed = False

    async def once(request: web.Request) -> web.Response:
        nonlocal failed
        if not failed:
            failed = True
            return json_reply({"name": "internal_error", "errors": ["no"]}, 500)
        return await png(request)

    async with (
        provider(once) as fake,
        gateway(OTHER.format(name="stability-ai", url=fake.url) + CACHED) as ours,
    ):
        params = {"model": "stable-image-core", "n": 2, "stream": stream}
        got = [await ours.draw(params=params, **PC) for _ in range(3)]
        assert [status(it) for it in got] == ["MISS", "MISS", "HIT"]


async def test_a_caller_gives_up_its_answers() -> None:
    other, spaced = {**PC, "api_key": OTHER_KEY}, {**PC, "cache_namespace": "b"}
    async with gateway_to(another, CACHED) as (ours, _):
        await statuses(ours, PC, other, spaced)

        async def forget(path: str) -> Any:
            return (await ours.ask(method="DELETE", path=path)).json

        assert await forget("/v1/cache?namespace=b") == {"deleted": 1}
        assert await statuses(ours, PC, spaced) == ["HIT", "MISS"]
        assert await forget("/v1/cache") == {"deleted": 2}
        assert await statuses(ours, PC, spaced, other) == ["MISS", "MISS", "HIT"]


async def test_nobody_gives_up_answers_without_a_key() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        assert (await ours.ask(method="DELETE", path="/v1/cache", api_key="")).status == 401


async def test_an_answer_is_not_held_up_by_a_store_that_does_not_work() -> None:
    async with gateway_to(another, CACHED + "blobs: {store: /dev/null/blobs}\n") as (ours, _):
        assert await statuses(ours, PC, PC) == ["MISS", "MISS"]


async def test_many_at_once_are_each_answered() -> None:
    async with gateway_to(another, CACHED) as (ours, _):
        got = await asyncio.gather(*(ours.draw(**PC) for _ in range(20)))
        assert {it.status for it in got} == {200}
        assert status(await ours.draw(**PC)) == "HIT"
