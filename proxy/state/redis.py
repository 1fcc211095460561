"""The dictionary that processes share, in a Redis or Valkey of any kind, version 5 or later.

A key lies where its own name puts it: the keys of many spread over the nodes of a cluster. Time is
the servers'. What takes more than one step is a script so short that its text goes with it each
time: no server has to know it, whether it has restarted or has just taken another one's place.

No operation is sent twice: an `Add` never finds its own value. Where `SharedAway` is raised those
asked for may have been carried out, or the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxy.state.ops import (
    Add,
    Count,
    Delete,
    Enter,
    Get,
    Items,
    Leave,
    Op,
    Push,
    Put,
    SharedAway,
    Swap,
    Take,
)
from proxy.state.redis_client import RedisAway, SharedRedis
from proxy.state.redis_topology import Command

_NOTHING, _SOMETHING = b"-", b"="
"""What stands before a value that a swap tells of: nothing is another thing than an empty one."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_ADD = """
local found = redis.call('GET', KEYS[1])
if not found then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return found
"""

_SWAP = """
local old = ARGV[1] ~= '-' and string.sub(ARGV[1], 2)
if redis.call('GET', KEYS[1]) ~= old then return 0 end
if ARGV[2] == '-' then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], string.sub(ARGV[2], 2), 'PX', ARGV[3]) end
return 1
"""

_PUSH = """
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_TAKE = """
local found = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
return found
"""

_ENTER = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local is_in = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not is_in and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
return 1
"""
)

_COUNT = _NOW + "return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), '+inf')"


class RedisShared:
    """Answers from a Redis that all have who share it."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis
        self._prefix = f"{redis.prefix}:shared:"

    async def ask(self, *ops: Op) -> Sequence[Any]:
        """Answer operations in order, within Redis's timeout; raises `SharedAway`."""
        keys = [self._prefix + op.key for op in ops]
        commands = [_COMMANDS[type(op)](key, op) for key, op in zip(keys, ops, strict=True)]
        try:
            said = await self._redis.send(keys, commands)
        except RedisAway:
            raise SharedAway from None
        return [_SAID.get(type(op), _as_it_is)(it) for op, it in zip(ops, said, strict=True)]


def _ms(seconds: float) -> int:
    """Give a lifetime as Redis takes it: 0 is none."""
    return max(1, int(seconds * 1000))


def _script(text: str, key: str, *args: bytes | int) -> Command:
    return "EVAL", text, 1, key, *args


def _told(value: bytes | None) -> bytes:
    return _NOTHING if value is None else _SOMETHING + value


def _put(key: str, op: Put) -> Command:
    return "SET", key, op.value, "PX", _ms(op.seconds)


def _add(key: str, op: Add) -> Command:
    return _script(_ADD, key, op.value, _ms(op.seconds))


def _swap(key: str, op: Swap) -> Command:
    return _script(_SWAP, key, _told(op.old), _told(op.new), _ms(op.seconds))


def _push(key: str, op: Push) -> Command:
    return _script(_PUSH, key, op.item, _ms(op.seconds), op.most)


def _enter(key: str, op: Enter) -> Command:
    return _script(_ENTER, key, op.member, _ms(op.seconds), op.most)


_COMMANDS: dict[type, Callable[[str, Any], Command]] = {
    Get: lambda key, _: ("GET", key),
    Put: _put,
    Add: _add,
    Swap: _swap,
    Delete: lambda key, _: ("DEL", key),
    Push: _push,
    Items: lambda key, _: ("LRANGE", key, 0, -1),
    Take: lambda key, _: _script(_TAKE, key),
    Enter: _enter,
    Leave: lambda key, op: ("ZREM", key, op.member),
    Count: lambda key, _: _script(_COUNT, key),
}


def _as_it_is(said: Any) -> Any:
    return said


def _nothing(_: Any) -> None:
    return None


_SAID: dict[type, Callable[[Any], Any]] = {
    Put: _nothing,
    Swap: bool,
    Delete: _nothing,
    Push: _nothing,
    Enter: bool,
    Leave: _nothing,
}
"""What is made of what Redis says, where that is not the answer."""
