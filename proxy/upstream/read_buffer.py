"""How far providers' connections read ahead: far while few are open, little when many are.

What has been read and not been taken yet lies in memory, once for each connection, and an answer
that finds no room waits with it. The law: of more than `_FEW`, what all read in one go is at most
`_AHEAD` bytes together, as long as that leaves each `_LEAST`.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any

from aiohttp.client_proto import ResponseHandler

_FEW = 16
_AHEAD = 16 * 1024 * 1024
_MOST = 256 * 1024
"""Bytes that one of a few connections reads in one go: more saves no time, half costs a tenth."""
_LEAST = 16 * 1024
"""The least: less than that costs more time than what comes."""
_KEPT = 4
"""How much less than one go a connection may have left over and still read on.

Of the least go where there are more than a few: many more may be opened until it has read all.
"""


class Intake:
    """Tells connections how much they may read; `opened` are all that are open.

    `received` are the bytes that all of them have read so far.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.received = 0
        # For all of them: what is read is taken out at once.
        self._buffer = memoryview(bytearray(_MOST))

    @property
    def step(self) -> int:
        """Bytes that one connection may read in one go now."""
        if self.opened <= _FEW:
            return _MOST
        return max(_LEAST, min(_MOST // 2, _AHEAD // self.opened))

    @property
    def room(self) -> memoryview:
        """Where that goes."""
        return self._buffer[: self.step]

    def taken(self, size: int) -> bytes:
        """Take out what was read."""
        self.received += size
        return bytes(self._buffer[:size])

    def connection(self, loop: asyncio.AbstractEventLoop) -> ResponseHandler:
        """Give aiohttp what is to handle one more connection."""
        return _Handler(loop, self)


class _Handler(ResponseHandler):
    """aiohttp's own, which reads through `_InSteps`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, intake: Intake) -> None:
        super().__init__(loop)
        self._intake = intake

    def is_connected(self) -> bool:
        """Tell whether it can be used once more: the pool asks.

        Where something came although nothing was asked, it would be taken for the next answer:
        aiohttp asks for that when a connection is given back, and not when it is taken again.
        Where something can be read, the loop has not seen yet that it came, or that it is closed.
        """
        used_up = not super().is_connected() or self.should_close
        return not (used_up or _can_be_read(self.transport))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._intake.opened += 1
        transport.set_protocol(_InSteps(self, self._intake))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._intake.opened -= 1
        super().connection_lost(exc)

    def set_response_params(self, **params: Any) -> None:
        # aiohttp stops reading once it holds twice as much.
        least = _MOST if self._intake.opened <= _FEW else _LEAST
        super().set_response_params(**{**params, "read_bufsize": least // _KEPT})


def _can_be_read(transport: asyncio.BaseTransport | None) -> bool:
    opened = transport.get_extra_info("socket") if transport else None
    if opened is None or opened.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(opened.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class _InSteps(asyncio.BufferedProtocol):
    """Hands on what is read; unlike aiohttp's protocol it has a say in how much that is."""

    def __init__(self, handler: _Handler, intake: Intake) -> None:
        self._handler = handler
        self._intake = intake

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._intake.room

    def buffer_updated(self, nbytes: int) -> None:
        self._handler.data_received(self._intake.taken(nbytes))

    def eof_received(self) -> None:
        self._handler.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
