"""An image is stored, and its URL leads to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from proxy.errors import UpstreamFailed
from tests.support.blobs import IMAGES, JPEG, blob_gateway
from tests.support.gateway import OTHER_KEY, PNG


@pytest.mark.parametrize(("media_type", "image"), IMAGES.items())
async def test_an_image_comes_back_as_it_was(tmp_path: Path, media_type: str, image: bytes) -> None:
    async with blob_gateway(tmp_path) as ours:
        got = await ours.get(await ours.publish(image, "image/png"))
        assert (got.status, got.body) == (200, image)
        assert got.headers["content-type"] == media_type


async def test_a_url_holds_no_name_and_no_key(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path) as ours:
        url = URL(await ours.publish())
        assert url.parent.path == "/v1/images/blobs"
        assert url.query.keys() == {"expires", "sig"}
        assert not {"test", "easel"} & set(str(url).split("/"))
        other = URL(await ours.publish(x_portkey_api_key=OTHER_KEY))
        assert url.query["sig"][:16] != other.query["sig"][:16]
        assert len({path.parent for path in ours.files}) == 2


async def test_it_lives_as_long_as_the_settings_say(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path, "blobs: {lifetime_seconds: 60}") as ours:
        expires = int(URL(await ours.publish()).query["expires"])
        assert 55 <= expires - time.time() <= 60


async def test_a_url_begins_where_the_client_asked(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path, "server: {allowed_hosts: [easel.test]}") as ours:
        assert (await ours.publish()).startswith(f"{ours.url}/v1/images/blobs/")
        assert (await ours.publish(host="easel.test:80")).startswith("http://easel.test:80/v1/")


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_url_begins_as_the_operator_says(tmp_path: Path, end: str) -> None:
    more = f"server: {{public_url: 'https://images.example/easel{end}'}}"
    async with blob_gateway(tmp_path, more) as ours:
        assert (await ours.publish()).startswith("https://images.example/easel/v1/images/blobs/")


async def test_a_url_survives_a_restart(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path) as ours:
        url = URL(await ours.publish())
    async with blob_gateway(tmp_path) as ours:
        assert (await ours.get(ours.url + url.path_qs)).body == PNG


async def test_nodes_with_one_signing_key_and_store_serve_each_others(tmp_path: Path) -> None:
    more = f"blobs: {{signing_key: '${{KEY}}', store: {tmp_path / 'shared'}}}"
    key = "one signing key for all of the nodes"
    async with (
        blob_gateway(tmp_path / "a", more, KEY=key) as one,
        blob_gateway(tmp_path / "b", more, KEY=key) as other,
    ):
        url = URL(await one.publish(JPEG))
        assert (await other.get(other.url + url.path_qs)).body == JPEG
    assert not (tmp_path / "a" / "state").exists()


@pytest.mark.parametrize("image", [b"", b"<html>", b"%PDF-1.7", b"{}"])
async def test_what_is_no_image_is_not_kept(tmp_path: Path, image: bytes) -> None:
    async with blob_gateway(tmp_path) as ours:
        got = await ours.post(image, "image/png")
        assert (got.status, got.error["code"]) == (502, "blob_store_failed")
        assert not ours.files


async def test_a_provider_that_breaks_off_is_told_as_such(tmp_path: Path) -> None:
    async def cut(image: bytes) -> AsyncIterator[bytes]:
        yield image
        raise UpstreamFailed("The connection is lost.", code="connection_lost")

    async with blob_gateway(tmp_path) as ours:
        ours.source = cut
        got = await ours.post(PNG)
        assert (got.status, got.error["code"]) == (502, "connection_lost")
        assert not ours.files


async def test_the_oldest_are_evicted_when_there_is_no_room(tmp_path: Path) -> None:
    image = PNG + bytes(300_000)
    async with blob_gateway(tmp_path, "blobs: {disk_bytes: 1048576}") as ours:
        urls = [await ours.publish(image) for _ in range(8)]
        async with asyncio.timeout(10):
            while (await ours.get(urls[0])).status != 410:  # noqa: ASYNC110 - a sweep tells nobody
                await asyncio.sleep(0.01)
        assert (await ours.get(urls[-1])).body == image
