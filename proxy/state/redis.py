"""The shared state store in Redis or Valkey, version 5 or later.

Keys are spread over the nodes of a cluster by their names. Times are by the clock of the server.
Operations of more than one step are Lua scripts, short enough to be sent as text each time, so they
also work after a restart or a failover of the server.

No operation is sent twice, so a `SetIfAbsent` never finds its own value. If `StoreUnavailable` is
raised, some or all of the operations may have been executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxy.state.ops import (
    AcquireSlot,
    Append,
    CompareAndSet,
    CountSlots,
    Delete,
    Get,
    List,
    Op,
    PopAll,
    ReleaseSlot,
    RemoveItem,
    Set,
    SetIfAbsent,
    StoreBusy,
    StoreUnavailable,
)
from proxy.state.redis_client import RedisBusy, RedisClient, RedisUnavailable
from proxy.state.redis_topology import Command

_ABSENT, _PRESENT = b"-", b"="
"""Prefixes of the arguments of `CompareAndSet`, to distinguish no value from an empty one."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_SET_IF_ABSENT = """
local found = redis.call('GET', KEYS[1])
if not found then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return found
"""

_COMPARE_AND_SET = """
local old = ARGV[1] ~= '-' and string.sub(ARGV[1], 2)
if redis.call('GET', KEYS[1]) ~= old then return 0 end
if ARGV[2] == '-' then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], string.sub(ARGV[2], 2), 'PX', ARGV[3]) end
return 1
"""

_APPEND = """
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_POP_ALL = """
local found = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
return found
"""

_ACQUIRE_SLOT = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local holds = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not holds and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
return 1
"""
)

_COUNT_SLOTS = _NOW + "return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), '+inf')"


class RedisStore:
    """Executes operations on a Redis server."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._prefix = f"{redis.prefix}:shared:"

    async def execute(self, *ops: Op) -> Sequence[Any]:
        """Execute operations in order, within Redis's timeout; raises `StoreUnavailable`."""
        keys = [self._prefix + op.key for op in ops]
        commands = [_COMMANDS[type(op)](key, op) for key, op in zip(keys, ops, strict=True)]
        try:
            replies = await self._redis.send(keys, commands)
        except RedisBusy:
            raise StoreBusy from None
        except RedisUnavailable:
            raise StoreUnavailable from None
        return [_RESULTS.get(type(op), _unchanged)(it) for op, it in zip(ops, replies, strict=True)]


def _ms(seconds: float) -> int:
    """Return a lifetime in milliseconds; Redis does not accept 0."""
    return max(1, int(seconds * 1000))


def _script(text: str, key: str, *args: bytes | int) -> Command:
    return "EVAL", text, 1, key, *args


def _encode_optional(value: bytes | None) -> bytes:
    return _ABSENT if value is None else _PRESENT + value


def _set(key: str, op: Set) -> Command:
    return "SET", key, op.value, "PX", _ms(op.seconds)


def _set_if_absent(key: str, op: SetIfAbsent) -> Command:
    return _script(_SET_IF_ABSENT, key, op.value, _ms(op.seconds))


def _compare_and_set(key: str, op: CompareAndSet) -> Command:
    return _script(
        _COMPARE_AND_SET, key, _encode_optional(op.old), _encode_optional(op.new), _ms(op.seconds)
    )


def _append(key: str, op: Append) -> Command:
    return _script(_APPEND, key, op.item, _ms(op.seconds), op.max_items)


def _acquire_slot(key: str, op: AcquireSlot) -> Command:
    return _script(_ACQUIRE_SLOT, key, op.holder, _ms(op.seconds), op.max_slots)


_COMMANDS: dict[type, Callable[[str, Any], Command]] = {
    Get: lambda key, _: ("GET", key),
    Set: _set,
    SetIfAbsent: _set_if_absent,
    CompareAndSet: _compare_and_set,
    Delete: lambda key, _: ("DEL", key),
    Append: _append,
    RemoveItem: lambda key, op: ("LREM", key, 0, op.item),
    List: lambda key, _: ("LRANGE", key, 0, -1),
    PopAll: lambda key, _: _script(_POP_ALL, key),
    AcquireSlot: _acquire_slot,
    ReleaseSlot: lambda key, op: ("ZREM", key, op.holder),
    CountSlots: lambda key, _: _script(_COUNT_SLOTS, key),
}


def _unchanged(reply: Any) -> Any:
    return reply


def _none(_: Any) -> None:
    return None


_RESULTS: dict[type, Callable[[Any], Any]] = {
    Set: _none,
    CompareAndSet: bool,
    Delete: _none,
    Append: _none,
    RemoveItem: _none,
    AcquireSlot: bool,
    ReleaseSlot: _none,
}
"""Conversions of Redis replies, where a reply is not the result itself."""
