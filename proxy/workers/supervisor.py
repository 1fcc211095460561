"""The supervisor: starts workers, restarts those that exit, and stops them all.

It handles no requests itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from proxy.settings.loader import SettingsError
from proxy.settings.yaml_file import Problem
from proxy.workers import bootstrap
from proxy.workers.bootstrap import BootstrapConfig, ConfigRejected, ConfigUpdate
from proxy.workers.metrics import ExitedWorkersMetrics
from proxy.workers.rpc import BROADCAST, Handler, RpcConnection, RpcError, call_all
from proxy.workers.shared_state import EXECUTE, StateServer

_LOG = logging.getLogger("easel")

_SIGNAL_EXIT_BASE = 128
"""A process killed by a signal has this exit status plus the number of the signal."""
_BLOCKED_SIGNALS = {signal.SIGINT, signal.SIGHUP}
_GRACE_SECONDS = 30.0
"""Time for a worker to exit, beyond the shutdown time for its requests."""
_RELOAD_TIMEOUT_SECONDS = 120.0
"""Timeout for a worker to apply new settings: 100,000 keys take 15 seconds."""

_MIN_DELAY, _MAX_DELAY = 1.0, 30.0
"""Seconds before a restart."""
_STABLE_SECONDS = 60.0
"""A worker that ran this long resets the restart delay."""

_BROADCAST_REQUEST = msgspec.msgpack.Decoder(tuple[str, bytes])


class NoWorkerError(Exception):
    """No worker could start. The message is the error of the first one."""


@dataclass(slots=True, eq=False)
class _Worker:
    """A running worker process. `config` was sent last, `error` is why it cannot serve."""

    process: asyncio.subprocess.Process
    connection: RpcConnection
    config: BootstrapConfig | None = None
    is_listening: bool = False
    error: str = ""


@dataclass(slots=True)
class _Signals:
    """Events that end the supervisor."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    startup_decided: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once one worker has listened, or all have failed to."""
    startup_failed: bool = False


class Supervisor:
    """Runs `count` workers with `config` until SIGTERM or SIGINT.

    `on_ready` is called once all workers are listening for the first time. `config_for` returns the
    config for a new text of the settings file; it runs in a thread and raises `SettingsError`.
    `handlers` are further RPC handlers for workers. `on_drained` is called when workers stop
    accepting connections. The supervisor implements what `proxy.reload.watcher` needs.
    """

    def __init__(  # noqa: PLR0913 - its dependencies
        self,
        config: BootstrapConfig,
        count: int,
        *,
        state_server: StateServer,
        on_ready: Callable[[], None],
        config_for: Callable[[str], BootstrapConfig],
        shutdown_seconds: float,
        drain_seconds: float = 0.0,
        on_drained: Callable[[], None] = lambda: None,
        handlers: dict[str, Handler] | None = None,
    ) -> None:
        self.config = config
        self._numbers = range(1, count + 1)
        self._state_server = state_server
        self._on_ready = on_ready
        self._config_for = config_for
        self._rejected: Sequence[Problem] = ()
        self._exited_metrics = ExitedWorkersMetrics()
        self._drain_seconds, self._on_drained = drain_seconds, on_drained
        self._stop_timeout = shutdown_seconds + _GRACE_SECONDS
        self._handlers = {**(handlers or {}), BROADCAST: self._broadcast}
        self._workers: dict[int, _Worker] = {}
        self._failures: dict[int, str] = {}
        self._is_ready = False
        self._signals = _Signals()
        self._spawning, self._reloading = asyncio.Lock(), asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> list[RpcConnection]:
        """The RPC connections of the workers that are listening."""
        return [worker.connection for worker in self._workers.values() if worker.is_listening]

    async def run(self) -> None:
        """Run the workers until they have all stopped; raises `NoWorkerError`."""
        self._on_signals()
        async with asyncio.TaskGroup() as group:
            supervising = [group.create_task(self._supervise(number)) for number in self._numbers]
            await self._signals.stop.wait()
            asyncio.get_running_loop().call_later(self._drain_seconds, self._on_drained)
            for worker in self._workers.values():
                _signal(worker, signal.SIGTERM)
            _, late = await asyncio.wait(supervising, timeout=self._stop_timeout)
            if late:
                self._kill()
        if self._signals.startup_failed:
            raise NoWorkerError(next(iter(self._failures.values())))

    # Signals

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        if self._signals.stop.is_set():
            self._kill()
            # Not with the signal itself: process 1 of a container ignores it.
            os._exit(_SIGNAL_EXIT_BASE + number)
        self._signals.stop.set()
        self._signals.startup_decided.set()

    def _kill(self) -> None:
        for worker in self._workers.values():
            _signal(worker, signal.SIGKILL)

    def _start_task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Starting and restarting

    async def _supervise(self, number: int) -> None:
        """Run a worker, and restart it with backoff, until the supervisor stops."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while not self._signals.stop.is_set():
            began = loop.time()
            exit_text = await self._run_once(number)
            if not await self._should_restart(number, exit_text):
                return
            delay = backoff.next_delay(loop.time() - began)
            _LOG.error("worker %d %s; restarting in %g s", number, exit_text, delay)
            await _wait(self._signals.stop, delay)

    async def _run_once(self, number: int) -> str:
        """Run a worker process until it exits; return a description of its exit."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                async with self._spawning:
                    process = await _spawn(number, theirs.fileno(), self.config.inherited_fds)
            except OSError as error:
                ours.close()
                return f"could not be started: {error.strerror}"
        connection = await RpcConnection.from_socket(ours)
        connection.sync_handlers[EXECUTE] = self._state_server.execute
        worker = self._workers[number] = _Worker(process, connection)
        connection.handlers |= self._handlers | self._handlers_of(number, worker)
        if self._signals.stop.is_set():
            _signal(worker, signal.SIGTERM)
        status = await process.wait()
        connection.close()
        del self._workers[number]
        self._exited_metrics.on_exit(number)
        if worker.error:
            self._failures.setdefault(number, worker.error)
        return f"{describe_exit(status)}: {worker.error}" if worker.error else describe_exit(status)

    async def _should_restart(self, number: int, exit_text: str) -> bool:
        """Whether to restart a worker that has exited.

        Before any worker has listened, wait until one does, or until all have failed.
        """
        signals = self._signals
        if not signals.startup_decided.is_set():
            self._failures.setdefault(number, f"worker {number} {exit_text}")
            if len(self._failures) == len(self._numbers):
                signals.startup_failed = True
                signals.stop.set()
                signals.startup_decided.set()
        await signals.startup_decided.wait()
        return not signals.stop.is_set()

    # RPC handlers

    def _handlers_of(self, number: int, worker: _Worker) -> dict[str, Handler]:
        async def begin(_: bytes) -> bytes:
            worker.config = self.config
            return bootstrap.encode(self.config)

        async def listening(_: bytes) -> bytes:
            worker.is_listening = True
            self._signals.startup_decided.set()
            if not self._is_ready and len(self.connections) == len(self._numbers):
                self._is_ready = True
                self._on_ready()
            if worker.config is not self.config:
                self._start_task(self._send_config(number, worker))
            if self._rejected:
                self._start_task(self._send_rejection(worker.connection))
            return b""

        async def failed(payload: bytes) -> bytes:
            worker.error = payload.decode()
            return b""

        metrics = self._exited_metrics.handlers(number)
        return metrics | {
            bootstrap.BEGIN: begin,
            bootstrap.LISTENING: listening,
            bootstrap.FAILED: failed,
        }

    async def _broadcast(self, payload: bytes) -> bytes:
        """Forward a worker's call to all workers; return their replies."""
        name, argument = _BROADCAST_REQUEST.decode(payload)
        return msgspec.msgpack.encode(await call_all(self.connections, name, argument))

    # Settings

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the current settings refer to."""
        return self.config.files

    async def apply(self, text: str, file: str) -> None:
        """Send a new text of the settings file to all workers, if it is valid."""
        del file  # It is `config.file`.
        async with self._reloading:
            try:
                self.config = await asyncio.to_thread(self._config_for, text)
            except SettingsError as error:
                await self._reject_all(error.problems)
                return
            self._rejected = ()
            listening = [it for it in self._workers.items() if it[1].is_listening]
            await asyncio.gather(*(self._send_config(*it) for it in listening[1:]))
            for it in listening[:1]:  # When the others have applied it, one logs the reload.
                await self._send_config(*it, should_log=True)

    def reject(self, problems: Sequence[Problem]) -> None:
        """Report to all workers that the settings file is invalid."""
        self._start_task(self._reject_all(problems))

    async def _reject_all(self, problems: Sequence[Problem]) -> None:
        self._rejected = problems
        connections = self.connections
        await asyncio.gather(
            *(self._send_rejection(it, should_log=it is connections[0]) for it in connections)
        )

    async def _send_rejection(self, connection: RpcConnection, *, should_log: bool = False) -> None:
        rejected = ConfigRejected(list(self._rejected), should_log=should_log)
        with contextlib.suppress(RpcError):
            await connection.call(bootstrap.REJECTED, bootstrap.encode(rejected))

    async def _send_config(self, number: int, worker: _Worker, *, should_log: bool = False) -> None:
        config = self.config
        update = bootstrap.encode(ConfigUpdate(config, should_log=should_log))
        try:
            await worker.connection.call(bootstrap.SETTINGS, update, _RELOAD_TIMEOUT_SECONDS)
        except RpcError as error:
            _LOG.error("worker %d keeps its previous settings: %s", number, error)  # noqa: TRY400 - no traceback needed
        else:
            worker.config = config


async def _spawn(
    number: int, rpc_fd: int, inherited_fds: tuple[int, ...]
) -> asyncio.subprocess.Process:
    """Start a worker process that inherits its RPC socket and listening sockets."""
    # A terminal sends Ctrl-C and its hang-up to all processes. Signals blocked here stay blocked in
    # the worker, so only the supervisor reacts to them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
    try:
        return await asyncio.create_subprocess_exec(
            *_worker_command(),
            str(rpc_fd),
            str(number),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(rpc_fd, *inherited_fds),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_SIGNALS)


def _worker_command() -> list[str]:
    """Return the command that runs this program as a worker."""
    home = Path(__file__).resolve().parents[2]
    from_home = bool(sys.path) and Path(sys.path[0]).resolve() == home
    # Otherwise a folder `proxy` in the working directory would shadow the package.
    flags = [] if from_home else ["-P"]
    return [sys.executable, *flags, "-m", "proxy", "worker"]


def _signal(worker: _Worker, number: signal.Signals) -> None:
    if worker.process.returncode is None:
        worker.process.send_signal(number)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most some seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Backoff:
    """Restart delay in seconds: 1, 2, 4 … 30, and 1 again after a stable run."""

    def __init__(self) -> None:
        self._next = _MIN_DELAY

    def next_delay(self, uptime: float) -> float:
        """Return the delay after a worker that ran for `uptime` seconds."""
        delay = _MIN_DELAY if uptime >= _STABLE_SECONDS else self._next
        self._next = min(2 * delay, _MAX_DELAY)
        return delay


def describe_exit(status: int) -> str:
    """Return how a process ended, in words.

    >>> describe_exit(1), describe_exit(-9)
    ('exited with status 1', 'was killed (SIGKILL)')
    """
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed ({signal.Signals(-status).name})"
    except ValueError:
        return f"was killed (signal {-status})"
