"""RPC between two processes over a socket pair: either side calls a named handler of the other.

A frame is its length in 4 bytes, big-endian, then MessagePack: `[kind, number, name, payload]`. The
reply to a call has the number of the call. Handlers are started in the order of the calls.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import cast

import msgspec

from proxy.errors import traceback_summary

_LOG = logging.getLogger("easel")

_CALL, _ANSWER, _FAILURE = 0, 1, 2
_HEADER_BYTES = 4
_MB = 1024 * 1024
MAX_FRAME_BYTES = 256 * _MB
"""Maximum size of a frame: the text of large settings."""
_MAX_UNSENT_BYTES = 64 * _MB
"""Size of unsent data from which on calls wait until the other process has read."""
_MAX_UNSENT_REPLY_BYTES = MAX_FRAME_BYTES + _MAX_UNSENT_BYTES
"""Size of unsent data beyond which a reply ends the connection: a large call is no reason."""
DEFAULT_TIMEOUT_SECONDS = 10.0
"""Default time limit of a call."""
BROADCAST = "all"
"""Call to the supervisor: forward `[name, payload]` to all workers, return a list of replies."""

_FRAME = msgspec.msgpack.Decoder(tuple[int, int, str, bytes])

Handler = Callable[[bytes], Awaitable[bytes]]
SyncHandler = Callable[[bytes], bytes]
"""A handler that does not await, so it needs no task."""


class RpcError(Exception):
    """A call failed: the other process raised an error, is gone, or took too long."""


class RpcTimeout(RpcError):
    """The other process took too long. It may still execute the call."""


class RpcConnection(asyncio.Protocol):
    """One end of a connection. `handlers` serve the other side's calls; `closed` is set at the end.

    Frames sent in one iteration of the event loop are written together.
    """

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        self.handlers: dict[str, Handler] = dict(handlers or {})
        self.sync_handlers: dict[str, SyncHandler] = {}
        self.closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._unsent = bytearray()
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[asyncio.Future[None]] = []
        """Calls that wait until unsent data is read."""

    @classmethod
    async def from_socket(
        cls, sock: socket.socket, handlers: Mapping[str, Handler] | None = None
    ) -> RpcConnection:
        """Return a connection over one socket of a pair. It takes over the socket."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(lambda: cls(handlers), sock=sock)
        return connection

    async def call(
        self, name: str, payload: bytes = b"", timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> bytes:
        """Call a handler of the other side and return its reply; raises `RpcError`.

        Waits while too much is unsent, within the same time limit.
        """
        number, loop = next(self._numbers), asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        if self._is_full:
            await self._wait_until_read(deadline)
        self._send(_CALL, number, name, payload)
        answer: asyncio.Future[bytes] = loop.create_future()
        self._pending[number] = answer
        timer = loop.call_at(deadline, _expire, answer, name, timeout_seconds)
        try:
            return await answer
        finally:
            timer.cancel()
            del self._pending[number]
            if answer.done() and not answer.cancelled():
                answer.exception()  # Mark the error as retrieved, even if the caller was cancelled.

    def close(self) -> None:
        """Send pending frames and close the connection for both sides."""
        if self._transport:
            self._flush()
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # A cast, because uvloop's transports are no subclass of `asyncio.Transport`.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_MAX_UNSENT_BYTES)

    def resume_writing(self) -> None:
        """Wake waiting calls: the other process has read."""
        self._wake_waiting()

    def connection_lost(self, _: Exception | None) -> None:
        """Fail all pending calls."""
        self._transport = None
        self.closed.set()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(RpcError("the other process is gone"))
        self._wake_waiting()

    def data_received(self, data: bytes) -> None:
        """Handle all complete frames."""
        unread, offset = self._unread, 0
        unread += data
        while len(unread) - offset >= _HEADER_BYTES:
            begin = offset + _HEADER_BYTES
            size = int.from_bytes(unread[offset:begin])
            if size > MAX_FRAME_BYTES:
                self._abort()
                return
            if len(unread) < begin + size:
                break
            offset = begin + size
            self._handle_frame(bytes(unread[begin:offset]))
        del unread[:offset]

    def _handle_frame(self, frame: bytes) -> None:
        try:
            kind, number, name, payload = _FRAME.decode(frame)
        except msgspec.DecodeError:
            self._abort()
            return
        if kind == _CALL and name in self.sync_handlers:
            self._run_sync_handler(number, name, payload)
        elif kind == _CALL:
            task = asyncio.get_running_loop().create_task(self._run_handler(number, name, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif (answer := self._pending.get(number)) and not answer.done():
            if kind == _ANSWER:
                answer.set_result(payload)
            else:
                answer.set_exception(RpcError(f"the other process failed at {name!r}"))

    def _run_sync_handler(self, number: int, name: str, payload: bytes) -> None:
        try:
            kind, payload = _ANSWER, self.sync_handlers[name](payload)
        except Exception as error:  # noqa: BLE001 - the other side must get a reply after any error
            kind, payload = _failure(name, error)
        self._reply(kind, number, name, payload)

    async def _run_handler(self, number: int, name: str, payload: bytes) -> None:
        try:
            kind, payload = _ANSWER, await self.handlers[name](payload)
        except Exception as error:  # noqa: BLE001 - the same
            kind, payload = _failure(name, error)
        self._reply(kind, number, name, payload)

    @property
    def _unsent_bytes(self) -> int:
        buffered = self._transport.get_write_buffer_size() if self._transport else 0
        return buffered + len(self._unsent)

    @property
    def _is_full(self) -> bool:
        return self._unsent_bytes > _MAX_UNSENT_BYTES

    async def _wait_until_read(self, deadline: float) -> None:
        """Wait until the other process has read enough; raise `RpcTimeout` at the deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._is_full:
                    read = asyncio.get_running_loop().create_future()
                    self._waiting.append(read)
                    try:
                        await read
                    finally:
                        self._waiting.remove(read)
        except TimeoutError:
            raise RpcTimeout("the other process does not read") from None

    def _wake_waiting(self) -> None:
        for read in self._waiting:
            if not read.done():
                read.set_result(None)

    def _reply(self, kind: int, number: int, name: str, payload: bytes) -> None:
        if self._unsent_bytes > _MAX_UNSENT_REPLY_BYTES:
            self._abort()
            return
        try:
            self._send(kind, number, name, payload)
        except RpcError:
            self._abort()  # The other process is gone.

    def _send(self, kind: int, number: int, name: str, payload: bytes) -> None:
        frame = msgspec.msgpack.encode((kind, number, name, payload))
        if self._transport is None or self._transport.is_closing():
            raise RpcError("the other process is gone")
        if len(frame) > MAX_FRAME_BYTES:
            raise RpcError(f"{name!r} exceeds {MAX_FRAME_BYTES // _MB} MB")
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += len(frame).to_bytes(_HEADER_BYTES) + frame

    def _flush(self) -> None:
        # A new buffer, because the transport may keep the old one.
        unsent, self._unsent = self._unsent, bytearray()
        if unsent and self._transport:
            self._transport.write(unsent)
        if self._waiting and not self._is_full:
            self._wake_waiting()

    def _abort(self) -> None:
        if self._transport:
            self._transport.abort()


def _failure(name: str, error: Exception) -> tuple[int, bytes]:
    _LOG.error("RPC handler %r failed: %s", name, traceback_summary(error))
    return _FAILURE, b""


def _expire(answer: asyncio.Future[bytes], name: str, timeout_seconds: float) -> None:
    if not answer.done():
        answer.set_exception(
            RpcTimeout(f"no answer to {name!r} within {timeout_seconds:g} seconds")
        )


async def call_all(
    connections: Iterable[RpcConnection],
    name: str,
    payload: bytes = b"",
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> list[bytes]:
    """Call a handler on several connections concurrently; leave out those that fail."""

    async def call(connection: RpcConnection) -> bytes | None:
        try:
            return await connection.call(name, payload, timeout_seconds)
        except RpcError:
            return None

    replies = await asyncio.gather(*map(call, connections))
    return [reply for reply in replies if reply is not None]


class Peers:
    """All workers of a gateway, including this one, reached through the supervisor.

    `handlers` serve broadcasts of other workers in this one.
    """

    def __init__(self, connection: RpcConnection) -> None:
        self._connection = connection
        self.handlers = connection.handlers

    async def broadcast(self, name: str, payload: bytes = b"") -> list[bytes]:
        """Call a handler in all workers; return the replies of those that respond.

        Raises `RpcError` if the supervisor does not respond.
        """
        request = msgspec.msgpack.encode((name, payload))
        replies = await self._connection.call(BROADCAST, request)
        return msgspec.msgpack.decode(replies, type=list[bytes])
