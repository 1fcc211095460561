"""Serves as one of several processes, as the supervisor at the other end of a line says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import NoReturn

from aiohttp import web

from proxy.observability.metrics.registry import METRICS
from proxy.reload.live_settings import LIVE_SETTINGS, LiveSettings
from proxy.server.listeners import CannotListenError, Listener, open_tcp_listeners
from proxy.server.run import ServeOptions, run_loop, serve
from proxy.settings.loader import SettingsError
from proxy.settings.schema import Server
from proxy.workers import bootstrap
from proxy.workers.bootstrap import Orders
from proxy.workers.cache_index import RpcIndex
from proxy.workers.metrics import Counts
from proxy.workers.rpc import Handler, Line, LineError
from proxy.workers.shared_state import HubShared


def work(end: int) -> None:
    """Serve until told to stop, or until the supervisor is gone; `end` is a socket's number."""
    run_loop(_Worker(socket.socket(fileno=end)).run())


class _Worker:
    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._telling: asyncio.Task[bytes] | None = None

    async def run(self) -> None:
        """Get orders, and serve."""
        line = await Line.over(self._end)
        try:
            told = await line.call(bootstrap.BEGIN)
        except LineError:
            return  # The supervisor has gone already.
        try:
            await self._serve(line, bootstrap.read(told, Orders))
        except CannotListenError as error:
            await _failed(line, f"cannot listen on {error}")
        except SettingsError as error:
            await _failed(line, str(error))
        finally:
            line.close()

    async def _serve(self, line: Line, orders: Orders) -> None:
        settings = orders.settings()

        def listening(server: Server) -> list[Listener]:
            unix = [Listener.from_descriptor(number) for number in orders.inherited]
            return open_tcp_listeners(server, reuse_port=True) + unix

        def attend(app: web.Application) -> None:
            line.handlers |= _handlers(app[LIVE_SETTINGS])
            metrics = app[METRICS]
            counts = Counts(line, metrics.snapshot)
            metrics.gather = counts.all

            async def told(_: web.Application) -> AsyncIterator[None]:
                async with counts:
                    yield

            app.cleanup_ctx.append(told)

        def ready(_: str, port: int) -> None:
            del port
            self._telling = asyncio.ensure_future(_told(line))

        # Where there is a Redis, all workers of all nodes share that.
        alone = not settings.redis.url
        team = ServeOptions(
            shared=HubShared(line) if alone else None,
            index=RpcIndex(line, orders.cache) if alone else None,
            open_listeners=listening,
            on_app=attend,
        )
        watching = asyncio.create_task(_followed(line, team.stop))
        try:
            await serve(settings, ready, team)
        finally:
            watching.cancel()


def _handlers(reloading: LiveSettings) -> dict[str, Handler]:
    """Answer a supervisor that has read the settings file again."""

    async def taken(payload: bytes) -> bytes:
        change = bootstrap.read(payload, bootstrap.Change)
        await reloading.apply(change.orders.text, change.orders.file, aloud=change.aloud)
        return b""

    async def refused(payload: bytes) -> bytes:
        refusal = bootstrap.read(payload, bootstrap.Refusal)
        reloading.reject(refusal.problems, aloud=refusal.aloud)
        return b""

    return {bootstrap.SETTINGS: taken, bootstrap.REFUSED: refused}


async def _failed(line: Line, why: str) -> NoReturn:
    """End, and leave it to the supervisor to say why: all may fail alike."""
    with contextlib.suppress(LineError):
        await line.call(bootstrap.FAILED, why.encode())
    sys.exit(1)


async def _followed(line: Line, stopping: asyncio.Event) -> None:
    """Stop once the supervisor is gone: nobody else would stop or restart this one."""
    await line.ended.wait()
    stopping.set()


async def _told(line: Line) -> bytes:
    """Say that this one listens; where nobody hears it, it is about to end."""
    with contextlib.suppress(LineError):
        return await line.call(bootstrap.LISTENING)
    return b""
