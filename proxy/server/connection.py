"""Client connections: request headers bounded as a whole, and memory of waiting connections.

aiohttp bounds each header line and the number of lines, but not their sum, and it bounds nothing
across connections. Three bounds are added here, for clients that need no gateway key:

- The headers of one request, its trailers included, have at most `limits.header_bytes`. A request
  with more gets 431, also before its last header line has arrived, and the connection is closed.
- Connections that wait for their client, for the rest of a header or for the next request, have at
  most `limits.idle_bytes` together. Above it, those that have waited longest are closed.
- A request that is not valid HTTP gets an error in OpenAI's format, with a trace id and an access
  line. It repeats nothing of what was sent.

aiohttp has no public way to count the bytes of unparsed headers, nor to replace its error
responses, so this module uses private attributes of `RequestHandler` and `Server`. The release of
aiohttp is pinned; `tests/proxy/server/test_connection.py` tests each use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from aiohttp.web_urldispatcher import MatchInfoError

from proxy.context import SETTINGS
from proxy.errors import BadRequest, GatewayError
from proxy.http.body import unsupported_encoding
from proxy.middlewares import wrap
from proxy.middlewares.access import access
from proxy.middlewares.errors import errors

_VERSIONS = (HttpVersion11, HttpVersion10)
"""The versions of HTTP that are served; the parser accepts more."""
_PIECE = 16 * 1024
"""Bytes that are parsed at a time, because headers are counted between two pieces."""
_BASE_BYTES = 16 * 1024
"""Memory of a waiting connection without the headers of a request."""
_TLS_BYTES = 48 * 1024
"""Memory of its TLS state."""
_COPIES = 3
"""Forms in which headers are in memory: as bytes, as text, and as they are being parsed."""
_TOO_MANY = "Too many headers"
"""Beginning of aiohttp's message for more than 128 header lines."""


class HeadersTooLarge(GatewayError):
    """The headers of a request have more than `limits.header_bytes` bytes."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"
    headers = {"Connection": "close"}

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"Request headers too large: request line and headers may have {limit} bytes in all "
            "(limits.header_bytes), and 128 lines. A large config can be saved in the settings."
        )


def malformed_request() -> BadRequest:
    """Return the error for bytes that are not a valid HTTP request."""
    error = BadRequest(
        "The request is not valid HTTP/1.1: check its request line, header lines and framing.",
        code="unreadable_request",
    )
    error.headers = {"Connection": "close"}
    return error


class IdleMemory:
    """Memory of the connections that wait for their client, at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[ClientConnection, int] = {}
        self.total = 0

    def record(self, connection: ClientConnection, size: int) -> None:
        """Record what a waiting connection holds since now; close others if it is too much."""
        self.total += size - self._sizes.pop(connection, 0)
        self._sizes[connection] = size  # the last in the order of waiting
        if self.total > self._limit:
            self._evict()

    def forget(self, connection: ClientConnection) -> None:
        """Forget a connection that has a request in progress, or is closed."""
        self.total -= self._sizes.pop(connection, 0)

    def _evict(self) -> None:
        """Close the connections that have waited longest."""
        for connection in list(self._sizes):
            if self.total <= self._limit:
                return
            self.forget(connection)
            if connection.is_waiting:
                connection.force_close()


class ClientConnection(RequestHandler):
    """aiohttp's protocol of a client connection, with bounds on what it holds."""

    __slots__ = (
        *("_app", "_body", "_fed", "_idle_memory", "_last", "_limit", "_refused", "_unfinished"),
    )

    def __init__(self, app: web.Application, idle_memory: IdleMemory, **options: Any) -> None:
        super().__init__(options.pop("manager"), **options)
        self._app = app
        self._limit = app[SETTINGS].limits.header_bytes
        self._idle_memory = idle_memory
        self._body: StreamReader | None = None
        """The body that is arriving."""
        self._unfinished = 0
        """Bytes of the headers that are arriving."""
        self._last = 0
        """Bytes of the last request's headers, which aiohttp keeps until the next one."""
        self._fed = 0
        """An upper bound of the bytes of the next request's headers."""
        self._refused = False

    @property
    def is_waiting(self) -> bool:
        """Whether no request is in progress."""
        return not (self._request_in_progress or self._messages)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the new connection."""
        super().connection_made(transport)
        self._record_waiting()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._idle_memory.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what was read, in pieces."""
        if len(data) <= _PIECE:
            self._receive(data)
            return
        for start in range(0, len(data), _PIECE):
            self._receive(data[start : start + _PIECE])

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; afterwards the connection waits for its client."""
        finished = await super().finish_response(request, resp, start_time)
        if self.transport is not None:
            self._record_waiting()
        return finished

    def _receive(self, data: bytes) -> None:
        """Parse the next bytes, and count those of headers."""
        if self._refused or self._close or self._force_close:
            return
        body, count = self._body, self._request_count
        body_size = body.total_raw_bytes if body else 0
        self._fed += len(data)
        super().data_received(data)
        is_paused = self._reading_paused or self._buffer_paused
        if new := self._request_count - count:
            self._start_requests(new, len(data))
        elif body and (body.total_raw_bytes != body_size or body.is_eof()):
            self._unfinished = 0
        elif not is_paused:
            # While reading is paused, what was read waits to be parsed: one read at most.
            self._add_header_bytes(len(data))
        if not is_paused and not self._unfinished:
            self._fed = len(data)
        if self._body and self._body.is_eof():
            self._body = None

    def _start_requests(self, new: int, size: int) -> None:
        """Record that the headers of the last `new` requests in the queue are complete."""
        self._idle_memory.forget(self)
        self._refuse_unsupported(new)
        message, payload = self._messages[-1]
        self._refused = isinstance(message, _ErrInfo)
        self._body = None if payload.is_eof() else payload
        self._last = min(self._unfinished + size, self._limit)
        self._unfinished = 0

    def _add_header_bytes(self, size: int) -> None:
        """Record bytes of headers, or of a body's framing and trailers, that go on."""
        self._unfinished += size
        if self._unfinished > self._limit:
            self._refuse_unfinished(HeadersTooLarge(self._limit))
        elif self.is_waiting:
            self._record_waiting()

    def _refuse_unsupported(self, new: int) -> None:
        """Replace the first of the last `new` requests that is refused by its error.

        The requests after it are dropped: where they begin is not certain.
        """
        for index in range(len(self._messages) - new, len(self._messages)):
            message, _ = self._messages[index]
            if isinstance(message, RawRequestMessage) and (error := self._refusal(message)):
                while len(self._messages) > index:
                    self._messages.pop()
                self._messages.append(_failed(error))
                return

    def _refusal(self, message: RawRequestMessage) -> GatewayError | None:
        """Return why a parsed request is refused, None if it is not."""
        if message.version not in _VERSIONS:
            return malformed_request()
        if self._fed > self._limit and header_size(message) > self._limit:
            return HeadersTooLarge(self._limit)
        return None

    def _refuse_unfinished(self, error: GatewayError) -> None:
        """Answer the request that is arriving with an error; later bytes are ignored."""
        self._refused = True
        if (body := self._body) and not body.is_eof():
            # The handler that reads the body gets the error and can answer.
            body.set_exception(error)
            body.feed_eof()
            self.close()
            return
        self._idle_memory.forget(self)
        self._request_count += 1
        self._messages.append(_failed(error))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _record_waiting(self) -> None:
        """Record what this connection holds while it waits for its client."""
        tls = _TLS_BYTES if self.ssl_context else 0
        headers = _COPIES * (self._last + self._unfinished)
        self._idle_memory.record(self, _BASE_BYTES + tls + headers)

    def _make_error_handler(
        self, err_info: _ErrInfo
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """Return the handler of a request that was not parsed: an error like any other."""
        error = _client_error(err_info.exc, self._limit)

        async def fail(_: web.Request) -> web.StreamResponse:
            raise error

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            assert isinstance(request, web.Request)  # noqa: S101 - the application makes no other
            match = MatchInfoError(web.HTTPBadRequest())
            match.add_app(self._app)
            match.freeze()
            request._match_info = match  # noqa: SLF001 - see above
            return await wrap((access, errors), fail)(request)

        return handler


def header_size(message: RawRequestMessage) -> int:
    """Return the bytes of a request's first line and headers, without optional whitespace."""
    line = len(message.method) + len(message.path) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)


def _failed(error: GatewayError) -> tuple[_ErrInfo, StreamReader]:
    """Return the entry of the request queue that is answered with an error."""
    return _ErrInfo(status=error.status, exc=error, message=""), EMPTY_PAYLOAD


def _client_error(error: BaseException, limit: int) -> GatewayError:
    """Return the error to send for one of the parser's, which quotes the request."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, LineTooLong) or _TOO_MANY in str(error):
        return HeadersTooLarge(limit)
    if isinstance(error, ContentEncodingError):
        return unsupported_encoding()
    return malformed_request()


class ClientServer(web.Server):
    """aiohttp's server, whose connections are `ClientConnection`s."""

    def __init__(self, app: web.Application, server: web.Server) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,  # noqa: SLF001 - see above
            **server._kwargs,  # noqa: SLF001 - see above
        )
        self._app = app
        self.idle_memory = IdleMemory(app[SETTINGS].limits.idle_bytes)

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        options = {"manager": self, "loop": self._loop, **self._kwargs}
        return ClientConnection(self._app, self.idle_memory, **options)


class ClientRunner(web.AppRunner):
    """aiohttp's runner of the gateway's application, with a `ClientServer`."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return ClientServer(self.app, server)


def client_runner(app: web.Application, **options: Any) -> ClientRunner:
    """Return the runner of an application, with the limits of its settings."""
    limits = app[SETTINGS].limits
    return ClientRunner(
        app,
        access_log=None,
        handle_signals=False,
        # A client that disconnects does not cancel its job, unless the operator wants that: then
        # its handler is cancelled, and the job with its last client.
        handler_cancellation=app[SETTINGS].jobs.on_disconnect == "cancel",
        max_field_size=limits.header_bytes,
        max_line_size=limits.header_bytes,
        **options,
    )
