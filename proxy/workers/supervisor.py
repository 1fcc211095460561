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
from proxy.workers.bootstrap import Change, Orders, Refusal
from proxy.workers.metrics import GoneCounts
from proxy.workers.rpc import ALL, Handler, Line, LineError, call_all
from proxy.workers.shared_state import ASK, Hub

_LOG = logging.getLogger("easel")

_SIGNALLED = 128
"""A shell's exit status for a process that a signal ended, without the signal's number."""
_OURS = {signal.SIGINT, signal.SIGHUP}
_GRACE_SECONDS = 30.0
"""What a worker may take to end beyond the time that it has for its requests."""
_READING_SECONDS = 120.0
"""What a worker may take to read new settings: 100,000 keys take 15 seconds."""

_FIRST, _MOST = 1.0, 30.0
_LONG = 60.0
"""Seconds that a worker has lived after which the next one is not held up for the ones before."""

_ASKED = msgspec.msgpack.Decoder(tuple[str, bytes])


class NoWorkerError(Exception):
    """None of the workers could start; the message is what the first of them said."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One life of a worker. `has` is what it began with, `says` why it cannot serve."""

    process: asyncio.subprocess.Process
    line: Line
    has: Orders | None = None
    listens: bool = False
    says: str = ""


@dataclass(slots=True)
class _Signals:
    """What comes from outside: to stop, and to read the file again."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It is clear whether a worker can serve at all."""
    gave_up: bool = False


class Supervisor:
    """Keeps `count` workers running with `orders` until a signal ends it.

    `ready` is called once all of them listen for the first time. `anew` gives orders of another
    text of the settings file: it is called in a thread, and raises `SettingsError`. `handlers`
    answer workers besides. It can follow that file (see `reloading.following`). `drained` is
    called when workers cease to take connections.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        orders: Orders,
        count: int,
        *,
        hub: Hub,
        ready: Callable[[], None],
        anew: Callable[[str], Orders],
        shutdown_seconds: float,
        drain_seconds: float = 0.0,
        drained: Callable[[], None] = lambda: None,
        handlers: dict[str, Handler] | None = None,
    ) -> None:
        self.orders = orders
        self._numbers = range(1, count + 1)
        self._hub = hub
        self._ready = ready
        self._anew = anew
        self._refusal: Sequence[Problem] = ()
        self._counts = GoneCounts()
        self._drain_seconds, self._drained = drain_seconds, drained
        self._patience = shutdown_seconds + _GRACE_SECONDS
        self._handlers = {**(handlers or {}), ALL: self._all}
        self._workers: dict[int, _Worker] = {}
        self._failed: dict[int, str] = {}
        self._is_ready = False
        self._signals = _Signals()
        self._spawning, self._reading = asyncio.Lock(), asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def lines(self) -> list[Line]:
        """The lines of those that listen."""
        return [it.line for it in self._workers.values() if it.listens]

    async def run(self) -> None:
        """Do all of it; raises `NoWorkerError`."""
        self._on_signals()
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(number)) for number in self._numbers]
            await self._signals.stop.wait()
            asyncio.get_running_loop().call_later(self._drain_seconds, self._drained)
            for worker in self._workers.values():
                _signal(worker, signal.SIGTERM)
            _, late = await asyncio.wait(keepers, timeout=self._patience)
            if late:
                self._kill()
        if self._signals.gave_up:
            raise NoWorkerError(next(iter(self._failed.values())))

    # Signals

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        if self._signals.stop.is_set():
            self._kill()
            # Not by the signal itself: the first process of a container would live on.
            os._exit(_SIGNALLED + number)
        self._signals.stop.set()
        self._signals.settled.set()

    def _kill(self) -> None:
        for worker in self._workers.values():
            _signal(worker, signal.SIGKILL)

    def _soon(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # A worker's lives

    async def _keep(self, number: int) -> None:
        """Start a worker again and again."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while not self._signals.stop.is_set():
            began = loop.time()
            how = await self._life(number)
            if not await self._goes_on(number, how):
                return
            pause = backoff.after(loop.time() - began)
            _LOG.error("worker %d %s; it is started again in %g s", number, how, pause)
            await _passed(self._signals.stop, pause)

    async def _life(self, number: int) -> str:
        """Have a worker live; gives how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                async with self._spawning:
                    process = await _spawned(theirs.fileno(), self.orders.inherited)
            except OSError as error:
                ours.close()
                return f"could not be started: {error.strerror}"
        line = await Line.over(ours)
        line.immediate[ASK] = self._hub.ask
        worker = self._workers[number] = _Worker(process, line)
        line.handlers |= self._handlers | self._handlers_of(number, worker)
        if self._signals.stop.is_set():
            _signal(worker, signal.SIGTERM)
        status = await process.wait()
        line.close()
        del self._workers[number]
        self._counts.ended(number)
        if worker.says:
            self._failed.setdefault(number, worker.says)
        return f"{ending(status)}: {worker.says}" if worker.says else ending(status)

    async def _goes_on(self, number: int, how: str) -> bool:
        """Tell whether a worker that ended is to be started again.

        Where none has ever listened, that is clear once one does, or all have ended.
        """
        signals = self._signals
        if not signals.settled.is_set():
            self._failed.setdefault(number, f"worker {number} {how}")
            if len(self._failed) == len(self._numbers):
                signals.gave_up = True
                signals.stop.set()
                signals.settled.set()
        await signals.settled.wait()
        return not signals.stop.is_set()

    # What a worker calls

    def _handlers_of(self, number: int, worker: _Worker) -> dict[str, Handler]:
        async def begin(_: bytes) -> bytes:
            worker.has = self.orders
            return bootstrap.written(self.orders)

        async def listening(_: bytes) -> bytes:
            worker.listens = True
            self._signals.settled.set()
            if not self._is_ready and len(self.lines) == len(self._numbers):
                self._is_ready = True
                self._ready()
            if worker.has is not self.orders:
                self._soon(self._tell(number, worker))
            if self._refusal:
                self._soon(self._refuse(worker.line))
            return b""

        async def failed(payload: bytes) -> bytes:
            worker.says = payload.decode()
            return b""

        counts = self._counts.handlers(number)
        return counts | {
            bootstrap.BEGIN: begin,
            bootstrap.LISTENING: listening,
            bootstrap.FAILED: failed,
        }

    async def _all(self, payload: bytes) -> bytes:
        """Ask all workers something for one of them."""
        name, about = _ASKED.decode(payload)
        return msgspec.msgpack.encode(await call_all(self.lines, name, about))

    # Settings

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the settings in force name."""
        return self.orders.files

    async def apply(self, text: str, file: str) -> None:
        """Have all workers take a text, if it is good."""
        del file  # It is the one that the orders name.
        async with self._reading:
            try:
                self.orders = await asyncio.to_thread(self._anew, text)
            except SettingsError as error:
                await self._refused(error.problems)
                return
            self._refusal = ()
            told = [it for it in self._workers.items() if it[1].listens]
            await asyncio.gather(*(self._tell(*it) for it in told[1:]))
            for it in told[:1]:  # Once all have taken it, one tells the operator.
                await self._tell(*it, aloud=True)

    def reject(self, problems: Sequence[Problem]) -> None:
        """Have all workers know that there is no text that could be taken."""
        self._soon(self._refused(problems))

    async def _refused(self, problems: Sequence[Problem]) -> None:
        self._refusal = problems
        lines = self.lines
        await asyncio.gather(*(self._refuse(it, aloud=it is lines[0]) for it in lines))

    async def _refuse(self, line: Line, *, aloud: bool = False) -> None:
        refusal = Refusal(list(self._refusal), aloud=aloud)
        with contextlib.suppress(LineError):
            await line.call(bootstrap.REFUSED, bootstrap.written(refusal))

    async def _tell(self, number: int, worker: _Worker, *, aloud: bool = False) -> None:
        orders = self.orders
        change = bootstrap.written(Change(orders, aloud=aloud))
        try:
            await worker.line.call(bootstrap.SETTINGS, change, _READING_SECONDS)
        except LineError as error:
            _LOG.error("worker %d goes on with the settings it had: %s", number, error)  # noqa: TRY400 - no traceback needed
        else:
            worker.has = orders


async def _spawned(end: int, others: tuple[int, ...]) -> asyncio.subprocess.Process:
    """Start a worker, which inherits an end of a line, and other sockets."""
    # Ctrl-C goes to all processes of a terminal, and so does its end. What is blocked here stays
    # blocked in a worker: it is the supervisor who tells it what to do.
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        return await asyncio.create_subprocess_exec(
            *_command(), str(end), stdin=asyncio.subprocess.DEVNULL, pass_fds=(end, *others)
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)


def _command() -> list[str]:
    """Give the command of a worker: this very program."""
    home = Path(__file__).resolve().parents[2]
    from_home = bool(sys.path) and Path(sys.path[0]).resolve() == home
    # Else a folder `proxy` where the gateway was started would be taken for ours.
    safely = [] if from_home else ["-P"]
    return [sys.executable, *safely, "-m", "proxy", "worker"]


def _signal(worker: _Worker, number: signal.Signals) -> None:
    if worker.process.returncode is None:
        worker.process.send_signal(number)


async def _passed(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Backoff:
    """Seconds until a worker is started again: 1, 2, 4 up to 30; 1 after one that lived long."""

    def __init__(self) -> None:
        self._next = _FIRST

    def after(self, lived: float) -> float:
        """Give how long to wait after a worker that lived so many seconds."""
        pause = _FIRST if lived >= _LONG else self._next
        self._next = min(2 * pause, _MOST)
        return pause


def ending(status: int) -> str:
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
