"""Look-ups of host names, in threads of their own and with a share for each caller.

A look-up waits for a name server that a caller may control, and its thread cannot be interrupted.
asyncio's own pool, or libuv's four threads, would let one caller's slow names delay everything. So:

- A look-up runs in a thread of its own. Hosts that the operator chose have `_OPERATOR_THREADS`.
- Hosts that callers name have `_CALLER_THREADS` together, one caller at most `_THREADS_PER_CALLER`
  of them. More of its names wait, at most `_MAX_WAITING`; others fail at once.
- A look-up fails after `timeouts.connect`, the wait for a thread included. Its thread counts until
  it has ended.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUP_CALLER: ContextVar[str] = ContextVar("lookup_caller", default="")
"""The caller whose request is being served. Set by the auth middleware, inherited by its job."""
OPERATOR_HOST: ContextVar[bool] = ContextVar("operator_host", default=False)
"""Whether the operator or the provider's adapter chose the host. Set for each exchange."""

_OPERATOR_THREADS = 16
_CALLER_THREADS = 64
_THREADS_PER_CALLER = 4
_MAX_WAITING = 100
"""Names of one caller that wait for a thread."""

Getaddrinfo = Callable[..., list[Any]]


class Slots:
    """Threads in use: `total` at most, and `each` for one owner, of whose names `waiting` wait."""

    def __init__(self, total: int, each: int, waiting: int = _MAX_WAITING) -> None:
        self._all = asyncio.Semaphore(total)
        self._each = each
        self._most = each + waiting
        self._owned: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @property
    def owners(self) -> int:
        """The number of owners with threads in use, or waiting for one."""
        return len(self._owned)

    async def acquire(self, owner: str) -> None:
        """Wait for a thread; raises `OSError` if too many of the owner's names wait already."""
        if self._users[owner] >= self._most:
            raise OSError("too many host names are being looked up")
        self._users[owner] += 1
        owned = self._owned.setdefault(owner, asyncio.Semaphore(self._each))
        try:
            await owned.acquire()
        except BaseException:
            self._leave(owner)
            raise
        try:
            await self._all.acquire()
        except BaseException:
            owned.release()
            self._leave(owner)
            raise

    def release(self, owner: str) -> None:
        """Return a thread that has ended."""
        self._all.release()
        self._owned[owner].release()
        self._leave(owner)

    def _leave(self, owner: str) -> None:
        self._users[owner] -= 1
        if not self._users[owner]:
            del self._users[owner], self._owned[owner]


class NameLookup(AbstractResolver):
    """aiohttp's resolver, for all connection pools."""

    default_getaddrinfo: Getaddrinfo = staticmethod(socket.getaddrinfo)
    """Replaced in tests."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._getaddrinfo = self.default_getaddrinfo
        self._operator_slots = Slots(_OPERATOR_THREADS, _OPERATOR_THREADS)
        self._caller_slots = Slots(_CALLER_THREADS, _THREADS_PER_CALLER)

    @property
    def owners(self) -> int:
        """The number of callers with a thread in use, or names that wait for one."""
        return self._caller_slots.owners

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host name; raises `OSError`, or `TimeoutError` in time."""
        is_operators = OPERATOR_HOST.get()
        slots = self._operator_slots if is_operators else self._caller_slots
        owner = "" if is_operators else LOOKUP_CALLER.get()
        async with asyncio.timeout(self._timeout):
            await slots.acquire(owner)
            found = self._start(host, port, family, lambda: slots.release(owner))
            return _results(host, port, await found)

    def _start(
        self, host: str, port: int, family: int, release: Callable[[], None]
    ) -> asyncio.Future[list[Any]]:
        """Start the thread of a look-up; `release` is called in the loop when it has ended."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()

        def end(found: list[Any] | None, error: OSError | None) -> None:
            release()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(found or [])

        def look_up() -> None:
            found: list[Any] | None = None
            failure: OSError | None = None
            try:
                found = self._getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
                )
            except (OSError, UnicodeError) as error:
                failure = error if isinstance(error, OSError) else OSError("invalid host name")
            with suppress(RuntimeError):  # The loop is closed: the process ends.
                loop.call_soon_threadsafe(end, found, failure)

        # A daemon: a name server that does not answer must not keep the process from ending.
        threading.Thread(target=look_up, name="name-lookup", daemon=True).start()
        return future

    async def close(self) -> None:
        """Leave the threads to end by themselves."""


def _results(host: str, port: int, found: list[Any]) -> list[ResolveResult]:
    return [
        ResolveResult(
            hostname=host,
            host=_numeric(address),
            port=port,
            family=family,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for family, _, proto, _, address in found
    ]


def _numeric(address: tuple[Any, ...]) -> str:
    """Return the numeric address of a socket address, with the scope of a link-local one."""
    if len(address) == 4 and address[3]:  # noqa: PLR2004 - IPv6: host, port, flow, scope
        return f"{address[0]}%{address[3]}"
    return str(address[0])
