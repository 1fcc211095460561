"""Long base64 taken out of replies: what is left means the same, however the reply arrives."""

from __future__ import annotations

import base64
import errno
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.contract import Answer, Image
from proxy.upstream import base64_extract
from proxy.upstream.base64_extract import MIN_LENGTH, Base64Extractor, restore_images
from proxy.upstream.temp_file import FileImage, TempFiles
from tests.support.gateway import PNG, Gateway, Provider, Reply, always, gateway, provider

LARGE = PNG + random.Random(7).randbytes(700_000)  # noqa: S311 - no secret
TEXT = base64.b64encode(LARGE).decode()


async def left_of(body: bytes, step: int, folder: Path) -> Base64Extractor:
    """Read a body that arrives in pieces."""
    sieve = Base64Extractor(TempFiles(folder))
    for at in range(0, len(body), step):
        await sieve.feed(body[at : at + step])
    return sieve


def in_full(sieve: Base64Extractor) -> bytes:
    """Put everything back."""
    body = bytes(sieve.skeleton)
    for name, spool in sieve.files.items():
        body = body.replace(name.encode(), base64.b64encode(spool.read_all()))
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
async def test_what_is_left_is_the_reply_whatever_it_is(
    tree: object, step: int, indent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base64_extract, "MIN_LENGTH", 64)
    monkeypatch.setattr(base64_extract, "_DECODE_SIZE", 256)
    body = orjson.dumps(tree, option=indent)
    sieve = await left_of(body, step, tmp_path)
    assert in_full(sieve) == body


@pytest.mark.parametrize("step", [1000, 65_536, 262_144])
async def test_no_long_picture_stays_in_memory(step: int, tmp_path: Path) -> None:
    entries = [{"b64_json": TEXT, "seed": 1}, {"image": f"data:image/png;base64,{TEXT}"}]
    sieve = await left_of(orjson.dumps({"data": entries}), step, tmp_path)
    assert [spool.read_all() for spool in sieve.files.values()] == [LARGE, LARGE]
    assert len(sieve.skeleton) < 200
    first, second = orjson.loads(bytes(sieve.skeleton))["data"]
    assert [first["b64_json"], second["image"].partition(",")[2]] == [*sieve.files]


@pytest.mark.parametrize("size", [700_000, 700_001, 700_002])
async def test_padding_is_no_part_of_the_picture(size: int, tmp_path: Path) -> None:
    data = LARGE[:size]
    sieve = await left_of(orjson.dumps([base64.b64encode(data).decode()]), 65_536, tmp_path)
    assert [spool.read_all() for spool in sieve.files.values()] == [data]


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
async def test_what_is_not_plain_base64_stays(text: str, tmp_path: Path) -> None:
    body = orjson.dumps({"a": text, "b": TEXT})
    for step in (60_000, 1 << 20):
        sieve = await left_of(body, step, tmp_path)
        assert in_full(sieve) == body
        assert orjson.loads(in_full(sieve)) == {"a": text, "b": TEXT}


async def test_what_an_adapter_passes_on_beside_pictures_is_put_back(tmp_path: Path) -> None:
    sieve = await left_of(orjson.dumps({"a": TEXT, "b": TEXT}), 65_536, tmp_path)
    picture, other = sieve.files
    extra = {"mask": other, "seed": 7}
    answer = Answer((Image(b64=picture, extra=extra),), usage={"is": other}, extra={"in": [other]})
    got = await restore_images(answer, sieve.files)
    (image,) = got.images
    assert isinstance(image, FileImage)
    assert (image.file.read_all(), image.held) == (LARGE, len(LARGE))
    assert (image.extra, got.usage, got.extra) == (
        *({"mask": TEXT, "seed": 7}, {"is": TEXT}),
        {"in": [TEXT]},
    )


async def test_a_full_disk_keeps_pictures_in_memory_and_is_told_once(
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
        sieve = Base64Extractor(spools)
        for at in range(0, len(body), 65_536):
            await sieve.feed(body[at : at + 65_536])
        assert (bytes(sieve.skeleton), sieve.files) == (body, {})
    assert [it.getMessage() for it in caplog.records] == [
        "pictures that arrive as base64 are held in memory: No space left on device"
    ]


@asynccontextmanager
async def gateway_to_gemini(text: str) -> AsyncIterator[tuple[Gateway, Provider]]:
    """Run a provider that answers with a picture as Gemini does, and a gateway to it."""
    async with provider(inline(text)) as fake:
        key = f"{{provider: google, api_key: k, custom_host: {fake.url}/v1beta}}"
        async with gateway(f"virtual_keys: {{up: {key}}}\n") as ours:
            yield ours, fake


def inline(text: str) -> Reply:
    """Answer as Gemini does."""
    part = {"inlineData": {"mimeType": "image/png", "data": text}}
    return always({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]})


@pytest.mark.parametrize("text", [TEXT, base64.encodebytes(LARGE).decode()], ids=["plain", "lines"])
async def test_a_providers_picture_reaches_the_client_in_either_form(text: str) -> None:
    async with gateway_to_gemini(text) as (ours, _):
        params = {"model": "gemini-2.5-flash-image"}
        got = await ours.draw(params=params, virtual_key="up")
        assert (got.status, got.json["data"]) == (200, [{"b64_json": TEXT}])
        assert f"measured 1=1x1;png;{len(LARGE)}" in got.headers["x-easel-receipt"]
        got = await ours.draw(params={**params, "response_format": "url"}, virtual_key="up")
        place = got.json["data"][0]["url"].removeprefix(ours.url)
        assert (await ours.ask(method="GET", path=place)).body == LARGE


async def test_the_cache_keeps_what_came_over_a_spool() -> None:
    async with gateway_to_gemini(TEXT) as (ours, fake):
        params, config = {"model": "gemini-2.5-flash-image"}, '{"cache":{"mode":"simple"}}'
        got = [await ours.draw(params=params, virtual_key="up", config=config) for _ in range(3)]
        assert [it.headers["x-portkey-cache-status"] for it in got][1:] == ["HIT", "HIT"]
        assert [it.json["data"] for it in got] == [[{"b64_json": TEXT}]] * 3
        assert len(fake.requests) == 1
