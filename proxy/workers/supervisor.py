"""Starts workers, restarts those that end, and stops all of them. It serves nobody itself."""

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
"""A shell's exit status for a process that a signal ended, without the signal's number."""
_BLOCKED_SIGNALS = {signal.SIGINT, signal.SIGHUP}
_GRACE_SECONDS = 30.0
"""What a worker may take to end beyond the time that it has for its requests."""
_RELOAD_TIMEOUT_SECONDS = 120.0
"""What a worker may take to read new settings: 100,000 keys take 15 seconds."""

_MIN_DELAY, _MAX_DELAY = 1.0, 30.0
_STABLE_SECONDS = 60.0
"""Seconds that a worker has lived after which the next one is not held up for the ones before."""

_BROADCAST_REQUEST = msgspec.msgpack.Decoder(tuple[str, bytes])


class NoWorkerError(Exception):
    """None of the workers could start; the message is what the first of them said."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One life of a worker. `has` is what it began with, `says` why it cannot serve."""

    process: asyncio.subprocess.Process
    connection: RpcConnection
    config: BootstrapConfig | None = None
    is_listening: bool = False
    error: str = ""


@dataclass(slots=True)
class _Signals:
    """What comes from outside: to stop, and to read the file again."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    startup_decided: asyncio.Event = field(default_factory=asyncio.Event)
    """It is clear whether a worker can serve at all."""
    startup_failed: bool = False


class Supervisor:
    """Keeps `count` workers running with `orders` until a signal ends it.

    `ready` is called once all of them listen for the first time. `anew` gives orders of another
    text of the settings file: it is called in a thread, and raises `SettingsError`. `handlers`
    answer workers besides. It can follow that file (see `reloading.following`). `drained` is
    called when workers cease to take connections.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
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
        """The lines of those that listen."""
        return [it.connection for it in self._workers.values() if it.is_listening]

    async def run(self) -> None:
        """Do all of it; raises `NoWorkerError`."""
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
            # Not by the signal itself: the first process of a container would live on.
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

    # A worker's lives

    async def _supervise(self, number: int) -> None:
        """Start a worker again and again."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while not self._signals.stop.is_set():
            began = loop.time()
            exit_text = await self._run_once(number)
            if not await self._should_restart(number, exit_text):
                return
            pause = backoff.next_delay(loop.time() - began)
            _LOG.error("worker %d %s; it is started again in %g s", number, exit_text, pause)
            await _wait(self._signals.stop, pause)

    async def _run_once(self, number: int) -> str:
        """Have a worker live; gives how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                async with self._spawning:
                    process = await _spawn(theirs.fileno(), self.config.inherited_fds)
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
        """Tell whether a worker that ended is to be started again.

        Where none has ever listened, that is clear once one does, or all have ended.
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

    # What a worker calls

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

        counts = self._exited_metrics.handlers(number)
        return counts | {
            bootstrap.BEGIN: begin,
            bootstrap.LISTENING: listening,
            bootstrap.FAILED: failed,
        }

    async def _broadcast(self, payload: bytes) -> bytes:
        """Ask all workers something for one of them."""
        name, argument = _BROADCAST_REQUEST.decode(payload)
        return msgspec.msgpack.encode(await call_all(self.connections, name, argument))

    # Settings

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the settings in force name."""
        return self.config.files

    async def apply(self, text: str, file: str) -> None:
        """Have all workers take a text, if it is good."""
        del file  # It is the one that the orders name.
        async with self._reloading:
            try:
                self.config = await asyncio.to_thread(self._config_for, text)
            except SettingsError as error:
                await self._reject_all(error.problems)
                return
            self._rejected = ()
            listening = [it for it in self._workers.items() if it[1].is_listening]
            await asyncio.gather(*(self._send_config(*it) for it in listening[1:]))
            for it in listening[:1]:  # Once all have taken it, one tells the operator.
                await self._send_config(*it, should_log=True)

    def reject(self, problems: Sequence[Problem]) -> None:
        """Have all workers know that there is no text that could be taken."""
        self._start_task(self._reject_all(problems))

    async def _reject_all(self, problems: Sequence[Problem]) -> None:
        self._rejected = problems
        lines = self.connections
        await asyncio.gather(*(self._send_rejection(it, should_log=it is lines[0]) for it in lines))

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
            _LOG.error("worker %d goes on with the settings it had: %s", number, error)  # noqa: TRY400 - no traceback needed
        else:
            worker.config = config


async def _spawn(rpc_fd: int, inherited_fds: tuple[int, ...]) -> asyncio.subprocess.Process:
    """Start a worker, which inherits an end of a line, and other sockets."""
    # Ctrl-C goes to all processes of a terminal, and so does its end. What is blocked here stays
    # blocked in a worker: it is the supervisor who tells it what to do.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
    try:
        return await asyncio.create_subprocess_exec(
            *_worker_command(),
            str(rpc_fd),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(rpc_fd, *inherited_fds),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_SIGNALS)


def _worker_command() -> list[str]:
    """Give the command of a worker: this very program."""
    home = Path(__file__).resolve().parents[2]
    from_home = bool(sys.path) and Path(sys.path[0]).resolve() == home
    # Else a folder `proxy` where the gateway was started would be taken for ours.
    flags = [] if from_home else ["-P"]
    return [sys.executable, *flags, "-m", "proxy", "worker"]


def _signal(worker: _Worker, number: signal.Signals) -> None:
    if worker.process.returncode is None:
        worker.process.send_signal(number)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Backoff:
    """Seconds until a worker is started again: 1, 2, 4 up to 30; 1 after one that lived long."""

    def __init__(self) -> None:
        self._next = _MIN_DELAY

    def next_delay(self, lived: float) -> float:
        """Give how long to wait after a worker that lived so many seconds."""
        delay = _MIN_DELAY if lived >= _STABLE_SECONDS else self._next
        self._next = min(2 * delay, _MAX_DELAY)
        return delay


def describe_exit(status: int) -> str:
    """Say how a process ended.

    >>> ending(1), ending(-9)
    ('ended with status 1', 'was ended by SIGKILL')
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
