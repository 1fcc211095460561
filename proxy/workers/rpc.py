"""A line between two processes: either side calls the other by a name, over one socket.

A frame is 4 bytes of length, big-endian, then MessagePack: `[kind, number, name, payload]`. The
answer to a call has its number. Calls of one side are begun in the order in which they were made.
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
"""The most of one frame: the text of large settings."""
_MAX_UNSENT_BYTES = 64 * _MB
"""What waits for the other side to read, at most: beyond, nothing more is sent."""
DEFAULT_TIMEOUT_SECONDS = 10.0
"""How long an answer may take where nothing else is said."""
BROADCAST = "all"
"""The call that has the supervisor ask all workers: `[name, payload]`, answered by a list."""

_FRAME = msgspec.msgpack.Decoder(tuple[int, int, str, bytes])

Handler = Callable[[bytes], Awaitable[bytes]]
SyncHandler = Callable[[bytes], bytes]
"""A handler that waits for nothing: it answers without a task of its own."""


class RpcError(Exception):
    """A call has no answer: the other side failed, is gone, or took too long."""


class RpcConnection(asyncio.Protocol):
    """One side's end. `handlers` answer what the other side calls; `ended` is set at its end.

    What is sent in one turn of the loop goes out together.
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

    @classmethod
    async def from_socket(
        cls, sock: socket.socket, handlers: Mapping[str, Handler] | None = None
    ) -> RpcConnection:
        """Open a line over one end of a pair of sockets, which is the line's from now on."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(lambda: cls(handlers), sock=sock)
        return connection

    async def call(
        self, name: str, payload: bytes = b"", timeout: float = DEFAULT_TIMEOUT_SECONDS
    ) -> bytes:
        """Have the other side's handler of a name answer; raises `LineError`."""
        number, loop = next(self._numbers), asyncio.get_running_loop()
        self._send(_CALL, number, name, payload)
        answer: asyncio.Future[bytes] = loop.create_future()
        self._pending[number] = answer
        timer = loop.call_later(timeout, _expire, answer, name, timeout)
        try:
            return await answer
        finally:
            timer.cancel()
            del self._pending[number]
            if answer.done() and not answer.cancelled():
                answer.exception()  # It counts as seen, also by a caller who was cancelled.

    def close(self) -> None:
        """End it, for both sides."""
        if self._transport:
            self._flush()
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # By what it can do: uvloop's is a class of its own.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell everybody who waits."""
        self._transport = None
        self.closed.set()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(RpcError("the other process is gone"))

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side must not wait for it
            kind, payload = _failure(name, error)
        self._reply(kind, number, name, payload)

    async def _run_handler(self, number: int, name: str, payload: bytes) -> None:
        try:
            kind, payload = _ANSWER, await self.handlers[name](payload)
        except Exception as error:  # noqa: BLE001 - the same
            kind, payload = _failure(name, error)
        self._reply(kind, number, name, payload)

    def _reply(self, kind: int, number: int, name: str, payload: bytes) -> None:
        try:
            self._send(kind, number, name, payload)
        except RpcError:
            self._abort()  # The other side has gone, or takes nothing in.

    def _send(self, kind: int, number: int, name: str, payload: bytes) -> None:
        frame = msgspec.msgpack.encode((kind, number, name, payload))
        if self._transport is None or self._transport.is_closing():
            raise RpcError("the other process is gone")
        if len(frame) > MAX_FRAME_BYTES:
            raise RpcError(f"{name!r} has more than {MAX_FRAME_BYTES // _MB} MB")
        if self._transport.get_write_buffer_size() + len(self._unsent) > _MAX_UNSENT_BYTES:
            raise RpcError("the other process takes nothing in")
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += len(frame).to_bytes(_HEADER_BYTES) + frame

    def _flush(self) -> None:
        # Another one, as the loop may keep what it is given.
        unsent, self._unsent = self._unsent, bytearray()
        if unsent and self._transport:
            self._transport.write(unsent)

    def _abort(self) -> None:
        if self._transport:
            self._transport.abort()


def _failure(name: str, error: Exception) -> tuple[int, bytes]:
    _LOG.error("%r failed, asked by another process: %s", name, traceback_summary(error))
    return _FAILURE, b""


def _expire(answer: asyncio.Future[bytes], name: str, timeout: float) -> None:
    if not answer.done():
        answer.set_exception(RpcError(f"no answer to {name!r} within {timeout:g} seconds"))


async def call_all(
    connections: Iterable[RpcConnection],
    name: str,
    payload: bytes = b"",
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> list[bytes]:
    """Call several at once; who does not answer is left out."""

    async def one(line: RpcConnection) -> bytes | None:
        try:
            return await line.call(name, payload, timeout)
        except RpcError:
            return None

    answers = await asyncio.gather(*map(one, connections))
    return [it for it in answers if it is not None]


class Peers:
    """All workers of a gateway, as one of them sees them, itself included.

    `handlers` are what this one answers when another asks all of them.
    """

    def __init__(self, connection: RpcConnection) -> None:
        self._connection = connection
        self.handlers = connection.handlers

    async def broadcast(self, name: str, payload: bytes = b"") -> list[bytes]:
        """Ask all, and give what those say who answer; raises `LineError`."""
        request = msgspec.msgpack.encode((name, payload))
        replies = await self._connection.call(BROADCAST, request)
        return msgspec.msgpack.decode(replies, type=list[bytes])
