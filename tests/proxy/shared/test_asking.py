"""What is asked of the dictionary that processes share can go through a socket."""

from __future__ import annotations

import msgspec

from proxy.shared.asking import Enter, Get, Op, Swap


def test_operations_can_be_sent_and_read() -> None:
    ops: list[Op] = [Get("k"), Swap("k", None, b"\x00", 1.5), Enter("s", b"m", 2.0, 3)]
    sent = msgspec.msgpack.encode(ops)
    assert msgspec.msgpack.decode(sent, type=list[Op]) == ops
