"""A folder and a bucket, of a real S3-compatible server, keep the same promises."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.blobs.retention import RetentionSweeper
from proxy.blobs.store import BlobStore
from proxy.errors import BlobStoreFailed
from proxy.settings.loader import parse
from tests.support.blobs import in_chunks
from tests.support.s3 import ACCESS_KEY, BUCKET, object_store

MB = 1024 * 1024
OWNER = "0123456789abcdef"
PLACE = f"{OWNER}/{1:032x}.png"
SMALL = bytes(range(256)) * 4
LARGE = b"".join(bytes([number]) * MB for number in range(12))


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with object_store(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(params=["folder", "bucket"])
async def blobs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BlobStore]:
    text = f"state_dir: {tmp_path}"
    if request.param == "bucket":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
        url = request.getfixturevalue("endpoint")
        store = f"s3://{BUCKET}/{tmp_path.name.replace('[', '-').strip(']')}"
        text = f"blobs: {{store: '{store}', s3_endpoint: '{url}'}}"
    async with BlobStore(parse(text, environ={})) as ours:
        yield ours


async def read(blobs: BlobStore, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in blobs.get_range(PLACE, start, end)])


@pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
async def test_what_is_put_can_be_read_whole_and_in_part(blobs: BlobStore, image: bytes) -> None:
    size = len(image)
    await blobs.put(PLACE, in_chunks(image, 300_000), "image/png")
    assert await blobs.size(PLACE) == size
    assert await read(blobs, 0, size) == image
    assert await read(blobs, 1, 2) == image[1:2]
    assert await read(blobs, size // 2, size) == image[size // 2 :]


async def test_pieces_are_no_larger_than_they_need_be(blobs: BlobStore) -> None:
    await blobs.put(PLACE, in_chunks(LARGE, MB), "image/png")
    assert [len(it) async for it in blobs.get_range(PLACE, 0, 2 * MB + 1)] == [MB, MB, 1]


async def test_what_is_deleted_is_gone_and_can_be_deleted_again(blobs: BlobStore) -> None:
    await blobs.put(PLACE, in_chunks(SMALL), "image/png")
    for _ in range(2):
        await blobs.delete(PLACE)
        assert await blobs.size(PLACE) is None


OTHER = f"{OWNER}/{2:032x}.png"


async def test_what_is_linked_is_in_both_places_and_each_ends_by_itself(blobs: BlobStore) -> None:
    await blobs.put(PLACE, in_chunks(SMALL), "image/png")
    for _ in range(2):
        await blobs.link(PLACE, OTHER)
    await blobs.delete(PLACE)
    assert await blobs.size(PLACE) is None
    assert b"".join([it async for it in blobs.get_range(OTHER, 0, len(SMALL))]) == SMALL


async def test_what_is_moved_is_in_its_new_place_over_what_was_there(blobs: BlobStore) -> None:
    await blobs.put(OTHER, in_chunks(SMALL), "image/png")
    await blobs.put(PLACE, in_chunks(LARGE), "image/png")
    await blobs.move(PLACE, OTHER)
    assert (await blobs.size(PLACE), await blobs.size(OTHER)) == (None, len(LARGE))


async def test_what_lies_in_a_folder_is_named_some_at_a_time(blobs: BlobStore) -> None:
    names = [f"{number:032x}.png" for number in range(120)]
    assert [it async for it in blobs.list_names(OWNER)] == []
    for name in names:
        await blobs.put(f"{OWNER}/{name}", in_chunks(SMALL), "image/png")
    found = [it async for it in blobs.list_names(OWNER)]
    assert len(found) > 1
    assert sorted(name for some in found for name in some) == names


async def test_what_is_not_there_can_be_neither_linked_nor_moved(blobs: BlobStore) -> None:
    for change in (blobs.link, blobs.move):
        with pytest.raises(BlobStoreFailed):
            await change(PLACE, OTHER)


async def test_a_link_is_as_young_as_a_new_image_and_takes_no_room(tmp_path: Path) -> None:
    async with BlobStore(parse(f"state_dir: {tmp_path}", environ={})) as blobs:
        await blobs.put(PLACE, in_chunks(SMALL), "image/png")
        files = [tmp_path / "blobs" / it for it in (PLACE, OTHER)]
        for _ in range(2):
            os.utime(files[0], (0, 0))
            await blobs.link(PLACE, OTHER)
            assert files[1].stat().st_mtime > 1_000_000_000
        assert files[0].samefile(files[1])
        assert RetentionSweeper(files[0].parent.parent, 3600, 10_000).sweep() == len(SMALL)


async def test_a_folder_of_the_cache_ends_with_its_process(tmp_path: Path) -> None:
    async with BlobStore(parse(f"state_dir: {tmp_path}", environ={})) as blobs:
        place = f"{blobs.cache_folder}/{1:064x}"
        await blobs.put(place, in_chunks(SMALL), "image/png")
        assert (tmp_path / "blobs" / place).exists()
        await asyncio.to_thread(blobs.clear_cache)
        assert not (tmp_path / "blobs" / blobs.cache_folder).exists()


async def test_reading_what_is_not_there_fails(blobs: BlobStore) -> None:
    with pytest.raises(BlobStoreFailed):
        await read(blobs, 0, 10)


async def cut_short(image: bytes) -> AsyncIterator[bytes]:
    async for chunk in in_chunks(image, MB):
        yield chunk
    raise ConnectionResetError("the provider is gone")


@pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
async def test_an_image_that_is_cut_is_never_there(blobs: BlobStore, image: bytes) -> None:
    with pytest.raises(ConnectionResetError, match="the provider is gone"):
        await blobs.put(PLACE, cut_short(image), "image/png")
    assert await blobs.size(PLACE) is None


async def test_a_put_that_is_called_off_leaves_nothing(blobs: BlobStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        async for chunk in in_chunks(LARGE, MB):
            yield chunk
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await blobs.put(PLACE, endless(), "image/png")
    assert await blobs.size(PLACE) is None


async def test_many_at_once_do_not_mix(blobs: BlobStore) -> None:
    names = [f"{OWNER}/{number:032x}.png" for number in range(20)]
    images = {name: bytes([at]) * 50_000 for at, name in enumerate(names)}
    puts = [blobs.put(name, in_chunks(it, 9000), "image/png") for name, it in images.items()]
    await asyncio.gather(*puts)
    for name, image in images.items():
        assert b"".join([it async for it in blobs.get_range(name, 0, 50_000)]) == image


async def test_a_folder_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    text = f"state_dir: {tmp_path}/deep/state"
    async with BlobStore(parse(text, environ={})) as blobs:
        await blobs.put(PLACE, in_chunks(SMALL), "image/png")
    made = [tmp_path / it for it in ("deep", "deep/state", "deep/state/blobs")]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 3
    assert (made[-1] / PLACE).read_bytes() == SMALL


async def test_a_folder_that_cannot_be_used_is_told_without_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    text = f"blobs: {{store: '{tmp_path}/file/blobs'}}"
    async with BlobStore(parse(text, environ={})) as blobs:
        with caplog.at_level(logging.ERROR), pytest.raises(BlobStoreFailed) as caught:
            await blobs.put(PLACE, in_chunks(SMALL), "image/png")
    assert (caught.value.status, caught.value.code) == (502, "blob_store_failed")
    assert str(tmp_path) not in caught.value.message
    assert "could not store an image: NotADirectoryError" in caplog.text


def _bucket(more: str) -> BlobStore:
    return BlobStore(parse(f"blobs: {{store: 's3://{BUCKET}', {more}}}", environ={}))


async def test_a_bucket_that_refuses_us_is_told_and_our_key_is_not(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sekret")
    async with _bucket(f"s3_endpoint: '{endpoint}'") as blobs:
        with caplog.at_level(logging.ERROR), pytest.raises(BlobStoreFailed):
            await blobs.put(PLACE, in_chunks(SMALL), "image/png")
    assert "403" in caplog.text
    assert "sekret" not in caplog.text
    assert ACCESS_KEY not in caplog.text


async def test_nothing_goes_unencrypted_unless_the_settings_say_so(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
    async with _bucket("") as blobs:
        with pytest.raises(BlobStoreFailed):
            await blobs.size(PLACE)


async def test_a_missing_package_is_named_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    async with BlobStore(parse(f"state_dir: {tmp_path}", environ={})) as blobs:
        with caplog.at_level(logging.ERROR), pytest.raises(BlobStoreFailed):
            await blobs.put(PLACE, in_chunks(SMALL), "image/png")
    assert "pip install obstore" in caplog.text


def test_the_library_is_imported_with_the_first_image_only() -> None:
    code = "import proxy.app, proxy.server.run, sys; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own command


def test_a_process_ends_well_right_after_its_last_image(tmp_path: Path) -> None:
    code = (
        "import asyncio\n"
        "from proxy.blobs.store import BlobStore\n"
        "from proxy.settings.loader import parse\n"
        "async def main():\n"
        f"    async with BlobStore(parse('state_dir: {tmp_path}', environ={{}})) as blobs:\n"
        "        async def chunks():\n"
        "            yield b'x' * 1000\n"
        f"        await blobs.put('{PLACE}', chunks(), 'image/png')\n"
        "asyncio.run(main())\n"
    )
    ends = [subprocess.run([sys.executable, "-c", code], check=False) for _ in range(5)]  # noqa: S603 - our own command
    assert [it.returncode for it in ends] == [0] * 5
