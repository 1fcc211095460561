"""Sends a short request in one write, by aiohttp's own pool of connections, parser and response.

What `ClientSession.request` makes of every request beside that (cookies, redirects, authorization,
proxies, a task that writes the body) is of no use to a short POST, and costs more than all the rest
of relaying a small answer. The parts are those that a session puts together itself; the release of
aiohttp is pinned, and `tests/proxy/upstream/test_fast_post.py` holds both ways against each other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

from aiohttp import (
    ClientError,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
)
from aiohttp.helpers import TimerNoop
from cachetools import LRUCache
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""What may not stand in the head of a request, beside the ends of its lines."""
_MOST_ORIGINS = 1024
_NO_TIMER = TimerNoop()

_Origin = tuple[str, str | None, int | None]
"""Scheme, host and port."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How answers are read, in the words of aiohttp."""

    timeout: ClientTimeout
    max_line_size: int
    max_field_size: int


class Poster:
    """Sends short requests over the connections of a session."""

    def __init__(self, session: ClientSession, reading: Reading) -> None:
        self._session = session
        self._reading = reading
        self._loop = asyncio.get_running_loop()
        self._origins: LRUCache[_Origin, ClientRequest] = LRUCache(_MOST_ORIGINS)

    async def post(self, url: URL, headers: Mapping[str, str], body: bytes) -> ClientResponse:
        """Send a request that the connection's buffer can take whole; give the response, unread.

        Raises what `ClientSession.request` raises.
        """
        origin = self._origin(url)
        written = _head(url, origin.headers["host"], headers, len(body)) + body
        connection = await self._connected(origin)
        try:
            protocol, reading = connection.protocol, self._reading
            assert protocol is not None  # noqa: S101 - nobody has closed it
            assert protocol.transport is not None  # noqa: S101 - nobody has closed it
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
            return await self._started(url, origin, connection, len(written))
        except BaseException:
            connection.close()
            raise

    def _origin(self, url: URL) -> ClientRequest:
        """Give what says to a pool where a request goes: one to an origin is as good as any."""
        key = url.scheme, url.raw_host, url.port
        if (known := self._origins.get(key)) is None:
            known = ClientRequest("POST", url.origin(), loop=self._loop, session=self._session)
            self._origins[key] = known
        return known

    async def _connected(self, origin: ClientRequest) -> Connection:
        connector = self._session.connector
        assert connector is not None  # noqa: S101 - it has one until it is closed
        try:
            return await connector.connect(origin, [], self._reading.timeout)
        except TimeoutError as error:
            raise ConnectionTimeoutError from error
        except ClientError:
            raise
        except OSError as error:
            raise ClientOSError(*error.args) from error

    async def _started(
        self, url: URL, origin: ClientRequest, connection: Connection, size: int
    ) -> ClientResponse:
        """Give the response once its head has come."""
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
            stream_writer=cast("AbstractStreamWriter", _Written(size)),
        )
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise


class _Written(NamedTuple):
    """What a response asks of the writer of a request that has gone already."""

    output_size: int


def _head(url: URL, host: str, headers: Mapping[str, str], length: int) -> bytes:
    """Write the head of a request; raises `ValueError` where its lines would be others."""
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"host: {host}", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\n".join(lines)
    if head.count("\n") >= len(lines) or _FORBIDDEN.search(head):
        raise ValueError
    # What came as bytes that are no text leaves as those bytes.
    return f"{head}\n\n".replace("\n", "\r\n").encode(errors="surrogateescape")
