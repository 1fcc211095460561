"""One worker asks all."""

from __future__ import annotations

import socket

import pytest

from proxy.workers import bootstrap as words
from proxy.workers.fellows import Fellows
from proxy.workers.rpc import Line, LineError


async def test_one_asks_all_through_the_supervisor() -> None:
    async def everybody(payload: bytes) -> bytes:
        assert payload == b"\x92\xa5count\xc4\x01x"
        return b"\x92\xc4\x011\xc4\x012"

    ours, theirs = socket.socketpair()
    supervisor, line = await Line.over(ours, {words.ALL: everybody}), await Line.over(theirs)
    assert await Fellows(line).ask("count", b"x") == [b"1", b"2"]
    supervisor.close()
    await line.ended.wait()
    with pytest.raises(LineError):
        await Fellows(line).ask("count")
