"""Serves as one of several processes, as the supervisor at the other end of a line says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec
from aiohttp import web

from proxy.sections import Server
from proxy.serving import Team, in_a_loop, serve
from proxy.settings import Settings, SettingsError
from proxy.sockets import CannotListenError, Listener, tcp_listeners
from proxy.workers import orders as words
from proxy.workers.hub import HubShared
from proxy.workers.line import Line, LineError

Take = Callable[[web.Application, Settings], Awaitable[None]]
"""Puts other settings in force in an application that runs; raises where it cannot."""


async def keeps_its_own(_: web.Application, settings: Settings) -> None:
    """Take nothing."""
    raise NotImplementedError(type(settings).__name__)


def work(end: int, take: Take = keeps_its_own) -> None:
    """Serve until told to stop, or until the supervisor is gone; `end` is a socket's number."""
    in_a_loop(_Worker(socket.socket(fileno=end), take).run())


class Fellows:
    """All workers of a gateway, as one of them sees them, itself included.

    `handlers` are what this one answers when another asks all of them.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.handlers = line.handlers

    async def ask(self, name: str, payload: bytes = b"") -> list[bytes]:
        """Ask all, and give what those say who answer; raises `LineError`."""
        asked = msgspec.msgpack.encode((name, payload))
        found = await self._line.call(words.ALL, asked)
        return msgspec.msgpack.decode(found, type=list[bytes])


class _Worker:
    def __init__(self, end: socket.socket, take: Take) -> None:
        self._end = end
        self._take = take
        self._telling: asyncio.Task[bytes] | None = None

    async def run(self) -> None:
        """Get orders, and serve."""
        line = await Line.over(self._end)
        try:
            told = await line.call(words.BEGIN)
        except LineError:
            return  # The supervisor has gone already.
        try:
            await self._serve(line, words.read(told))
        except CannotListenError as error:
            await _failed(line, f"cannot listen on {error}")
        except SettingsError as error:
            await _failed(line, str(error))
        finally:
            line.close()

    async def _serve(self, line: Line, orders: words.Orders) -> None:
        def listening(server: Server) -> list[Listener]:
            unix = [Listener.inherited(number) for number in orders.inherited]
            return tcp_listeners(server, reuse_port=True) + unix

        def attend(app: web.Application) -> None:
            async def taken(payload: bytes) -> bytes:
                new = await asyncio.to_thread(words.read(payload).settings)
                await self._take(app, new)
                return b""

            line.handlers[words.SETTINGS] = taken

        def ready(_: str, port: int) -> None:
            del port
            self._telling = asyncio.ensure_future(_told(line))

        team = Team(shared=HubShared(line), listening=listening, attend=attend)
        watching = asyncio.create_task(_followed(line, team.stopping))
        try:
            await serve(orders.settings(), ready, team)
        finally:
            watching.cancel()


async def _failed(line: Line, why: str) -> NoReturn:
    """End, and leave it to the supervisor to say why: all may fail alike."""
    with contextlib.suppress(LineError):
        await line.call(words.FAILED, why.encode())
    sys.exit(1)


async def _followed(line: Line, stopping: asyncio.Event) -> None:
    """Stop once the supervisor is gone: nobody else would stop or restart this one."""
    await line.ended.wait()
    stopping.set()


async def _told(line: Line) -> bytes:
    """Say that this one listens; where nobody hears it, it is about to end."""
    with contextlib.suppress(LineError):
        return await line.call(words.LISTENING)
    return b""
