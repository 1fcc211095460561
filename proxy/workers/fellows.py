"""All workers of a gateway, asked by one of them."""

from __future__ import annotations

import msgspec

from proxy.workers import bootstrap as words
from proxy.workers.rpc import Line


class Fellows:
    """All workers of a gateway, as one of them sees them, itself included.

    `handlers` are what this one answers when another asks all of them.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.handlers = line.handlers

    async def ask(self, name: str, payload: bytes = b"") -> list[bytes]:
        """Ask all, and give what those say who answer; raises `LineError`."""
        asked = msgspec.msgpack.encode((name, payload))
        found = await self._line.call(words.ALL, asked)
        return msgspec.msgpack.decode(found, type=list[bytes])
