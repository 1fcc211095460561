"""What the official SDKs do by themselves when something breaks, and what that costs: once.

Their own retries, unmodified and as often as they come, with all four clients side by side.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import orjson
import pytest
from aiohttp import web
from portkey_ai._vendor import openai as openai_in_portkey

from tests.support.flaky_proxy import CutAt, FlakyProxy, flaky_proxy
from tests.support.gateway import Gateway, gateway_to
from tests.support.sdk_clients import OPENAI, PORTKEY, UP, draw, event, events, opened

SDKS = (*OPENAI, *PORTKEY)
PICTURE = "A" * 900_000
HALF = 200_000
FAILURES = (openai.OpenAIError, openai_in_portkey.OpenAIError, httpx.HTTPError)
STILL_WORKING = "jobs: {wait_seconds: 0.2}"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own HTTP proxy out of the way to 127.0.0.1."""
    monkeypatch.setenv("NO_PROXY", "*")


class Studio:
    """A provider that begins each picture at once and finishes it when its gate is opened.

    What a prompt is: the name of the SDK that asks. `cuts`: it breaks off where it would wait.
    """

    def __init__(self, *, begins: bool = False, cuts: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.called: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.gate: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._begins = begins
        self._cuts = cuts

    async def reply(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        name = asked["prompt"]
        self.calls[name] += 1
        self.called[name].set()
        kind, body = "application/json", orjson.dumps({"data": [{"b64_json": PICTURE}]})
        if asked.get("stream"):
            kind, body = "text/event-stream", event("completed", PICTURE)
        response = web.StreamResponse(headers={"content-type": kind})
        if self._begins:
            await response.prepare(request)
            await response.write(body[: HALF * 2])
        if self._cuts:
            assert request.transport
            request.transport.abort()
            return response
        await self.gate[name].wait()
        await response.prepare(request)
        await response.write(body[HALF * 2 :] if self._begins else body)
        return response


Story = Callable[[type], Awaitable[Any]]


async def told_by_each(story: Story, sdks: tuple[type, ...] = SDKS) -> dict[str, Any]:
    """Have the story told by each SDK, side by side; gives what each came to, by its name."""
    told = await asyncio.gather(*map(story, sdks))
    return {sdk.__name__: it for sdk, it in zip(sdks, told, strict=True)}


def once(*sdks: type) -> dict[str, int]:
    """One paid call for each SDK."""
    return {sdk.__name__: 1 for sdk in sdks or SDKS}


@asynccontextmanager
async def way(ours: Gateway, sdk: type, when: CutAt) -> AsyncIterator[tuple[Any, FlakyProxy]]:
    """Open a client whose first connection to the gateway is cut."""
    naming = {"virtual_key": "up"} if sdk in PORTKEY else UP
    async with (
        flaky_proxy(ours.url, when) as wire,
        opened(sdk, f"{wire.url}/v1", **naming) as client,
    ):
        yield client, wire


async def collected(studio: Studio, ours: Gateway, sdk: type, when: CutAt, **params: Any) -> bool:
    """Ask once; the picture is finished only once the SDK has come back for it by itself."""
    name = sdk.__name__

    async def finish_once_it_is_back(wire: FlakyProxy) -> None:
        await wire.reconnected.wait()
        await asyncio.sleep(0.05)
        studio.gate[name].set()

    async with way(ours, sdk, when) as (client, wire):
        finishing = asyncio.ensure_future(finish_once_it_is_back(wire))
        try:
            got = await draw(client, prompt=name, size="auto", **params)
        finally:
            finishing.cancel()
    return bool(got.data[0].b64_json == PICTURE)


async def test_a_connection_that_is_cut_while_waiting_costs_nothing() -> None:
    studio = Studio()
    async with gateway_to(studio.reply) as (ours, _):
        told = await told_by_each(
            lambda sdk: collected(studio, ours, sdk, studio.called[sdk.__name__])
        )
    assert all(told.values())
    assert studio.calls == once()


@pytest.mark.parametrize("after", [0, HALF])
async def test_an_answer_that_is_cut_under_way_costs_nothing(after: int) -> None:
    studio = Studio(begins=True)
    async with gateway_to(studio.reply) as (ours, _):
        told = await told_by_each(lambda sdk: collected(studio, ours, sdk, after))
    assert all(told.values())
    assert studio.calls == once()


async def test_a_client_whose_own_time_runs_out_comes_back_for_its_picture() -> None:
    studio = Studio()
    async with gateway_to(studio.reply) as (ours, _):
        told = await told_by_each(lambda sdk: collected(studio, ours, sdk, None, timeout=1))
    assert all(told.values())
    assert studio.calls == once()


async def test_openais_sdk_comes_back_when_the_gateway_tells_it_to() -> None:
    studio = Studio()
    async with gateway_to(studio.reply, STILL_WORKING) as (ours, _):

        async def story(sdk: type) -> bool:
            name = sdk.__name__
            async with way(ours, sdk, None) as (client, _):
                asking = asyncio.ensure_future(draw(client, prompt=name, size="auto"))
                await studio.called[name].wait()
                await asyncio.sleep(0.4)
                studio.gate[name].set()
                return bool((await asking).data[0].b64_json == PICTURE)

        told = await told_by_each(story, OPENAI)
    assert all(told.values())
    assert studio.calls == once(*OPENAI)


async def test_portkeys_sdk_raises_what_the_gateway_tells_and_a_key_collects() -> None:
    studio = Studio()
    async with gateway_to(studio.reply, STILL_WORKING) as (ours, _):

        async def story(sdk: type) -> tuple[str, bool]:
            name = sdk.__name__
            params = {"prompt": name, "extra_headers": {"idempotency-key": name}}
            async with way(ours, sdk, None) as (client, _):
                failure = await _failure(draw(client, **params))
                studio.gate[name].set()
                got = await draw(client, **params)
                return failure, bool(got.data[0].b64_json == PICTURE)

        told = await told_by_each(story, PORTKEY)
    assert set(told.values()) == {("still_working", True)}
    assert studio.calls == once(*PORTKEY)


async def test_events_that_are_cut_are_collected_with_a_key() -> None:
    studio = Studio(begins=True)
    async with gateway_to(studio.reply) as (ours, _):

        async def story(sdk: type) -> bool:
            name = sdk.__name__
            params = {"prompt": name, "extra_headers": {"idempotency-key": name}}
            async with way(ours, sdk, HALF) as (client, _):
                assert await _failure(events(client, **params))
                studio.gate[name].set()
                (last,) = await events(client, **params)
                return bool(last.b64_json == PICTURE)

        told = await told_by_each(story)
    assert all(told.values())
    assert studio.calls == once()


@pytest.mark.parametrize("begins", [False, True])
async def test_a_provider_that_cuts_is_not_paid_again_by_an_sdk(*, begins: bool) -> None:
    studio = Studio(begins=begins, cuts=True)
    async with gateway_to(studio.reply) as (ours, _):

        async def story(sdk: type) -> str:
            async with way(ours, sdk, None) as (client, _):
                return await _failure(draw(client, prompt=sdk.__name__))

        told = await told_by_each(story)
    assert set(told.values()) == {"connection_lost"}
    assert studio.calls == once()


async def _failure(asking: Awaitable[Any]) -> str:
    """Give the code of the failure that an SDK raises, or the exception's name; "": none."""
    try:
        await asking
    except FAILURES as error:
        return getattr(error, "code", None) or type(error).__name__
    return ""
