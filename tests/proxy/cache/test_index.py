"""The index's own promises: how long, how much, and what goes first."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.pictures import Measured
from proxy.cache.entries import Entry, Picture
from proxy.cache.index import LocalIndex

MEMORY, DISK = 20_000, 10_000


def picture(number: int, length: int = 100) -> Picture:
    return Picture(f"{number:064x}", length, Measured("image/png"))


def entry(*pictures: Picture, expires: float = 100, **about: Any) -> Entry:
    return Entry(pictures, expires, **about)


def key(number: int) -> bytes:
    return b"%d" % number


class Clock:
    """A clock that is put forward by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_each_entry_has_its_own_lifetime() -> None:
    clock = Clock()
    index = LocalIndex(MEMORY, DISK, clock)
    await index.put(key(1), entry(picture(1), expires=60))
    await index.put(key(2), entry(picture(2), expires=600))
    clock.now = 60
    assert await index.get(key(1)) is None
    assert await index.get(key(2))
    assert await index.tidy() == [picture(1).digest]
    assert await index.tidy() == []


async def test_a_picture_of_several_entries_is_held_once_and_freed_with_the_last() -> None:
    index = LocalIndex(MEMORY, DISK)
    for number in (1, 2):
        await index.put(key(number), entry(picture(7, 500), picture(7, 500), expires=1e12))
    assert index.disk == 500
    assert await index.drop(key(1)) == []
    assert await index.announce(picture(7).digest)
    assert await index.free([picture(7).digest]) == []
    assert await index.drop(key(2)) == [picture(7).digest]
    assert (index.disk, await index.announce(picture(7).digest)) == (0, False)
    assert await index.free([picture(7).digest]) == [picture(7).digest]


async def test_what_comes_again_under_a_key_takes_its_place() -> None:
    index = LocalIndex(MEMORY, DISK)
    await index.put(key(1), entry(picture(1), picture(2), expires=1e12))
    assert await index.put(key(1), entry(picture(2), picture(3), expires=1e12)) == [
        picture(1).digest
    ]


async def test_what_is_cheap_to_make_again_goes_first() -> None:
    index = LocalIndex(MEMORY * 10, DISK)
    await index.put(key(0), entry(picture(0, 5000), expires=1e12, dollars=1))
    for number in range(1, 20):
        await index.put(key(number), entry(picture(number, 1000), expires=1e12, dollars=0.001))
    assert await index.get(key(0))
    assert await index.get(key(19))
    assert await index.get(key(1)) is None


async def test_what_is_dear_goes_too_once_nobody_asks_for_it() -> None:
    index = LocalIndex(MEMORY * 10, DISK)
    await index.put(key(0), entry(picture(0, 1000), expires=1e12, dollars=0.01))
    for number in range(1, 200):
        await index.put(key(number), entry(picture(number, 1000), expires=1e12, dollars=0.005))
    assert await index.get(key(0)) is None


async def test_what_is_asked_for_stays() -> None:
    index = LocalIndex(MEMORY * 10, DISK)
    for number in range(200):
        await index.put(key(number), entry(picture(number, 1000), expires=1e12))
        assert await index.get(key(0))


async def test_what_can_never_fit_is_not_kept_and_harms_nothing() -> None:
    index = LocalIndex(MEMORY, DISK)
    await index.put(key(1), entry(picture(1), expires=1e12))
    assert await index.put(key(2), entry(picture(2, DISK + 1), expires=1e12)) == [picture(2).digest]
    large = {"text": "x" * MEMORY}
    freed = await index.put(key(3), entry(picture(3), expires=1e12, extra=large))
    assert freed == [picture(3).digest]
    assert await index.get(key(1))


async def test_what_cannot_be_written_as_json_is_not_kept() -> None:
    index = LocalIndex(MEMORY, DISK)
    odd = entry(picture(1), expires=1e12, extra={"a": object()})
    assert await index.put(key(1), odd) == [picture(1).digest]


async def test_only_a_callers_own_are_forgotten() -> None:
    index = LocalIndex(MEMORY, DISK)
    owners = [("a", ""), ("a", "x"), ("b", "x")]
    for number, (caller, namespace) in enumerate(owners):
        about = {"caller": caller, "namespace": namespace}
        await index.put(key(number), entry(picture(number), expires=1e12, **about))
    assert await index.forget("a", "x") == (1, [picture(1).digest])
    assert await index.forget("a", None) == (1, [picture(0).digest])
    assert await index.forget("c", None) == (0, [])
    assert await index.get(key(2))


async def test_an_index_without_room_keeps_nothing() -> None:
    for bounds in ((0, DISK), (MEMORY, 0)):
        index = LocalIndex(*bounds)
        assert await index.put(key(1), entry(picture(1))) == [picture(1).digest]


PICTURES = st.lists(
    st.integers(0, 12).map(lambda number: picture(number, 1 + number * 397 % 4000)), max_size=4
)
KEYS = st.integers(0, 6).map(key)
STEP = st.one_of(
    st.tuples(
        st.just("put"),
        KEYS,
        PICTURES,
        st.floats(0, 1),
        st.integers(0, 9),
        st.integers(0, 6000),
    ),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("forget"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("wait"), st.integers(1, 5)),
)


@given(steps=st.lists(STEP, max_size=40))
async def test_its_bounds_hold_whatever_comes(steps: list[tuple[Any, ...]]) -> None:
    clock = Clock()
    index = LocalIndex(MEMORY, DISK, clock)
    there: set[str] = set()
    for step in steps:
        match step:
            case "put", name, pictures, dollars, seconds, told:
                there |= {it.digest for it in pictures}
                about = {"dollars": dollars, "caller": "ab"[seconds % 2]}
                kept = entry(
                    *pictures, expires=clock.now + seconds, extra={"t": "x" * told}, **about
                )
                there -= set(await index.put(name, kept))
            case "get", name:
                await index.get(name)
            case "drop", name:
                there -= set(await index.drop(name))
            case "forget", caller:
                there -= set((await index.forget(caller, None))[1])
            case "wait", seconds:
                clock.now += seconds
                there -= set(await index.tidy())
        held = {
            it.digest: it.length for one in index._entries.values() for it in one.entry.pictures
        }
        # What is on disk is what is held, to the byte, and no more than there is room for.
        assert there == held.keys()
        assert index.disk == sum(held.values()) <= DISK
        assert index.memory <= MEMORY
        assert len(index._entries._heap) <= 2 * len(index._entries) + 101
