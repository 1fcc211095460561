"""Several gateways that share their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.jobs.keys import JOBS
from proxy.state.memory import MemoryStore
from proxy.state.ops import Op, StoreUnavailable
from tests.support.gateway import (
    OURS,
    PATH,
    Gateway,
    Provider,
    gateway,
    json_reply,
    provider,
)


class UnreliableStore:
    """A state store that can be made unavailable."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.is_unavailable = False
        self.largest_batch = 0

    async def execute(self, *ops: Op) -> Sequence[Any]:
        await asyncio.sleep(0)
        self.largest_batch = max(self.largest_batch, len(ops))
        if self.is_unavailable:
            raise StoreUnavailable
        return self.memory.execute_now(ops)


class SlowProvider:
    """A provider that answers each call with an image of its own, once released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.calls = 0
        self.started = asyncio.Event()

    async def reply(self, request: web.Request) -> web.Response:
        del request
        self.calls += 1
        self.started.set()
        number = self.calls
        await self.release.wait()
        return json_reply({"created": number, "data": [{"b64_json": "AAAA"}]})


class Nodes(list[Gateway]):
    """Gateways that share their jobs, and the provider behind them."""

    fake: Provider
    shared: UnreliableStore
    add: Callable[[], Any]


@asynccontextmanager
async def nodes(
    folder: Path, reply: Any = None, more: str = "", count: int = 2
) -> AsyncIterator[Nodes]:
    shared, made = UnreliableStore(), Nodes()
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(provider(reply))
        keys = f"""
virtual_keys:
  up: {{provider: openai, api_key: test-key-0123456789, custom_host: {fake.url}/v1}}
blobs: {{store: {folder}}}
{more}"""

        def add() -> Any:
            return gateway(keys, shared=shared)

        for _ in range(count):
            made.append(await stack.enter_async_context(add()))
        made.fake, made.shared, made.add = fake, shared, add
        yield made


async def ask_and_disconnect(
    ours: Gateway, until: asyncio.Event, prompt: str = "a cube", **headers: str
) -> None:
    """Ask, and leave once the provider has been asked."""
    named = {**OURS, "x-portkey-virtual-key": "up", **headers}
    asking = asyncio.ensure_future(
        ours.session.post(ours.url + PATH, json={"prompt": prompt}, headers=named)
    )
    await until.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    # Until the node has seen it.
    job = ours.app[JOBS].all()[-1]
    while job.has_connected_client:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
