"""Fewer images than requested: each paid image is delivered once, missing ones are reported."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gateway import PNG, Answered, Gateway, gateway, json_reply, provider

MODELS = {
    "stability-ai": "stable-image-core",
    "replicate": "black-forest-labs/flux-1.1-pro",
    "openai": "m",
}
"""Providers that reply with bytes, with a URL, and with several images in OpenAI's format."""
FAILURES = {"name": "x", "errors": ["no"], "error": {"message": "no", "type": "t"}}
REFUSALS = {
    "name": "content_moderation",
    "errors": ["no"],
    "error": {"message": "no", "type": "t", "code": "moderation_blocked"},
}
ENDS = st.sampled_from(["well", "well", "failed", "refused", "cut", "lost", "fewer"])
TARGETS = st.lists(
    st.tuples(st.sampled_from(list(MODELS)), st.lists(ENDS, max_size=5)), min_size=1, max_size=4
)


class ScriptedProviders:
    """Providers `/0/…`, `/1/…`: every image differs, and each request ends as scripted.

    `made` are the numbers of the pictures that can be had, `asked` who was asked, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.numbers = itertools.count(100)
        self.begin([])

    def begin(self, targets: list[tuple[str, list[str]]]) -> None:
        """Set the targets of the next call: the provider, and how each of its requests ends."""
        self.kinds = [kind for kind, _ in targets]
        self.ends = [list(ends) for _, ends in targets]
        self.made: list[int] = []
        self.asked: list[int] = []
        self.lost: set[int] = set()

    async def reply(self, request: web.Request) -> web.StreamResponse:
        place, _, rest = request.path[1:].partition("/")
        if place == "pictures":
            status = 404 if int(rest) in self.lost else 200
            return web.Response(body=PNG + rest.encode(), status=status)
        self.asked.append(int(place))
        end = self.ends[int(place)].pop(0) if self.ends[int(place)] else "well"
        body = await request.read()
        asked = orjson.loads(body)["n"] if self.kinds[int(place)] == "openai" else 1
        return self._answer(request, self.kinds[int(place)], end, asked)

    def _answer(self, request: web.Request, kind: str, end: str, asked: int) -> web.Response:
        if end == "cut" and request.transport:
            request.transport.abort()
        if end == "failed":
            return json_reply(FAILURES, 500)
        if end == "refused":
            return json_reply(REFUSALS, 403 if kind == "stability-ai" else 400)
        if end in ("well", "lost", "fewer"):
            return self._pictures(kind, end, asked)
        return json_reply({"error": {"message": "no", "type": "t", "code": end}}, 400)

    def _pictures(self, kind: str, end: str, asked: int) -> web.Response:
        numbers = [next(self.numbers) for _ in range(max(asked - (end == "fewer"), 1))]
        if end == "lost" and kind != "stability-ai":
            self.lost.add(numbers[0])
        self.made += [number for number in numbers if number not in self.lost]
        if kind == "stability-ai":
            return web.Response(body=PNG + b"%d" % numbers[0], content_type="image/png")
        places = [f"{self.url}/pictures/{number}" for number in numbers]
        if kind == "replicate":
            return json_reply({"status": "succeeded", "output": places})
        return json_reply({"created": 1, "data": [{"url": place} for place in places]})


@asynccontextmanager
async def gateway_over_providers(
    more: str = "",
) -> AsyncIterator[tuple[Gateway, ScriptedProviders]]:
    """Run the providers, and a gateway with a virtual key for each of them."""
    painters = ScriptedProviders()
    async with provider(painters.reply) as fake:
        painters.url = fake.url
        keys = {
            f"{kind}-{i}": {"provider": kind, "api_key": "k", "custom_host": f"{fake.url}/{i}"}
            for kind in MODELS
            for i in range(4)
        }
        async with gateway(f"virtual_keys: {orjson.dumps(keys).decode()}\n{more}") as ours:
            yield ours, painters


async def generate(
    ours: Gateway, painters: ScriptedProviders, n: int, strategy: Any = None, **params: Any
) -> Answered:
    """Request `n` images from a fallback over all providers."""
    targets = [
        {"virtual_key": f"{kind}-{i}", "override_params": {"model": MODELS[kind]}}
        for i, kind in enumerate(painters.kinds)
    ]
    config = {"strategy": {"mode": "fallback", **(strategy or {})}, "targets": targets}
    asked = {"n": n, "response_format": "b64_json", **params}
    return await ours.draw(params=asked, config=orjson.dumps(config).decode())


def image_numbers(got: Answered) -> list[int]:
    """Return the numbers of the images in a response."""
    pictures = (base64.b64decode(entry["b64_json"]) for entry in got.json["data"])
    return [int(picture.removeprefix(PNG)) for picture in pictures]


def reported_missing(got: Answered) -> int:
    """Return how many missing images the receipt reports."""
    receipt = got.headers.get("x-easel-receipt", "")
    return sum(int(count) for count in re.findall(r"failed images=(\d+)", receipt))


def test_whatever_fails_all_that_is_paid_for_comes_once_and_what_is_missing_is_said() -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        ours, painters = runner.run(
            stack.enter_async_context(gateway_over_providers("limits: {attempts: 8}\n"))
        )

        @settings(max_examples=80, deadline=None)
        @given(TARGETS, st.integers(1, 6), st.booleans(), st.sampled_from([None, [429, 500, 502]]))
        def holds(
            targets: list[tuple[str, list[str]]],
            n: int,
            complete: bool,  # noqa: FBT001 - drawn
            codes: list[int] | None,
        ) -> None:
            painters.begin(targets)
            strategy = {"complete": complete, **({"on_status_codes": codes} if codes else {})}
            got = runner.run(generate(ours, painters, n, strategy))
            if got.status != 200:
                assert painters.made == []
                assert b"Internal error in the gateway" not in got.body
                return
            assert sorted(image_numbers(got)) == sorted(painters.made)
            assert len(got.json["data"]) == n - reported_missing(got)

        holds()
        runner.run(stack.aclose())


@pytest.mark.parametrize("place", range(3))
async def test_a_picture_that_is_lost_takes_no_others_with_it(place: int) -> None:
    async with gateway_over_providers() as (ours, painters):
        painters.begin([("replicate", ["well"] * place + ["lost"])])
        got = await generate(ours, painters, 3)
        assert sorted(image_numbers(got)) == painters.made
        assert "failed images=1>picture_lost" in got.headers["x-easel-receipt"]


async def test_a_picture_that_is_lost_is_made_by_the_next_target() -> None:
    async with gateway_over_providers() as (ours, painters):
        painters.begin([("openai", ["lost"]), ("stability-ai", [])])
        got = await generate(ours, painters, 3, {"complete": True})
        assert (image_numbers(got), painters.asked) == (painters.made, [0, 1])
        assert reported_missing(got) == 0


async def test_fewer_in_the_clients_own_shape_are_made_by_the_next_target_too() -> None:
    async with gateway_over_providers() as (ours, painters):
        painters.begin([("openai", ["fewer"]), ("openai", [])])
        got = await generate(ours, painters, 3, {"complete": True})
        assert (image_numbers(got), painters.asked) == (painters.made, [0, 1])


async def test_a_large_answer_is_counted_where_another_target_is_to_complete_it() -> None:
    picture = base64.b64encode(PNG + bytes(90_000)).decode()

    async def one(request: web.Request) -> web.Response:
        del request
        return json_reply({"created": 1, "data": [{"b64_json": picture}]})

    async with provider(one) as fake:
        target = {"provider": "openai", "api_key": "k", "custom_host": fake.url + "/v1"}
        config = {"strategy": {"mode": "fallback", "complete": True}, "targets": [target, target]}
        async with gateway(f"configs: {orjson.dumps({'pc': config}).decode()}") as ours:
            got = await ours.draw(params={"n": 2}, config="pc")
            assert len(got.json["data"]) == len(fake.requests) == 2


async def test_pictures_that_were_made_are_not_lost_to_a_target_that_streams() -> None:
    async with gateway_over_providers() as (ours, painters):
        painters.begin([("stability-ai", ["failed"]), ("stability-ai", [])])
        targets = [
            {"virtual_key": f"stability-ai-{i}", "override_params": {"stream": bool(i)}}
            for i in range(2)
        ]
        config = {"strategy": {"mode": "fallback", "complete": True}, "targets": targets}
        named = orjson.dumps(config).decode()
        got = await ours.draw(params={"model": "stable-image-core", "n": 2}, config=named)
        assert sorted(image_numbers(got)) == painters.made


async def test_a_refusal_of_one_picture_does_not_open_the_circuit() -> None:
    breaker = {"failure_threshold": 1, "cooldown_interval": 30_000}
    async with gateway_over_providers() as (ours, painters):
        for _ in range(2):
            painters.begin([("stability-ai", ["refused"]), ("stability-ai", [])])
            await generate(ours, painters, 2, {"complete": True, "cb_config": breaker})
            assert painters.asked == [0, 0, 1]


async def test_some_are_none_where_the_settings_say_so() -> None:
    async with gateway_over_providers("images: {incomplete: fail}\n") as (ours, painters):
        for kind, end, code in (
            ("replicate", "lost", "picture_lost"),
            ("openai", "fewer", "incomplete"),
        ):
            painters.begin([(kind, [end])])
            got = await generate(ours, painters, 3)
            assert (got.status, got.error["code"]) == (502, code)


async def test_what_is_not_complete_is_not_kept() -> None:
    async with gateway_over_providers() as (ours, painters):
        config = {"virtual_key": "openai-0", "cache": {"mode": "simple"}}
        asked = {"model": "m", "n": 2, "response_format": "b64_json"}
        for end, pictures, status in (("lost", 1, "MISS"), ("well", 2, "MISS"), ("lost", 2, "HIT")):
            painters.begin([("openai", [end])])
            got = await ours.draw(params=asked, config=orjson.dumps(config).decode())
            assert len(got.json["data"]) == pictures
            assert got.headers["x-portkey-cache-status"] == status


@pytest.mark.parametrize("code", ["a\r\nset-cookie: x", "x, dropped y", "ä", "y" * 5000, "\0"])
async def test_what_a_provider_calls_its_code_loses_no_pictures(code: str) -> None:
    async with gateway_over_providers() as (ours, painters):
        painters.begin([("stability-ai", ["failed"]), ("openai", [code])])
        got = await generate(ours, painters, 2, {"complete": True})
        assert (image_numbers(got), reported_missing(got)) == (painters.made, 1)
        assert "set-cookie" not in got.headers
        assert len(got.headers["x-easel-receipt"]) < 400
