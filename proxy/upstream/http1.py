"""HTTP/1.1 to providers by aiohttp's own parts: the one module that uses the client's internals.

**A short POST in one write.** `FastPoster` writes head and body at once, and then uses aiohttp's
connection pool, parser and `ClientResponse`. The rest of `ClientSession.request` (cookies,
redirects, authorization, proxies, a task that writes the body) is of no use to such a request, and
costs more than everything else in relaying a small answer.

**A read budget.** `ReadBudget` bounds what all connections read ahead. What has been read but not
consumed stays in memory, once per connection: an answer whose reader waits for memory keeps its own
share. Up to `_FEW_CONNECTIONS` read `_MAX_READ` bytes at a time. With more, each gets an equal
share of `_READ_AHEAD`, but at least `_MIN_READ`. aiohttp pauses a connection that has twice its
low-water mark unread (`read_bufsize`), which is a fraction of the read size. The invariant: with
more than `_FEW_CONNECTIONS`, one read of each adds up to at most `_READ_AHEAD` bytes, as long as
the share is not less than `_MIN_READ`.

The release of aiohttp is pinned. `tests/proxy/upstream/test_http1.py` compares requests sent this
way with those of `ClientSession.request`.
"""

from __future__ import annotations

import asyncio
import re
import select
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aiohttp import (
    ClientError,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    StreamReader,
)
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import TimerNoop
from cachetools import LRUCache
from yarl import URL

if TYPE_CHECKING:
    from aiohttp import BaseConnector
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that no line of a request's head may contain. Line feeds are counted instead."""
_MAX_POOL_KEYS = 1024
_NO_TIMER = TimerNoop()

_FEW_CONNECTIONS = 16
"""Connections that may all read as much as possible."""
_READ_AHEAD = 16 * 1024 * 1024
"""Bytes that more connections than that may read ahead together."""
_MAX_READ = 256 * 1024
"""Largest read size in bytes: a larger one saves no time, half of it costs a tenth more."""
_MIN_READ = 16 * 1024
"""Smallest read size in bytes: below it the overhead per read dominates."""
_LOW_WATER_DIVISOR = 4
"""The low-water mark is the read size divided by this.

With many connections it is `_MIN_READ` divided by this, because many more may be opened before one
has read its response to the end.
"""

_Origin = tuple[str, str | None, int | None]
"""Scheme, host and port."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Timeouts and limits for reading a response, by aiohttp's names."""

    timeout: ClientTimeout
    max_line_size: int
    max_field_size: int


class FastPoster:
    """Sends short POST requests over the connection pool of a session."""

    def __init__(self, session: ClientSession, limits: ReadLimits) -> None:
        self._session = session
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._pool_keys: LRUCache[_Origin, ClientRequest] = LRUCache(_MAX_POOL_KEYS)

    async def post(self, url: URL, headers: Mapping[str, str], body: bytes) -> ClientResponse:
        """Send a request that fits the connection's write buffer; return the unread response.

        Raises what `ClientSession.request` raises.
        """
        origin = self._pool_key(url)
        written = _encode_head(url, origin.headers["host"], headers, len(body)) + body
        connection = await self._connect(origin)
        try:
            protocol, reading = connection.protocol, self._limits
            assert protocol is not None  # noqa: S101 - the connection was not closed yet
            assert protocol.transport is not None  # noqa: S101 - the connection was not closed yet
            protocol.set_response_params(
                timer=None,
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=reading.timeout.sock_read,
                max_line_size=reading.max_line_size,
                max_field_size=reading.max_field_size,
            )
            protocol.transport.write(written)
            protocol.start_timeout()
            return await self._receive_head(url, origin, connection, len(written))
        except BaseException:
            connection.close()
            raise

    def _pool_key(self, url: URL) -> ClientRequest:
        """Return the cached `ClientRequest` that serves as the pool key for this origin."""
        key = url.scheme, url.raw_host, url.port
        if (known := self._pool_keys.get(key)) is None:
            known = ClientRequest("POST", url.origin(), loop=self._loop, session=self._session)
            self._pool_keys[key] = known
        return known

    async def _connect(self, origin: ClientRequest) -> Connection:
        connector = self._session.connector
        assert connector is not None  # noqa: S101 - only a closed session has none
        try:
            return await connector.connect(origin, [], self._limits.timeout)
        except TimeoutError as error:
            raise ConnectionTimeoutError from error
        except ClientError:
            raise
        except OSError as error:
            raise ClientOSError(*error.args) from error

    async def _receive_head(
        self, url: URL, origin: ClientRequest, connection: Connection, size: int
    ) -> ClientResponse:
        """Return the response once its head has arrived."""
        response = ClientResponse(
            "POST",
            url,
            writer=None,
            continue100=None,
            timer=_NO_TIMER,
            request_info=origin.request_info,
            traces=[],
            loop=self._loop,
            session=self._session,
            stream_writer=cast("AbstractStreamWriter", _SentWriter(size)),
        )
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise


class _SentWriter(NamedTuple):
    """The one attribute that a response reads of the request's writer, here already done."""

    output_size: int


def _encode_head(url: URL, host: str, headers: Mapping[str, str], length: int) -> bytes:
    """Return the head of a request; raise `ValueError` for a value that would break its lines."""
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"host: {host}", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\n".join(lines)
    if head.count("\n") >= len(lines) or _CONTROL_CHARACTERS.search(head):
        raise ValueError
    # Header bytes that are not UTF-8 were decoded with surrogates, and are sent as they arrived.
    return f"{head}\n\n".replace("\n", "\r\n").encode(errors="surrogateescape")


class ReadBudget:
    """Shares the memory for reading ahead among all provider connections.

    `received_bytes` counts what all connections have read so far.
    """

    def __init__(self) -> None:
        self.open_connections = 0
        self.received_bytes = 0
        # One buffer for all connections: what was read is copied out before the next read.
        self._buffer = memoryview(bytearray(_MAX_READ))

    @property
    def read_size(self) -> int:
        """Bytes that a connection may read at a time now."""
        if self.open_connections <= _FEW_CONNECTIONS:
            return _MAX_READ
        return max(_MIN_READ, min(_MAX_READ // 2, _READ_AHEAD // self.open_connections))

    @property
    def low_water(self) -> int:
        """Unread bytes down to which a paused connection must be consumed before it reads on."""
        is_busy = self.open_connections > _FEW_CONNECTIONS
        return (_MIN_READ if is_busy else _MAX_READ) // _LOW_WATER_DIVISOR

    @property
    def buffer(self) -> memoryview:
        """The buffer for the next read."""
        return self._buffer[: self.read_size]

    def copy_out(self, size: int) -> bytes:
        """Return a copy of what was read, and count it."""
        self.received_bytes += size
        return bytes(self._buffer[:size])

    def attach(self, connector: BaseConnector) -> None:
        """Make every new connection of a connector read within this budget."""
        # aiohttp has no public way to choose the read size.
        connector._factory = partial(self.new_handler, asyncio.get_running_loop())  # noqa: SLF001 - see above

    def new_handler(self, loop: asyncio.AbstractEventLoop) -> ResponseHandler:
        """Return the protocol for a new connection."""
        return _Handler(loop, self)


async def read_arrived(content: StreamReader) -> bytes:
    """Return what has arrived of a body, also if its connection was lost meanwhile; b"" at the end.

    aiohttp would raise the error of the connection at once, and the bytes that were read ahead of a
    busy reader would be lost.
    """
    # aiohttp has no public way to read them after an error.
    if content.exception() is not None and content._buffer:  # noqa: SLF001 - see above
        return content._read_nowait(-1)  # noqa: SLF001 - see above
    return await content.readany()


def idle_connections(connector: BaseConnector) -> int:
    """Return the number of open connections that no request uses."""
    # aiohttp has no public way to ask for them.
    return sum(len(idle) for idle in connector._conns.values())  # noqa: SLF001 - see above


class _Handler(ResponseHandler):
    """aiohttp's protocol, whose transport reads through `_BudgetedProtocol`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: ReadBudget) -> None:
        super().__init__(loop)
        self._budget = budget

    def is_connected(self) -> bool:
        """Return whether the pool may use this connection for another request.

        Bytes that arrive while no request is pending would be taken for the next response. aiohttp
        checks for them when a connection is returned to the pool, not when it is taken out again.
        If the socket is readable, bytes or a close have arrived that the loop has not seen yet.
        """
        used_up = not super().is_connected() or self.should_close
        return not (used_up or _is_readable(self.transport))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._budget.open_connections += 1
        transport.set_protocol(_BudgetedProtocol(self, self._budget))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._budget.open_connections -= 1
        super().connection_lost(exc)

    def set_response_params(self, **params: Any) -> None:
        # aiohttp pauses reading at twice this many unread bytes.
        super().set_response_params(**{**params, "read_bufsize": self._budget.low_water})


def _is_readable(transport: asyncio.BaseTransport | None) -> bool:
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _BudgetedProtocol(asyncio.BufferedProtocol):
    """Passes on what is read; unlike aiohttp's own protocol it decides how much that is."""

    def __init__(self, handler: _Handler, budget: ReadBudget) -> None:
        self._handler = handler
        self._budget = budget

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._budget.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._handler.data_received(self._budget.copy_out(nbytes))

    def eof_received(self) -> None:
        self._handler.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
