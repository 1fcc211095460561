"""What clients do: each story gives what one got each time, a picture or words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tests.support.flaky_proxy import cutting

from .gateways import started
from .provider import HALF
from .scene import NONE, Scene

RETRY = {"x-stainless-retry-count": "1"}

Story = Callable[[Scene], Awaitable[Sequence[str]]]


async def _finish(scene: Scene, again: asyncio.Event | None = None) -> None:
    """Let the provider finish, once somebody has come back."""
    if again:
        await again.wait()
        await asyncio.sleep(0.1)
    scene.gate.set()


def cut_and_marked(after: int | None) -> Story:
    """Cut the connection after so much of the body, None: of nothing; ask again, marked."""

    async def story(scene: Scene) -> Sequence[str]:
        async with cutting(scene.url, scene.called if after is None else after) as wire:
            first = await scene.ask(wire.url)
            finishing = asyncio.ensure_future(_finish(scene, wire.again))
            second = await scene.ask(wire.url, RETRY)
            await finishing
            return first, second

    return story


async def gone_and_back(scene: Scene) -> Sequence[str]:
    """Leave while waiting; come back once the picture is long made."""
    asking = asyncio.ensure_future(scene.ask(scene.url))
    await scene.called.wait()
    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.sleep(0.2)
    scene.gate.set()
    await asyncio.sleep(0.5)
    return "gone", await scene.ask(scene.url, RETRY)


async def late_and_back(scene: Scene) -> Sequence[str]:
    """Let the client's own time run out; come back while the picture is still being made."""
    async with cutting(scene.url, None) as wire:
        first = await scene.ask(wire.url, seconds=1)
        finishing = asyncio.ensure_future(_finish(scene, wire.again))
        second = await scene.ask(wire.url, RETRY)
        await finishing
        return first, second


def hundred(config: str) -> Story:
    """Ask a hundred times at once, always the same."""

    async def story(scene: Scene) -> Sequence[str]:
        named = {"x-portkey-config": config}
        asking = [asyncio.ensure_future(scene.ask(scene.url, named)) for _ in range(100)]
        await scene.called.wait()
        await asyncio.sleep(1.5)
        scene.gate.set()
        return await asyncio.gather(*asking)

    return story


async def told_to_come_back(scene: Scene) -> Sequence[str]:
    """Be told that the picture is still being made; ask again."""
    first = await scene.ask(scene.strict)
    scene.gate.set()
    return first, await scene.ask(scene.strict, RETRY)


async def same_key(scene: Scene) -> Sequence[str]:
    """Ask twice at once and once afterwards, with one key."""
    named = {"idempotency-key": scene.name}
    asking = [asyncio.ensure_future(scene.ask(scene.url, named)) for _ in range(2)]
    await scene.called.wait()
    await asyncio.sleep(0.3)
    scene.gate.set()
    return *await asyncio.gather(*asking), await scene.ask(scene.url, named)


async def key_of_another(scene: Scene) -> Sequence[str]:
    """Ask for two pictures with one key."""
    named = {"idempotency-key": scene.name}
    scene.gate.set()
    first = await scene.ask(scene.url, named)
    return first, await scene.ask(scene.url, named, more=" + a hat")


async def once(scene: Scene) -> Sequence[str]:
    """Ask once."""
    return [await scene.ask(scene.url)]


async def once_more(scene: Scene) -> Sequence[str]:
    """Ask, and once more, marked, where the connection was cut."""
    first = await scene.ask(scene.url)
    return (first, await scene.ask(scene.url, RETRY)) if first == "cut" else [first]


async def events_with_key(scene: Scene) -> Sequence[str]:
    """Have a stream of events cut; ask for it again with the same key."""
    named = {"idempotency-key": scene.name}
    async with cutting(scene.url, HALF) as wire:
        first = await scene.ask(wire.url, named, stream=True)
        finishing = asyncio.ensure_future(_finish(scene, wire.again))
        second = await scene.ask(wire.url, named, stream=True)
        await finishing
        return first, second


def by_itself(sdk: type, after: int | None) -> Story:
    """Cut the connection; the SDK asks again by itself."""

    async def story(scene: Scene) -> Sequence[str]:
        async with cutting(scene.url, scene.called if after is None else after) as wire:
            return await _left_to_itself(scene, sdk, wire.url, wire.again)

    return story


def late_by_itself(sdk: type) -> Story:
    """Let the SDK's own time run out; it asks again by itself."""

    async def story(scene: Scene) -> Sequence[str]:
        async with cutting(scene.url, None) as wire:
            return await _left_to_itself(scene, sdk, wire.url, wire.again, seconds=2)

    return story


async def _left_to_itself(
    scene: Scene, sdk: type, url: str, again: asyncio.Event, seconds: float = 20
) -> Sequence[str]:
    finishing = asyncio.ensure_future(_finish(scene, again))
    got = await scene.ask_by(sdk, url, seconds=seconds)
    finishing.cancel()
    return [got]


def just(sdk: type, headers: Mapping[str, str] = NONE, *, strict: bool = False) -> Story:
    """Ask by an SDK, and leave the rest to it."""

    async def story(scene: Scene) -> Sequence[str]:
        got = await scene.ask_by(sdk, scene.strict if strict else scene.url, headers)
        scene.gate.set()
        return [got]

    return story


def raised_and_keyed(sdk: type) -> Story:
    """Be told that the picture is still being made; the app asks again with the same key."""

    async def story(scene: Scene) -> Sequence[str]:
        named = {"idempotency-key": scene.name}
        first = await scene.ask_by(sdk, scene.strict, named)
        scene.gate.set()
        return first, await scene.ask_by(sdk, scene.strict, named)

    return story


def cut_events(sdk: type) -> Story:
    """Have an SDK's stream of events cut; the app asks again with the same key."""

    async def story(scene: Scene) -> Sequence[str]:
        async with cutting(scene.url, HALF) as wire:
            named = {"idempotency-key": scene.name}
            first = await scene.ask_by(sdk, wire.url, named, stream=True)
            finishing = asyncio.ensure_future(_finish(scene, wire.again))
            second = await scene.ask_by(sdk, wire.url, named, stream=True)
            await finishing
            return first, second

    return story


def restarted(folder: Path, *, finished: bool) -> Story:
    """Stop the gateway while nobody waits, start it anew, and ask again, marked."""

    async def story(scene: Scene) -> Sequence[str]:
        async with started(folder) as url:
            asking = asyncio.ensure_future(scene.ask(url))
            await scene.called.wait()
            asking.cancel()
            await asyncio.wait({asking})
            if finished:
                scene.gate.set()
                await asyncio.sleep(0.5)
            else:
                # The gateway has been told to stop by then, and lets the job finish.
                asyncio.get_running_loop().call_later(0.5, scene.gate.set)
        async with started(folder) as url:
            return "gone", await scene.ask(url, RETRY)

    return story
