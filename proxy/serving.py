"""Runs the gateway until it is told to stop, then lets what is running finish."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable

from aiohttp import web

from proxy.app import make_app
from proxy.keys import DRAINING, RUNNING
from proxy.settings import Settings

_GC_THRESHOLDS = (50_000, 20, 20)
_CLOSING_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.05


def run(settings: Settings, ready: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with host and port once it listens.

    Raises `OSError` when the address cannot be used.
    """
    runner = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - optional, and absent on some platforms

        runner = uvloop.run
    runner(_serve(settings, ready))


async def _serve(settings: Settings, ready: Callable[[str, int], None]) -> None:
    app = make_app(settings)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        # A client that leaves does not waste the picture that is being made for it.
        handler_cancellation=False,
        shutdown_timeout=_CLOSING_SECONDS,
        max_field_size=settings.limits.header_bytes,
        max_line_size=settings.limits.header_bytes,
    )
    await runner.setup()
    try:
        server = settings.server
        site = web.TCPSite(runner, server.host, server.port, reuse_address=True)
        await site.start()
        stopping = _on_signal()
        ready(server.host, runner.addresses[0][1])
        _quiet_gc()
        await stopping.wait()
        app[DRAINING].append(True)
        await site.stop()
        await _drained(app, server.shutdown_seconds)
    finally:
        await runner.cleanup()


def _on_signal() -> asyncio.Event:
    """Give an event that is set by the first signal; a second one ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping


def _quiet_gc() -> None:
    """Take what start-up made out of the collector's rounds: they are where tail latency is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _drained(app: web.Application, seconds: float) -> None:
    """Wait until nothing runs any more, or the deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while app[RUNNING]:
        if asyncio.get_running_loop().time() > deadline:
            sys.stderr.write(f"easel: {len(app[RUNNING])} requests cut at the deadline\n")
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
