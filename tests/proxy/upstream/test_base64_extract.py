"""Extraction of base64 images: nothing is lost, however the reply is split into chunks."""

from __future__ import annotations

import base64
import errno
import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.contract import Answer, Image
from proxy.upstream import base64_extract
from proxy.upstream.base64_extract import MIN_LENGTH, Base64Extractor, restore_images
from proxy.upstream.temp_file import FileImage, TempFiles
from tests.support.gateway import (
    PNG,
    Gateway,
    Provider,
    Reply,
    always,
    gateway,
    json_reply,
    provider,
)

LARGE = PNG + random.Random(7).randbytes(700_000)  # noqa: S311 - no secret
TEXT = base64.b64encode(LARGE).decode()


async def extract(body: bytes, step: int, folder: Path) -> Base64Extractor:
    """Feed a body to an extractor in chunks of `step` bytes."""
    extractor = Base64Extractor(TempFiles(folder))
    for at in range(0, len(body), step):
        await extractor.feed(body[at : at + step])
    return extractor


def restore_body(extractor: Base64Extractor) -> bytes:
    """Return the skeleton with all texts restored."""
    body = bytes(extractor.skeleton)
    for name, file in extractor.files.items():
        body = body.replace(name.encode(), base64.b64encode(file.read_all()))
    return body


short = st.text(max_size=40) | st.sampled_from(
    ['"', "\\", '\\"', "a" * 70, "data:image/png;base64,"]
)
base64_of = st.integers(0, 400).map(
    lambda size: base64.b64encode(bytes(range(200)) * size).decode()
)
near = base64_of.flatmap(
    lambda text: st.sampled_from(
        [f"data:image/png;base64,{text}", text + "=", text + "\n", f"é{text}"]
    )
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | short | base64_of | near,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(short, inner, max_size=4),
    max_leaves=8,
)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    tree=trees,
    step=st.sampled_from([1, 7, 100, 4096, 1 << 20]),
    indent=st.sampled_from([0, orjson.OPT_INDENT_2]),
)
async def test_skeleton_and_files_together_are_the_reply(
    tree: object, step: int, indent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base64_extract, "MIN_LENGTH", 64)
    monkeypatch.setattr(base64_extract, "_DECODE_SIZE", 256)
    body = orjson.dumps(tree, option=indent)
    extractor = await extract(body, step, tmp_path)
    assert restore_body(extractor) == body


@pytest.mark.parametrize("step", [1000, 65_536, 262_144])
async def test_no_long_image_stays_in_memory(step: int, tmp_path: Path) -> None:
    entries = [{"b64_json": TEXT, "seed": 1}, {"image": f"data:image/png;base64,{TEXT}"}]
    extractor = await extract(orjson.dumps({"data": entries}), step, tmp_path)
    assert [file.read_all() for file in extractor.files.values()] == [LARGE, LARGE]
    assert len(extractor.skeleton) < 200
    first, second = orjson.loads(bytes(extractor.skeleton))["data"]
    assert [first["b64_json"], second["image"].partition(",")[2]] == [*extractor.files]


@pytest.mark.parametrize("size", [700_000, 700_001, 700_002])
async def test_padding_is_not_part_of_the_image(size: int, tmp_path: Path) -> None:
    data = LARGE[:size]
    extractor = await extract(orjson.dumps([base64.b64encode(data).decode()]), 65_536, tmp_path)
    assert [file.read_all() for file in extractor.files.values()] == [data]


@pytest.mark.parametrize(
    "text",
    [
        *(base64.encodebytes(LARGE).decode(), "word " * 100_000, TEXT[:-400] + '"' + TEXT[-400:]),
        *(
            TEXT.replace("+", "-"),
            TEXT[:400_000] + "====" + TEXT[400_000:],
            TEXT + "é",
            "=" * MIN_LENGTH * 2,
            TEXT[:-4] + "AB==",
        ),
    ],
    ids=[
        "lines",
        "words",
        "quote",
        "for URLs",
        "padding inside",
        "accent",
        "nothing but padding",
        "bits past the end",
    ],
)
async def test_a_string_that_is_not_plain_base64_stays(text: str, tmp_path: Path) -> None:
    body = orjson.dumps({"a": text, "b": TEXT})
    for step in (60_000, 1 << 20):
        extractor = await extract(body, step, tmp_path)
        assert restore_body(extractor) == body
        assert orjson.loads(restore_body(extractor)) == {"a": text, "b": TEXT}


async def test_a_string_that_is_used_outside_of_images_is_restored(tmp_path: Path) -> None:
    extractor = await extract(orjson.dumps({"a": TEXT, "b": TEXT}), 65_536, tmp_path)
    picture, other = extractor.files
    extra = {"mask": other, "seed": 7}
    answer = Answer((Image(b64=picture, extra=extra),), usage={"is": other}, extra={"in": [other]})
    got = await restore_images(answer, extractor.files)
    (image,) = got.images
    assert isinstance(image, FileImage)
    assert (image.file.read_all(), image.inline_size) == (LARGE, len(LARGE))
    assert (image.extra, got.usage, got.extra) == (
        *({"mask": TEXT, "seed": 7}, {"is": TEXT}),
        {"in": [TEXT]},
    )


async def test_a_full_disk_keeps_images_in_memory_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrote, room = os.pwrite, [300_000]

    def full(file: int, data: bytes, at: int) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return wrote(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    spools = TempFiles(tmp_path)
    body = orjson.dumps({"a": TEXT, "b": TEXT})
    for _ in range(2):
        extractor = Base64Extractor(spools)
        for at in range(0, len(body), 65_536):
            await extractor.feed(body[at : at + 65_536])
        assert (bytes(extractor.skeleton), extractor.files) == (body, {})
    assert [it.getMessage() for it in caplog.records] == [
        "cannot write a temporary file: No space left on device; keeping base64 images in memory"
    ]


@asynccontextmanager
async def gateway_to_gemini(text: str) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider that returns an image in Gemini's format, and a gateway to it."""
    async with provider(inline(text)) as fake:
        key = f"{{provider: google, api_key: k, custom_host: {fake.url}/v1beta}}"
        async with gateway(f"virtual_keys: {{up: {key}}}\n") as ours:
            yield ours, fake


def inline(text: str) -> Reply:
    """Reply in Gemini's format."""
    part = {"inlineData": {"mimeType": "image/png", "data": text}}
    return always({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]})


@pytest.mark.parametrize("text", [TEXT, base64.encodebytes(LARGE).decode()], ids=["plain", "lines"])
async def test_an_image_reaches_the_client_as_base64_and_as_url(text: str) -> None:
    async with gateway_to_gemini(text) as (ours, _):
        params = {"model": "gemini-2.5-flash-image"}
        got = await ours.draw(params=params, virtual_key="up")
        assert (got.status, got.json["data"]) == (200, [{"b64_json": TEXT}])
        assert f"measured 1=1x1;png;{len(LARGE)}" in got.headers["x-easel-receipt"]
        got = await ours.draw(params={**params, "response_format": "url"}, virtual_key="up")
        place = got.json["data"][0]["url"].removeprefix(ours.url)
        assert (await ours.ask(method="GET", path=place)).body == LARGE


async def test_the_cache_stores_an_image_from_a_temporary_file() -> None:
    async with gateway_to_gemini(TEXT) as (ours, fake):
        params, config = {"model": "gemini-2.5-flash-image"}, '{"cache":{"mode":"simple"}}'
        got = [await ours.draw(params=params, virtual_key="up", config=config) for _ in range(3)]
        assert [it.headers["x-portkey-cache-status"] for it in got][1:] == ["HIT", "HIT"]
        assert [it.json["data"] for it in got] == [[{"b64_json": TEXT}]] * 3
        assert len(fake.requests) == 1


def count_files(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows with each temporary file that is opened."""
    opened: list[object] = []
    make = tempfile.TemporaryFile

    def counted(**options: Any) -> object:
        opened.append(options)
        return make(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", counted)
    return opened


async def test_all_texts_of_a_reply_share_one_file_and_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = count_files(monkeypatch)
    texts = [base64.b64encode(LARGE[: 60_000 + it]).decode() for it in range(60)]
    body = orjson.dumps({"a": texts, "b": "word " * 50_000, "c": TEXT[:200_000] + "!"})
    extractor = Base64Extractor(TempFiles(tmp_path), max_texts=5)
    for at in range(0, len(body), 50_000):
        await extractor.feed(body[at : at + 50_000])
    assert (len(opened), len(extractor.files)) == (1, 5)
    assert restore_body(extractor) == body


async def test_a_text_that_is_put_back_frees_its_part_of_the_file(tmp_path: Path) -> None:
    files = TempFiles(tmp_path)
    shared = files.new()
    body = orjson.dumps([TEXT[:400_000] + "!", TEXT])
    extractor = Base64Extractor(files, shared=shared)
    for at in range(0, len(body), 50_000):
        await extractor.feed(body[at : at + 50_000])
    assert shared.size == len(LARGE)
    assert restore_body(extractor) == body


async def test_all_replies_of_a_conversation_share_one_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = count_files(monkeypatch)
    polls = 0

    async def reply(request: web.Request) -> web.StreamResponse:
        nonlocal polls
        polls += 1
        status = "succeeded" if polls > 5 else "processing"
        image = f"data:image/png;base64,{TEXT}"
        urls = {"get": f"http://{request.host}/poll"}
        return json_reply({"id": "7", "status": status, "output": [image] * 20, "urls": urls})

    async with provider(reply) as fake:
        key = f"{{provider: replicate, api_key: test-key-0123456789, custom_host: {fake.url}}}"
        async with gateway(f"virtual_keys: {{up: {key}}}\n") as ours:
            params = {"model": "a/b", "response_format": "b64_json"}
            got = await ours.draw(params=params, virtual_key="up")
            assert (got.status, got.json["data"][0]["b64_json"]) == (200, TEXT)
    assert (polls, len(opened)) == (6, 1)
