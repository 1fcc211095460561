"""The attacker in a process of its own, with the lowest priority: its clients and its provider."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from contextlib import suppress

import aiohttp
from aiohttp import web

from .attacker import Attacker
from .storm import Storm
from .storms import STORMS

_PRIORITY = 19


class AttackerServer:
    """POST /attack starts the clients, GET / ends them and returns what they got."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._attack: asyncio.Task[None] | None = None
        self._results: dict[str, int] = {}

    def make_app(self) -> web.Application:
        """Return the server, which is the attacker's provider as well."""
        app = web.Application()
        app.router.add_post("/attack", self._start)
        app.router.add_get("/", self._stop)
        if self._storm.reply:
            app.router.add_post("/{path:.*}", self._storm.reply)
        return app

    async def _start(self, request: web.Request) -> web.Response:
        self._attack = asyncio.create_task(self._run(await request.json()))
        return web.Response()

    async def _run(self, urls: list[str]) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            attacker = Attacker(session, urls)
            try:
                await self._storm.clients(attacker)
            finally:
                self._results = dict(attacker.results)

    async def _stop(self, request: web.Request) -> web.Response:
        del request
        if self._attack:
            self._attack.cancel()
            with suppress(asyncio.CancelledError):
                await self._attack
        return web.json_response(self._results)


def main() -> None:
    """Serve at the port of the command line."""
    os.nice(_PRIORITY)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    port, name = sys.argv[1:]
    app = AttackerServer(STORMS[name]).make_app()
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None)


if __name__ == "__main__":
    main()
