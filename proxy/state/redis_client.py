"""Client of Redis or Valkey, with short timeouts and a pause after failures.

Callers must be able to continue without Redis: every call may raise `RedisUnavailable`. After a
failure, calls to that server or cluster node fail immediately for a short time; then one call
probes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from proxy.settings.redis_url import parse_redis_url
from proxy.settings.schema import Redis as Settings
from proxy.state.ops import TURN_SECONDS
from proxy.state.redis_topology import Command, topology_for

_LOG = logging.getLogger("easel")

_RETRY_PAUSE_SECONDS = 1.5
"""How long an unavailable server gets no calls."""
_LOG_INTERVAL_SECONDS = 60.0
"""How long after one logged refusal further ones are not logged."""
_MAX_CONCURRENT = 32
"""Limit of concurrent calls; further ones wait."""
_ERROR_CODE = re.compile(r"[A-Z]{3,20}\b")
"""The error code with which a Redis error message begins."""

T = TypeVar("T")


class RedisUnavailable(Exception):
    """Redis is unreachable, too slow, or refuses the command. It has been logged."""


class RedisBusy(RedisUnavailable):
    """Too many calls of this process are before this one. Redis itself may be available."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script. Redis caches it under its digest at first use."""

    text: str
    digest: str


class RedisClient:
    """Connections to Redis in any topology; an async context manager, connecting at first use.

    In a cluster, availability is tracked for each node.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.prefix = settings.prefix
        self._timeout = settings.timeout_seconds
        self._clock = clock
        self._topology = topology_for(
            parse_redis_url(settings.url), settings.timeout_seconds, settings.sentinel_password
        )
        self._client = self._topology.client
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._retry_at: dict[str, float] = {}
        """Unavailable nodes, and when each is tried again."""
        self._refusal_logged_at = -_LOG_INTERVAL_SECONDS

    @property
    def is_unavailable(self) -> bool:
        """Whether the server, or any node of a cluster, is treated as unavailable."""
        return bool(self._retry_at)

    async def __aenter__(self) -> Self:
        # An unavailable Redis is logged at the start, not with the first request.
        with contextlib.suppress(RedisUnavailable):
            await self.call(lambda _: self._topology.ping())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(*self._topology.errors):
            async with asyncio.timeout(self._timeout):
                await self._topology.close()

    def key(self, subject: str, name: str) -> str:
        """Return the name of a key.

        Keys of one subject share a hash tag, as in `{easel:cache}:entries`, so they are on one node
        of a cluster.
        """
        return f"{{{self.prefix}:{subject}}}:{name}"

    def script(self, text: str) -> Script:
        """Return a script for `run_script`."""
        return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    async def run_script(
        self, script: Script, keys: list[str], args: Sequence[bytes | float]
    ) -> Any:
        """Run a script, within the timeout; raises `RedisUnavailable`."""
        what = len(keys), *keys, *args

        async def call(client: Any) -> Any:
            try:
                return await client.evalsha(script.digest, *what)
            except self._topology.unknown_script_error:
                return await client.eval(script.text, *what)

        return await self.call(call, keys[0] if keys else "")

    async def send(self, keys: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        """Execute commands in order, each on its key, and return the replies.

        They wait for their turn; `RedisBusy` is raised after `TURN_SECONDS`.
        The timeout is for all of them. If `RedisUnavailable` is raised, some may have been
        executed, but none twice.
        """
        nodes = {self._topology.node_for(key) for key in keys}
        async with self._turn(nodes, TURN_SECONDS):
            deadline = self._deadline()
            if self._topology.is_single_node:
                return await self._call(self._sender(commands), "", deadline)
            replies = []
            for key, command in zip(keys, commands, strict=True):
                replies += await self._call(self._sender([command]), key, deadline)
            return replies

    def _sender(self, commands: Sequence[Command]) -> Callable[[Any], Awaitable[list[Any]]]:
        return lambda _: self._topology.send(commands)

    async def call(self, function: Callable[[Any], Awaitable[T]], key: str = "") -> T:
        """Call a function of the library's client, within the timeout; raises `RedisUnavailable`.

        In a cluster, `key` determines the node. A call is repeated once if the connection is lost,
        so Redis may execute it twice.
        """
        async with self._turn({self._topology.node_for(key)}, self._timeout):
            return await self._call(function, key, self._deadline())

    @contextlib.asynccontextmanager
    async def _turn(self, nodes: Collection[str], seconds: float) -> AsyncIterator[None]:
        """Hold one of the slots for concurrent calls; raise `RedisBusy` if none is free in time.

        To wait for other calls of this process does not count against Redis.
        """
        if self._retry_at and any(map(self._is_backing_off, nodes)):
            raise RedisUnavailable
        try:
            async with asyncio.timeout(seconds if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            raise RedisBusy from None
        try:
            yield
        finally:
            self._slots.release()

    async def _call(self, function: Callable[[Any], Awaitable[T]], key: str, deadline: float) -> T:
        if self._retry_at:
            self._begin_probe(self._topology.node_for(key))
        with self._map_errors(key):
            async with asyncio.timeout_at(deadline):
                try:
                    answer = await function(self._client)
                except self._topology.failover_errors:
                    await self._topology.disconnect()
                    raise
        if self._retry_at:
            self._on_reply(self._topology.node_for(key))
        return answer

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout

    def _is_backing_off(self, node: str) -> bool:
        return self._clock() < self._retry_at.get(node, 0.0)

    def _begin_probe(self, node: str) -> None:
        """Admit one call to probe an unavailable node; others fail until it has finished."""
        if self._is_backing_off(node):
            raise RedisUnavailable
        if node in self._retry_at:
            self._retry_at[node] = self._clock() + self._timeout + _RETRY_PAUSE_SECONDS

    @contextlib.contextmanager
    def _map_errors(self, key: str) -> Iterator[None]:
        """Map the library's errors to `RedisUnavailable`. Their messages may hold the URL."""
        try:
            yield
        except self._topology.unavailable_errors as error:
            self._on_unavailable(self._topology.node_for(key), self._topology.root_error(error))
            raise RedisUnavailable from None
        except self._topology.errors as error:
            self._on_reply(self._topology.node_for(key))
            self._log_refusal(error)
            raise RedisUnavailable from None

    def _on_unavailable(self, node: str, error: BaseException) -> None:
        if not self._retry_at:
            _LOG.error("Redis unavailable (%s); continuing without shared state", _describe(error))
        self._retry_at[node] = self._clock() + _RETRY_PAUSE_SECONDS

    def _on_reply(self, node: str) -> None:
        """Mark a node as available.

        Nodes that have left the cluster, or had no calls for a while, are forgotten.
        """
        if self._retry_at:
            recent, nodes = self._clock() - _LOG_INTERVAL_SECONDS, self._topology.nodes()
            self._retry_at = {
                it: at
                for it, at in self._retry_at.items()
                if it != node and it in nodes and at > recent
            }
            if not self._retry_at:
                _LOG.warning("Redis available again")

    def _log_refusal(self, error: BaseException) -> None:
        if self._clock() - self._refusal_logged_at >= _LOG_INTERVAL_SECONDS:
            self._refusal_logged_at = self._clock()
            _LOG.error(
                "Redis refused a command (%s); continuing without its result", _describe(error)
            )


def _describe(error: BaseException) -> str:
    """Return the type of an error and the code at the start of its message, if any."""
    code = _ERROR_CODE.match(str(error))
    return f"{type(error).__name__}, {code[0]}" if code else type(error).__name__
