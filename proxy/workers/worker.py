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
from proxy.workers.bootstrap import BootstrapConfig
from proxy.workers.cache_index import RpcIndex
from proxy.workers.metrics import AllWorkersMetrics
from proxy.workers.rpc import Handler, RpcConnection, RpcError
from proxy.workers.shared_state import RpcStateStore


def run_worker(rpc_fd: int) -> None:
    """Serve until told to stop, or until the supervisor is gone; `end` is a socket's number."""
    run_loop(_Worker(socket.socket(fileno=rpc_fd)).run())


class _Worker:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reporting: asyncio.Task[bytes] | None = None

    async def run(self) -> None:
        """Get orders, and serve."""
        connection = await RpcConnection.from_socket(self._socket)
        try:
            reply = await connection.call(bootstrap.BEGIN)
        except RpcError:
            return  # The supervisor has gone already.
        try:
            await self._serve(connection, bootstrap.decode(reply, BootstrapConfig))
        except CannotListenError as error:
            await _exit_with_error(connection, f"cannot listen on {error}")
        except SettingsError as error:
            await _exit_with_error(connection, str(error))
        finally:
            connection.close()

    async def _serve(self, connection: RpcConnection, config: BootstrapConfig) -> None:
        settings = config.settings()

        def listening(server: Server) -> list[Listener]:
            unix = [Listener.from_descriptor(number) for number in config.inherited_fds]
            return open_tcp_listeners(server, reuse_port=True) + unix

        def on_app(app: web.Application) -> None:
            connection.handlers |= _reload_handlers(app[LIVE_SETTINGS])
            metrics = app[METRICS]
            all_metrics = AllWorkersMetrics(connection, metrics.snapshot)
            metrics.gather = all_metrics.collect

            async def told(_: web.Application) -> AsyncIterator[None]:
                async with all_metrics:
                    yield

            app.cleanup_ctx.append(told)

        def ready(_: str, port: int) -> None:
            del port
            self._reporting = asyncio.ensure_future(_report_listening(connection))

        # Where there is a Redis, all workers of all nodes share that.
        without_redis = not settings.redis.url
        options = ServeOptions(
            shared=RpcStateStore(connection) if without_redis else None,
            index=RpcIndex(connection, config.cache_folder) if without_redis else None,
            open_listeners=listening,
            on_app=on_app,
        )
        watching = asyncio.create_task(_stop_with_supervisor(connection, options.stop))
        try:
            await serve(settings, ready, options)
        finally:
            watching.cancel()


def _reload_handlers(reloading: LiveSettings) -> dict[str, Handler]:
    """Answer a supervisor that has read the settings file again."""

    async def taken(payload: bytes) -> bytes:
        change = bootstrap.decode(payload, bootstrap.ConfigUpdate)
        await reloading.apply(change.config.text, change.config.file, aloud=change.should_log)
        return b""

    async def refused(payload: bytes) -> bytes:
        refusal = bootstrap.decode(payload, bootstrap.ConfigRejected)
        reloading.reject(refusal.problems, aloud=refusal.should_log)
        return b""

    return {bootstrap.SETTINGS: taken, bootstrap.REJECTED: refused}


async def _exit_with_error(connection: RpcConnection, why: str) -> NoReturn:
    """End, and leave it to the supervisor to say why: all may fail alike."""
    with contextlib.suppress(RpcError):
        await connection.call(bootstrap.FAILED, why.encode())
    sys.exit(1)


async def _stop_with_supervisor(connection: RpcConnection, stopping: asyncio.Event) -> None:
    """Stop once the supervisor is gone: nobody else would stop or restart this one."""
    await connection.closed.wait()
    stopping.set()


async def _report_listening(connection: RpcConnection) -> bytes:
    """Say that this one listens; where nobody hears it, it is about to end."""
    with contextlib.suppress(RpcError):
        return await connection.call(bootstrap.LISTENING)
    return b""
