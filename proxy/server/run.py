"""Runs the server process: start, signals, graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import re
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.app import make_app
from proxy.cache.index import SharedIndex
from proxy.context import DRAINING, IN_FLIGHT
from proxy.jobs.keys import JOB_CLUSTER, JOBS
from proxy.observability.process_log import RedactingFilter, configure, log_start, set_level
from proxy.reload.live_settings import LIVE_SETTINGS
from proxy.reload.watcher import watch_settings_file
from proxy.server import drain
from proxy.server.client_timeouts import enforce_client_timeouts
from proxy.server.connection import client_runner
from proxy.server.listeners import Listener, open_listeners
from proxy.server.process import forbid_core_dumps
from proxy.server.site import GracefulSite, close_sites, start_sites
from proxy.settings.loader import Settings
from proxy.settings.schema import Server
from proxy.settings.tls import ReloadableTls, reload_periodically
from proxy.state.ops import StateStore

_GC_THRESHOLDS = (10_000, 5, 50)
"""A collection scans the objects of stored jobs: frequent small ones pause for milliseconds."""
_CLOSING_SECONDS = 0.1
_LOG = logging.getLogger("easel")
_SIGNALLED = 128
"""A shell's exit status for a process ended by a signal is this plus the signal's number."""
_POLL_SECONDS = 0.05
_FIRST_REQUEST_SECONDS = 1.0
"""How long a connection accepted at the last moment has to send its request."""
_PERSIST_SHARE = 0.1
_MAX_PERSIST_SECONDS = 10.0
"""The part of the shutdown time reserved for writing finished responses to disk."""


_CLIENT_ERRORS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""Errors that a client can cause at will."""


def loop_exception_handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an unhandled exception of the loop without its message, which may hold a prompt."""
    # Text after a bracket can be arguments.
    message = re.split(r"[(<{\[]", context.get("message") or "", maxsplit=1)[0].strip()
    server_logger().error(message or "Unhandled exception", exc_info=context.get("exception"))


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How a process serves; a worker overrides the defaults.

    `shared` is the shared state store and `index` the shared cache index. `open_listeners` opens
    the sockets. `on_app` is called with the application before it listens. Setting `stop` shuts
    down as a signal does. `watches_settings`: this process watches the settings file itself,
    rather than its supervisor.
    """

    shared: StateStore | None = None
    index: SharedIndex | None = None
    open_listeners: Callable[[Server], Sequence[Listener]] = open_listeners
    on_app: Callable[[web.Application], None] = lambda _: None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    watches_settings: bool = False


def run(settings: Settings, ready: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with host and port once it listens.

    The port is 0 if it listens on a unix socket only. Raises `CannotListenError`.
    """

    def on_ready(host: str, port: int) -> None:
        log_start(settings, port)
        ready(host, port)

    configure(settings.log.level)
    run_loop(serve(settings, on_ready))


def run_loop(serving: Coroutine[Any, Any, None]) -> None:
    """Run a server coroutine in a new event loop: uvloop's, if installed."""
    runner = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - optional, and absent on some platforms

        runner = uvloop.run
    forbid_core_dumps()
    runner(serving)


async def serve(
    settings: Settings, ready: Callable[[str, int], None], options: ServeOptions | None = None
) -> None:
    """Serve in the running loop, alone or as a worker. Raises `CannotListenError`."""
    options = options or ServeOptions(watches_settings=True)
    asyncio.get_running_loop().set_exception_handler(loop_exception_handler)
    listening = options.open_listeners(settings.server)
    try:
        await _serve(settings, listening, ready, options)
    finally:
        for listener in listening:
            listener.close()


async def _serve(
    settings: Settings,
    listening: Sequence[Listener],
    ready: Callable[[str, int], None],
    options: ServeOptions,
) -> None:
    app, server = (
        make_app(settings, state_store=options.shared, cache_index=options.index),
        settings.server,
    )
    live_settings = app[LIVE_SETTINGS]
    live_settings.on_applied.append(lambda: set_level(live_settings.snapshot.settings.log.level))
    if tls := _tls(settings):
        live_settings.on_applied.append(tls.reload_if_changed)
    options.on_app(app)
    runner = client_runner(
        app,
        logger=server_logger(),
        shutdown_timeout=_CLOSING_SECONDS,
        keepalive_timeout=settings.timeouts.keepalive,
    )
    await runner.setup()
    try:
        sites = await start_sites(runner, listening, tls, settings.timeouts)
        _stop_on_signal(stopping := options.stop)
        patient = enforce_client_timeouts(_server(runner), settings.timeouts)
        async with _settings_watcher(app, settings, options), patient, reload_periodically(tls):
            ready(server.host, _port(listening))
            _freeze_gc()
            await stopping.wait()
            await _shut_down(runner, sites, server)
    finally:
        await runner.cleanup()


def _settings_watcher(
    app: web.Application, settings: Settings, team: ServeOptions
) -> AbstractAsyncContextManager[None]:
    """Watch the settings file while the block runs, if this process is the one to do it."""
    if not (settings.file and team.watches_settings):
        return nullcontext()
    watches = settings.server.watches_settings
    return watch_settings_file(
        settings.file, app[LIVE_SETTINGS], version=settings.version, watches=watches
    )


def _tls(settings: Settings) -> ReloadableTls | None:
    server = settings.server
    if not server.tls_certificate:
        return None
    return ReloadableTls(server.tls_certificate, server.tls_key, server.tls_client_ca)


def _port(listening: Sequence[Listener]) -> int:
    ports = [it.socket.getsockname()[1] for it in listening if not it.is_unix]
    return ports[0] if ports else 0


def _server(runner: web.AppRunner) -> web.Server:
    assert runner.server is not None  # noqa: S101 - it is set up
    return runner.server


async def _shut_down(runner: web.AppRunner, sites: Sequence[GracefulSite], server: Server) -> None:
    """Fail readiness for `drain_seconds`, stop listening, then let running requests finish."""
    runner.app[DRAINING].append(True)
    await asyncio.sleep(server.drain_seconds)
    await close_sites(sites)
    await _drain(runner, server.shutdown_seconds - server.drain_seconds)


def server_logger() -> logging.Logger:
    """Return the HTTP server's logger, with the redacting filter."""
    logger = logging.getLogger("easel.server")
    if not any(isinstance(it, RedactingFilter) for it in logger.filters):
        logger.addFilter(RedactingFilter(*_CLIENT_ERRORS))
    return logger


def _stop_on_signal(stopping: asyncio.Event) -> None:
    """Set an event at the first signal; exit at once at the second."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        stopping.set()
        for number in numbers:
            # Not the default action: the kernel does not apply it to process 1 of a container.
            loop.add_signal_handler(number, os._exit, _SIGNALLED + number)

    for number in numbers:
        loop.add_signal_handler(number, stop)


def _freeze_gc() -> None:
    """Exclude objects made at start-up from garbage collection, which causes tail latency."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _drain(runner: web.AppRunner, seconds: float) -> None:
    """Wait for running requests, then save finished responses for the next process."""
    jobs, sharing = runner.app[JOBS], runner.app[JOB_CLUSTER]
    deadline = asyncio.get_running_loop().time() + seconds
    await _drain_requests(runner, seconds - min(seconds * _PERSIST_SHARE, _MAX_PERSIST_SECONDS))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await (sharing.wait_until_stored() if sharing else jobs.persist())
    if count := sharing.unsaved_count if sharing else jobs.unsaved_count:
        results = "1 finished result" if count == 1 else f"{count} finished results"
        _LOG.warning("%s could not be saved to disk for a client to collect", results)


async def _drain_requests(runner: web.AppRunner, seconds: float) -> None:
    """Wait for running requests and their responses; at the deadline, cut the rest."""
    running, jobs, sharing = runner.app[IN_FLIGHT], runner.app[JOBS], runner.app[JOB_CLUSTER]
    loop = asyncio.get_running_loop()
    first = loop.time() + min(seconds, _FIRST_REQUEST_SECONDS)
    if sharing:
        sharing.store_all()
    try:
        async with asyncio.timeout(seconds):
            while (
                running
                or jobs.running_count
                or not _close_idle(runner, unused_are_busy=loop.time() < first)
            ):
                # Save what is finished now, in case the process is killed before the deadline.
                if not sharing:
                    await jobs.persist()
                await asyncio.sleep(_POLL_SECONDS)
            await drain.close_all(runner.server)
    except TimeoutError:
        if count := max(len(running), jobs.running_count):
            requests = "1 request" if count == 1 else f"{count} requests"
            _LOG.warning("%s cut at the shutdown deadline, after %g seconds", requests, seconds)


def _close_idle(runner: web.AppRunner, *, unused_are_busy: bool) -> bool:
    """Close all connections if all are idle; with `unused_are_busy`, unused ones are not.

    Return whether none is busy.
    """
    server = _server(runner)
    for it in server.connections:
        if drain.is_busy(it) or (unused_are_busy and drain.is_unused(it)):
            return False
    return drain.close_idle(server)
