"""Image URLs: headers for browsers, ranges, and forged signatures."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientError
from yarl import URL

from proxy.context import IN_FLIGHT
from proxy.observability.access_log import ACCESS_LOG
from tests.support.blobs import IMAGES, SVG, BlobGateway, blob_gateway
from tests.support.gateway import PNG

IMAGE = PNG + bytes(range(256)) * 40
SIZE = len(IMAGE)


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[BlobGateway]:
    async with blob_gateway(tmp_path) as it:
        yield it


def advance_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Advance the clock."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)


@pytest.mark.parametrize("media_type", IMAGES)
async def test_no_browser_takes_a_picture_for_anything_else(
    ours: BlobGateway, media_type: str
) -> None:
    got = await ours.get(await ours.publish(IMAGES[media_type]))
    shown = "attachment" if media_type == "image/svg+xml" else "inline"
    assert got.headers["content-type"] == media_type
    assert got.headers["content-disposition"] == shown
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert got.headers["cross-origin-resource-policy"] == "cross-origin"


async def test_it_may_be_kept_for_the_rest_of_its_life(
    ours: BlobGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await ours.publish()
    advance_clock(monkeypatch, 600)
    got = await ours.get(url)
    private, age, immutable = got.headers["cache-control"].split(", ")
    assert (private, immutable) == ("private", "immutable")
    assert 2990 <= int(age.removeprefix("max-age=")) <= 3000


@pytest.mark.parametrize("picture", [IMAGE, SVG])
async def test_head_tells_the_same_without_the_bytes(ours: BlobGateway, picture: bytes) -> None:
    url = await ours.publish(picture)
    whole, head = await ours.get(url), await ours.get(url, "HEAD", range="bytes=0-1")
    own = {"date", "x-portkey-trace-id", "cache-control"}
    assert (head.status, head.body) == (200, b"")
    assert {k: v for k, v in head.headers.items() if k.lower() not in own} == {
        k: v for k, v in whole.headers.items() if k.lower() not in own
    }
    assert int(head.headers["content-length"]) == len(picture)


async def test_a_client_that_has_it_is_told_so(ours: BlobGateway) -> None:
    url = await ours.publish()
    etag = (await ours.get(url)).headers["etag"]
    for named in (etag, f'"x", W/{etag}', "*"):
        got = await ours.get(url, if_none_match=named)
        assert (got.status, got.body, got.headers["etag"]) == (304, b"", etag)
    assert (await ours.get(url, if_none_match='"x"')).status == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=9-{SIZE + 1000}", 9, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=1-999999999999999", 1, SIZE),
    ],
)
async def test_a_part_can_be_had(ours: BlobGateway, asked: str, start: int, end: int) -> None:
    got = await ours.get(await ours.publish(IMAGE), range=asked)
    assert (got.status, got.body) == (206, IMAGE[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert int(got.headers["content-length"]) == end - start
    assert got.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,3-4",
        "bytes=-",
        "bytes=5-2",
        "bytes=\u0663-4",
        "bytes=a-b",
        "pixels=0-1",
        "bytes 0-1",
        "bytes=-1-2",
    ],
)
async def test_a_range_that_says_nothing_is_all_of_it(ours: BlobGateway, asked: str) -> None:
    got = await ours.get(await ours.publish(IMAGE), range=asked)
    assert (got.status, got.body) == (200, IMAGE)
    assert "content-range" not in got.headers


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0"])
async def test_a_range_that_is_not_there_is_refused(ours: BlobGateway, asked: str) -> None:
    got = await ours.get(await ours.publish(IMAGE), range=asked)
    assert (got.status, got.error["code"]) == (416, "range_not_satisfiable")
    assert got.headers["content-range"] == f"bytes */{SIZE}"


async def test_a_range_counts_only_for_the_picture_it_was_meant_for(ours: BlobGateway) -> None:
    url = await ours.publish(IMAGE)
    etag = (await ours.get(url)).headers["etag"]
    assert (await ours.get(url, range="bytes=0-3", if_range=etag)).body == IMAGE[:4]
    for other in ('"x"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        got = await ours.get(url, range="bytes=0-3", if_range=other)
        assert (got.status, got.body) == (200, IMAGE)


async def test_all_that_was_not_signed_here_gets_the_same_answer(ours: BlobGateway) -> None:
    url, other = URL(await ours.publish()), URL(await ours.publish())
    forged = [
        url.with_query(None),
        url.with_query(sig=url.query["sig"]),
        url.with_query(expires=url.query["expires"]),
        url.update_query(expires=str(int(url.query["expires"]) + 1)),
        url.update_query(expires="1"),
        url.update_query(sig="0" * 80),
        url.with_path(other.path).with_query(url.query),
        url.with_path(url.path.replace(".png", ".svg")).with_query(url.query),
        url.with_path("/v1/images/blobs/..%2F..%2Fblob-signing-key", encoded=True),
        url.with_path("/v1/images/blobs/x"),
    ]
    answers = [await ours.get(str(it)) for it in forged]
    assert {it.status for it in answers} == {404}
    assert len({it.body for it in answers}) == 1
    unknown = await ours.get(f"{ours.url}/nothing/here")
    assert (unknown.status, unknown.error["code"]) == (404, answers[0].error["code"])


async def test_a_url_ends_when_it_says(ours: BlobGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await ours.publish()
    advance_clock(monkeypatch, 3601)
    got = await ours.get(url)
    assert (got.status, got.error["code"]) == (410, "blob_gone")
    assert got.headers["cache-control"] == "no-store"


async def test_a_blob_that_was_given_up_is_gone(ours: BlobGateway) -> None:
    url = await ours.publish()
    for path in ours.files:
        path.unlink()
    got = await ours.get(url)
    assert (got.status, got.error["code"]) == (410, "blob_gone")


async def test_a_store_that_fails_is_told_and_the_reason_is_not(ours: BlobGateway) -> None:
    url = await ours.publish()
    shutil.rmtree(ours.folder)
    ours.folder.touch()  # noqa: ASYNC240 - nothing else waits
    got = await ours.get(url)
    assert (got.status, got.error["code"]) == (502, "blob_store_failed")
    assert str(ours.folder) not in got.body.decode()


async def test_the_access_line_holds_nothing_of_the_url(ours: BlobGateway) -> None:
    url = URL(await ours.publish())
    await ours.get(str(url))
    ours.app[ACCESS_LOG].flush()
    line = orjson.loads(ours.log.getvalue().splitlines()[-1])
    assert (line["path"], line["status"]) == ("/v1/images/blobs/{name}", 200)
    assert url.query["sig"] not in ours.log.getvalue()


async def huge_image(picture: bytes) -> AsyncIterator[bytes]:
    """Yield an image that is larger than any socket buffer."""
    yield picture
    for _ in range(64):
        yield bytes(1 << 20)


async def test_what_cannot_be_finished_is_cut(ours: BlobGateway) -> None:
    ours.source = huge_image
    url = await ours.publish()
    async with ours.session.get(url) as got:
        for path in ours.files:
            path.unlink()
        with pytest.raises(ClientError):
            await got.read()
    ours.app[ACCESS_LOG].flush()
    assert orjson.loads(ours.log.getvalue().splitlines()[-1])["error"] == "blob_store_failed"


async def test_a_client_that_leaves_is_noted_and_no_failure_of_ours(ours: BlobGateway) -> None:
    ours.source = huge_image
    url = await ours.publish()
    got = await ours.session.get(url)
    got.close()
    async with asyncio.timeout(10):
        while ours.app[IN_FLIGHT]:  # noqa: ASYNC110 - requests come and go: nothing tells
            await asyncio.sleep(0.01)
    ours.app[ACCESS_LOG].flush()
    assert orjson.loads(ours.log.getvalue().splitlines()[-1])["error"] == "client_gone"
