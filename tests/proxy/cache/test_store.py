"""The response cache: entries and images stay consistent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cache import store
from proxy.cache.entry import CacheEntry
from proxy.cache.index import LocalIndex, OrphanedImages
from proxy.errors import BlobStoreFailed, CacheUnavailable
from proxy.settings.schema import Cache
from tests.support.cache_store import MB, CacheFixture, running_cache
from tests.support.gateway import PNG
from tests.support.s3 import ACCESS_KEY, BUCKET, object_store

ONE, TWO, THREE = PNG + b"1", PNG + b"2", PNG + b"3"


async def is_there(ours: CacheFixture, key: bytes) -> bool:
    async with ours.cache.pinned_entry(key) as entry:
        return entry is not None


async def test_a_stored_entry_is_found(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        kept = await ours.store(b"k", ONE, TWO)
        async with ours.cache.pinned_entry(b"k") as entry:
            assert entry == kept
        assert not await is_there(ours, b"other")


async def test_an_image_of_two_entries_is_stored_once(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.store(b"a", ONE, ONE)
        await ours.store(b"b", ONE)
        assert len(ours.names) == 1
        await ours.cache.remove(b"a")
        assert await is_there(ours, b"b")
        await ours.cache.remove(b"b")
        assert ours.names == set()


async def test_an_entry_with_a_missing_image_is_removed(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.store(b"k", ONE, TWO)
        next(path for path in ours.folder.rglob("*") if path.is_file()).unlink()
        assert not await is_there(ours, b"k")
        assert ours.names == set()


async def test_a_response_that_is_being_read_is_never_cut(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.store(b"k", ONE)
        async with ours.cache.pinned_entry(b"k") as entry:
            assert entry
            await ours.cache.remove(b"k")
            image = ours.cache.images.cached_image(entry.images[0])
            assert b"".join([piece async for piece in image.read()]) == ONE
        assert ours.names == set()


async def test_images_removed_during_a_failed_read_are_deleted(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.store(b"k", ONE)

        async def read() -> None:
            async with ours.cache.pinned_entry(b"k"):
                await ours.cache.remove(b"k")
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await read()
        assert ours.names == set()


async def test_a_pool_is_not_replaced_by_a_smaller_one(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        kept = await ours.store(b"k", ONE, TWO)
        small = replace(kept, images=kept.images[:1])
        await ours.cache.put(b"k", small, [await ours.upload(THREE)], overwrite=False)
        async with ours.cache.pinned_entry(b"k") as entry:
            assert entry == kept
        assert len(ours.names) == 2
        await ours.cache.put(b"k", small, [])
        assert len(ours.names) == 1


async def test_the_cache_works_in_an_s3_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
    with object_store(tmp_path / "s3") as endpoint:
        s3_settings = f"blobs: {{store: 's3://{BUCKET}/easel', s3_endpoint: '{endpoint}'}}"
        async with running_cache(tmp_path, store=s3_settings) as ours:
            await ours.store(b"a", ONE, TWO)
            await ours.store(b"b", ONE)
            await ours.cache.remove(b"a")
            assert await is_there(ours, b"b")
            async with ours.cache.pinned_entry(b"b") as entry:
                assert entry
                image = ours.cache.images.cached_image(entry.images[0])
                assert b"".join([piece async for piece in image.read()]) == ONE


async def test_a_look_up_does_not_wait_longer_than_its_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PENDING_TIMEOUT_SECONDS", 0.01)
    async with running_cache(tmp_path) as ours:
        kept = False

        gate = asyncio.Event()

        async def keep() -> None:
            nonlocal kept
            await gate.wait()
            kept = True

        ours.cache.store_in_background(b"k", keep(), 1)
        assert not await is_there(ours, b"k")
        assert await ours.cache.purge("a", None) == 0
        gate.set()
        await asyncio.sleep(0.05)  # What was not cancelled would go on by now.
        assert not kept


async def test_the_disk_limit_is_never_exceeded(tmp_path: Path) -> None:
    async with running_cache(tmp_path, Cache(disk_bytes=MB)) as ours:
        for number in range(20):
            await ours.store(b"%d" % number, PNG + number.to_bytes(1) + bytes(200_000))
            held = sum(it.stat().st_size for it in ours.folder.rglob("*") if it.is_file())
            assert held <= MB
        assert await is_there(ours, b"19")


async def test_a_look_up_waits_for_a_pending_entry(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        gate = asyncio.Event()

        async def keep() -> None:
            await gate.wait()
            await ours.store(b"k", ONE)

        assert ours.cache.store_in_background(b"k", keep(), 100)
        looking = asyncio.create_task(is_there(ours, b"k"))
        await asyncio.sleep(0.01)
        gate.set()
        assert await looking


async def test_responses_beyond_the_pending_budget_are_not_cached(tmp_path: Path) -> None:
    async with running_cache(tmp_path, Cache(answer_bytes=MB)) as ours:
        gate = asyncio.Event()

        async def keep() -> None:
            await gate.wait()

        assert [ours.cache.store_in_background(b"%d" % it, keep(), MB) for it in range(5)] == [
            True
        ] * 4 + [False]
        gate.set()
        await asyncio.sleep(0.01)
        assert ours.cache.store_in_background(b"5", keep(), MB)


async def test_a_failure_to_store_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async with running_cache(tmp_path) as ours:
        with caplog.at_level(logging.ERROR):
            ours.cache.store_in_background(b"k", fails(), 1)
            assert not await is_there(ours, b"k")
    assert "bookkeeping failed (cache)" in caplog.text


async def test_a_purge_removes_stored_and_pending_entries(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.store(b"a", ONE, caller="a")
        await ours.store(b"b", TWO, caller="b")

        async def keep() -> None:
            await asyncio.sleep(0.05)
            await ours.store(b"c", THREE, caller="a")

        ours.cache.store_in_background(b"c", keep(), 1)
        assert await ours.cache.purge("a", None) == 2
        assert len(ours.names) == 1
        assert await is_there(ours, b"b")


async def test_a_purge_removes_two_pending_entries_of_one_key(
    tmp_path: Path,
) -> None:
    async with running_cache(tmp_path) as ours:

        async def keep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await ours.store(b"c", THREE, caller="a")

        for seconds in (0.1, 0.0):
            ours.cache.store_in_background(b"c", keep(seconds), 1)
        await ours.cache.purge("a", None)
        await asyncio.sleep(0.15)
        assert ours.names == set()


class Failing:
    """A blob store method that fails from its second call on."""

    def __init__(self, real: Callable[..., Awaitable[Any]]) -> None:
        self.real = real
        self.calls = 0

    async def __call__(self, *said: Any) -> Any:
        self.calls += 1
        if self.calls > 1:
            raise BlobStoreFailed("no")
        return await self.real(*said)


async def test_a_failed_commit_leaves_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_cache(tmp_path) as ours:
        blobs = ours.cache.images._blobs
        monkeypatch.setattr(blobs, "move", Failing(blobs.move))
        with pytest.raises(BlobStoreFailed):
            await ours.store(b"k", ONE, TWO, THREE)
        assert ours.names == set()
        assert not await is_there(ours, b"k")


async def test_a_failed_discard_does_not_fail_the_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_cache(tmp_path) as ours:
        arrived = [await ours.upload(it) for it in (ONE, TWO)]
        blobs = ours.cache.images._blobs
        monkeypatch.setattr(blobs, "delete", Failing(blobs.delete))
        for it in arrived:
            await ours.cache.images.discard(it)
        assert len(ours.names) == 1


async def test_a_failed_deletion_does_not_prevent_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_cache(tmp_path) as ours:
        entry = await ours.store(b"k", ONE, TWO, THREE)
        failing = Failing(ours.cache.images._blobs.delete)
        monkeypatch.setattr(ours.cache.images._blobs, "delete", failing)
        with pytest.raises(BlobStoreFailed):
            await ours.cache.images.delete(it.digest for it in entry.images)
        assert failing.calls == 3


async def test_no_file_is_left_after_the_end(tmp_path: Path) -> None:
    async with running_cache(tmp_path) as ours:
        await ours.store(b"k", ONE)
        await ours.upload(TWO)
        assert len(ours.names) == 2
    assert ours.names == set()


async def test_a_shared_folder_outlives_the_process(tmp_path: Path) -> None:
    index = LocalIndex(MB, MB)
    async with running_cache(tmp_path, index=index, shared="shared") as ours:
        await ours.store(b"k", ONE)
        await ours.upload(TWO)
    async with running_cache(tmp_path, index=index, shared="shared") as ours:
        assert len(ours.names) == 1
        assert await is_there(ours, b"k")


class Leaving(LocalIndex):
    """An index that becomes unavailable after some calls."""

    left = 0

    def _reach(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CacheUnavailable("away")

    async def get(self, key: bytes) -> CacheEntry | None:
        self._reach()
        return await super().get(key)

    async def put(self, key: bytes, entry: CacheEntry) -> OrphanedImages:
        self._reach()
        return await super().put(key, entry)

    async def drop(self, key: bytes) -> OrphanedImages:
        self._reach()
        return await super().remove(key)

    async def purge(self, caller: str, namespace: str | None) -> tuple[int, OrphanedImages]:
        self._reach()
        return await super().purge(caller, namespace)

    async def reserve(self, digest: str) -> bool:
        self._reach()
        return await super().reserve(digest)


@pytest.mark.parametrize("calls", range(4))
async def test_an_index_that_becomes_unavailable_fails_no_request(
    tmp_path: Path, calls: int
) -> None:
    index = Leaving(MB, MB)
    async with running_cache(tmp_path, index=index) as ours:
        index.left = calls
        kept = await ours.store(b"k", ONE, TWO, ONE)
        index.left = calls
        await ours.cache.put(b"k", kept, [await ours.upload(ONE)], overwrite=False)
        assert not [name for name in ours.names if name.startswith("new-")]
        for path in ours.folder.rglob("*"):
            path.unlink() if path.is_file() else None
        index.left = min(calls, 1)
        assert not await is_there(ours, b"k")


async def test_a_purge_without_an_index_is_an_error(tmp_path: Path) -> None:
    async with running_cache(tmp_path, index=Leaving(MB, MB)) as ours:
        with pytest.raises(CacheUnavailable):
            await ours.cache.purge("a", None)


async def test_expired_entries_are_removed_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_EXPIRE_INTERVAL_SECONDS", 0.01)
    async with running_cache(tmp_path) as ours:
        await ours.store(b"k", ONE)
        ours.cache.index._clock = lambda: 1e12  # type: ignore[attr-defined]  # the local one has it
        async with asyncio.timeout(10):
            while ours.names:  # noqa: ASYNC110 - a file tells nobody that it has gone
                await asyncio.sleep(0.01)
