"""A provider with a queue of jobs that can be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.gateway import B64, Gateway, gateway, provider

CANCELS = "jobs: {on_disconnect: cancel}\n"
SECRET = "luma-secret-0123456789"


class Queue:
    """A provider of jobs, numbered from 1; a test sets them `done`, and they can be deleted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.polled = asyncio.Event()
        self.done: set[str] = set()
        self.taken = 0
        self.deletes_with = 204
        self.deletes_after = 0.0

    @property
    def cancelled(self) -> list[str]:
        """The jobs that were cancelled."""
        return [it for it in self.asked if it.startswith("DELETE")]

    async def reply(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        if request.method == "DELETE":
            await asyncio.sleep(self.deletes_after)
            return web.Response(status=self.deletes_with)
        if request.method == "POST":
            self.taken += 1
            return web.json_response({"id": str(self.taken), "state": "queued"})
        self.polled.set()
        await asyncio.sleep(0.01)
        made = {"image": f"data:image/png;base64,{B64}"}
        is_done = request.path.rpartition("/")[2] in self.done
        state = {"state": "completed", "assets": made} if is_done else {"state": "queued"}
        return web.json_response(state)


@asynccontextmanager
async def queue(more: str = "") -> AsyncIterator[tuple[Gateway, Queue]]:
    """Run a provider of jobs, and a gateway with the virtual key `up` for it."""
    jobs = Queue()
    async with provider(jobs.reply) as fake:
        stored = f"{{provider: luma, api_key: {SECRET}, custom_host: '{fake.url}'}}"
        async with gateway(f"virtual_keys: {{up: {stored}}}\n{more}") as ours:
            yield ours, jobs


async def left(ours: Gateway, jobs: Queue) -> None:
    """Request an image, and disconnect while its job is being polled."""
    asking = asyncio.ensure_future(ours.draw(params={"model": "photon-1"}, virtual_key="up"))
    await asyncio.wait_for(jobs.polled.wait(), 5)
    asking.cancel()
    await asyncio.wait([asking])


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
