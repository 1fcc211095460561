"""The studio over real sockets."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import pytest
from PIL import Image

from proxy.sandbox import SandboxServer
from tests.support.transcripts import Transcript, transcripts_of

Form = dict[str, bool]
every_form = pytest.mark.parametrize("form", [{}, {"stream": True}], ids=["whole", "stream"])


class Caller:
    """Somebody who orders pictures of the studio: 64x48 pixels unless he says otherwise."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.url = f"{base}/images/generations"
        self.session = session

    def sends(self, **params: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.session.post(self.url, json={"prompt": "fox", "size": "64x48", **params})

    async def gets(self, **params: Any) -> tuple[int, bytes]:
        async with self.sends(**params) as response:
            return response.status, await response.read()

    async def gets_error(self, **params: Any) -> tuple[int, Any]:
        status, body = await self.gets(**params)
        return status, orjson.loads(body)["error"]

    async def gets_cut(self, **params: Any) -> tuple[aiohttp.ClientResponse, bytes]:
        """Return the response and the bytes received before the connection broke."""
        body = b""
        async with self.sends(**params) as response:
            try:
                async for chunk in response.content.iter_any():
                    body += chunk
            except aiohttp.ClientPayloadError:
                return response, body
        pytest.fail("the answer came whole")


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    studio = SandboxServer()
    async with aiohttp.ClientSession(headers=studio.headers) as session:
        yield Caller(await studio.start(), session)
    await studio.stop()


def image_of(entry: Any) -> Image.Image:
    image = Image.open(BytesIO(b64decode(entry["b64_json"], validate=True)))
    image.load()
    return image


def events_of(body: bytes) -> list[Any]:
    blocks = body.decode().strip().split("\n\n")
    return [orjson.loads(block.partition("\ndata: ")[2]) for block in blocks]


# Pictures


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
async def test_a_call_gets_a_real_picture_of_the_asked_size(caller: Caller, form: str) -> None:
    status, body = await caller.gets(size="200x100", output_format=form)
    image = image_of(orjson.loads(body)["data"][0])
    assert (status, image.format, image.size) == (200, form.upper(), (200, 100))


async def test_the_same_call_gets_the_same_bytes(caller: Caller) -> None:
    params = {"n": 2, "output_format": "webp", "output_compression": 70}
    assert await caller.gets(**params) == await caller.gets(**params)


async def test_a_transparent_picture_has_real_alpha(caller: Caller) -> None:
    _, body = await caller.gets(background="transparent")
    answer = orjson.loads(body)
    image = image_of(answer["data"][0])
    assert (answer["background"], image.mode) == ("transparent", "RGBA")
    assert image.getchannel("A").getpixel((0, 0)) == 0


async def test_a_bad_order_gets_a_400_that_names_it(caller: Caller) -> None:
    status, error = await caller.gets_error(n=11)
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", "n")


async def test_the_loop_goes_on_while_pictures_are_drawn(caller: Caller) -> None:
    drawing = asyncio.create_task(caller.gets(size="1024x1024", n=4))
    turns = 0
    while not drawing.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20


# Events


async def test_a_stream_is_partial_pictures_and_then_the_finished_one(caller: Caller) -> None:
    async with caller.sends(stream=True, partial_images=2) as response:
        assert response.content_type == "text/event-stream"
        made = events_of(await response.read())
    kinds = [event["type"].partition(".")[2] for event in made]
    assert kinds == ["partial_image", "partial_image", "completed"]
    assert {image_of(event).size for event in made} == {(64, 48)}


async def test_each_of_n_streamed_pictures_is_completed(caller: Caller) -> None:
    _, body = await caller.gets(stream=True, n=3)
    made = events_of(body)
    assert [event["type"] for event in made] == ["image_generation.completed"] * 3
    assert len({event["b64_json"] for event in made}) == 3


async def test_a_streamed_picture_is_the_one_that_is_not_streamed(caller: Caller) -> None:
    _, streamed = await caller.gets(stream=True, partial_images=1)
    _, whole = await caller.gets()
    assert events_of(streamed)[-1]["b64_json"] == orjson.loads(whole)["data"][0]["b64_json"]


async def test_an_event_leaves_as_soon_as_it_is_made(caller: Caller) -> None:
    async with caller.sends(stream=True, partial_images=1, n=10, size="1024x1024") as response:
        begin = time.perf_counter()
        await response.content.readany()
        first = time.perf_counter() - begin
        await response.read()
    assert first < (time.perf_counter() - begin) / 2


# Scripts


async def test_an_answer_waits_as_long_as_it_is_told(caller: Caller) -> None:
    begin = time.perf_counter()
    await caller.gets(latency_ms=200)
    assert time.perf_counter() - begin >= 0.2


@pytest.mark.parametrize(("status", "wait"), [(429, "1"), (503, "1"), (500, None), (401, None)])
@every_form
async def test_a_status_is_answered_as_asked(
    caller: Caller, status: int, wait: str | None, form: Form
) -> None:
    async with caller.sends(status=status, **form) as response:
        assert (response.status, response.headers.get("retry-after")) == (status, wait)
        assert (await response.json())["error"].keys() == {"message", "type", "param", "code"}


@every_form
async def test_a_refusal_is_that_of_a_safety_system(caller: Caller, form: Form) -> None:
    status, error = await caller.gets_error(refuse=True, **form)
    assert (status, error["type"]) == (400, "image_generation_user_error")
    assert error["code"] == "moderation_blocked"


@pytest.mark.parametrize("length", [0, 1, 1000])
async def test_a_body_is_cut_after_so_many_bytes(caller: Caller, length: int) -> None:
    _, whole = await caller.gets()
    response, body = await caller.gets_cut(cut_after=length)
    assert response.content_length == len(whole)
    assert body == whole[:length]


@pytest.mark.parametrize("length", [0, 100, 3000])
async def test_a_stream_is_cut_in_mid_event(caller: Caller, length: int) -> None:
    _, whole = await caller.gets(stream=True, partial_images=1)
    _, body = await caller.gets_cut(stream=True, partial_images=1, cut_after=length)
    assert body == whole[:length]


@every_form
async def test_a_cut_beyond_the_end_cuts_nothing(caller: Caller, form: Form) -> None:
    assert await caller.gets(**form, cut_after=10**9) == await caller.gets(**form)


@pytest.mark.parametrize("params", [{"latency_ms": 100}, {"stream": True, "n": 10}], ids=str)
async def test_a_caller_who_leaves_does_no_harm(
    caller: Caller, params: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.gets(size="1024x1024", **params), 0.05)
    await asyncio.sleep(0.3)
    assert (await caller.gets())[0] == 200
    assert not caplog.records


# Opening and closing


async def test_it_opens_once_however_many_ask() -> None:
    studio = SandboxServer()
    bases = await asyncio.gather(*(studio.start() for _ in range(5)))
    assert len(set(bases)) == 1
    assert bases[0].startswith("http://127.0.0.1:")
    await studio.stop()


async def test_it_can_close_before_it_opened_and_open_again() -> None:
    studio = SandboxServer()
    await studio.stop()
    await studio.start()
    await studio.stop()
    async with aiohttp.ClientSession(headers=studio.headers) as session:
        status, _ = await Caller(await studio.start(), session).gets()
    assert status == 200
    await studio.stop()


async def test_closing_does_not_wait_for_those_who_wait() -> None:
    studio = SandboxServer()
    async with aiohttp.ClientSession(headers=studio.headers) as session:
        waiting = asyncio.create_task(Caller(await studio.start(), session).gets(latency_ms=60_000))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await studio.stop()
        with pytest.raises(aiohttp.ClientError):
            await waiting


# The transcripts


def without_pixels(body: bytes) -> list[Any]:
    """Parse an answer or its events, the pictures left out: another Pillow packs them otherwise."""
    trees = events_of(body) if body.startswith(b"event: ") else [orjson.loads(body)]
    for tree in trees:
        for entry in (tree, *tree.get("data", [])):
            entry.pop("b64_json", None)
    return trees


@pytest.mark.parametrize("transcript", transcripts_of("sandbox"), ids=lambda it: str(it.place))
async def test_the_transcripts_tell_what_the_studio_does(
    caller: Caller, transcript: Transcript
) -> None:
    reply = transcript.exchanges[0].reply
    async with caller.session.post(caller.url, json=transcript.call) as response:
        assert response.status == reply.status
        assert without_pixels(await response.read()) == without_pixels(reply.body)
