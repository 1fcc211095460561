"""A worker: serves requests, with settings that it gets from the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import NoReturn

from aiohttp import web

from proxy.observability.metrics.registry import METRICS
from proxy.observability.process_log import configure, set_level
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


def run_worker(rpc_fd: int, number: int) -> None:
    """Serve until SIGTERM, or until the supervisor is gone.

    `rpc_fd` is the inherited socket to the supervisor.
    """
    configure("info", str(number))
    run_loop(_Worker(socket.socket(fileno=rpc_fd)).run())


class _Worker:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reporting: asyncio.Task[bytes] | None = None

    async def run(self) -> None:
        """Fetch the bootstrap config, and serve."""
        connection = await RpcConnection.from_socket(self._socket)
        try:
            reply = await connection.call(bootstrap.BEGIN)
        except RpcError:
            return  # The supervisor is gone.
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
        set_level(settings.log.level)

        def listening(server: Server) -> list[Listener]:
            unix = [Listener.from_descriptor(number) for number in config.inherited_fds]
            return open_tcp_listeners(server, reuse_port=True) + unix

        def on_app(app: web.Application) -> None:
            connection.handlers |= _reload_handlers(app[LIVE_SETTINGS])
            metrics = app[METRICS]
            all_metrics = AllWorkersMetrics(connection, metrics.snapshot)
            metrics.gather = all_metrics.collect

            async def report(_: web.Application) -> AsyncIterator[None]:
                async with all_metrics:
                    yield

            app.cleanup_ctx.append(report)

        def ready(_: str, port: int) -> None:
            del port
            self._reporting = asyncio.ensure_future(_report_listening(connection))

        # With Redis, the workers of all nodes share state there.
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


def _reload_handlers(live_settings: LiveSettings) -> dict[str, Handler]:
    """Return the RPC handlers for new settings."""

    async def apply(payload: bytes) -> bytes:
        update = bootstrap.decode(payload, bootstrap.ConfigUpdate)
        config = update.config
        await live_settings.apply(config.text, config.file, should_log=update.should_log)
        return b""

    async def reject(payload: bytes) -> bytes:
        rejected = bootstrap.decode(payload, bootstrap.ConfigRejected)
        live_settings.reject(rejected.problems, should_log=rejected.should_log)
        return b""

    return {bootstrap.SETTINGS: apply, bootstrap.REJECTED: reject}


async def _exit_with_error(connection: RpcConnection, message: str) -> NoReturn:
    """Report an error to the supervisor, which logs it, and exit with status 1."""
    with contextlib.suppress(RpcError):
        await connection.call(bootstrap.FAILED, message.encode())
    sys.exit(1)


async def _stop_with_supervisor(connection: RpcConnection, stopping: asyncio.Event) -> None:
    """Stop once the supervisor is gone: nothing else would stop or restart this worker."""
    await connection.closed.wait()
    stopping.set()


async def _report_listening(connection: RpcConnection) -> bytes:
    """Report to the supervisor that this worker is listening."""
    with contextlib.suppress(RpcError):
        return await connection.call(bootstrap.LISTENING)
    return b""
