"""A stranger without a key: headers without end, and connections kept alive after large ones."""

from __future__ import annotations

from .attacker import CUT, Attacker
from .storm import Storm

_START = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
_LINE = b"x-a: " + b"a" * 40_000 + b"\r\n"
_LARGE = _START + b"x-a: " + b"a" * 30_000 + b"\r\n\r\n"
_LINES, _IDLE_MB = 120, 16


async def _flood(attacker: Attacker) -> None:
    async def send(number: int) -> str:
        if number % 2:
            return await attacker.send(number, _LARGE)
        return await attacker.send(number, _START, *[_LINE] * _LINES)

    await attacker.flood(send, rate=80, at_once=1000)


STORM = Storm(
    "headers",
    "a stranger without a key: 120 header lines of 40 KB without an end, and connections kept "
    "alive after 30 KB of headers",
    _flood,
    refusals=frozenset({"431", CUT}),
    settings=f"limits: {{idle_bytes: {_IDLE_MB << 20}}}\n",
    memory_mb=_IDLE_MB,
)
