"""Redis, or Valkey, for whatever nodes share: small values only, and never waited for long.

Whoever asks must be able to do without: `RedisAway` says that it has to, now. A Redis that is away,
or the node of a cluster, is left alone for a short while, then one call tries it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from proxy.settings.redis_url import parse_redis_url
from proxy.settings.schema import Redis as Settings
from proxy.state.redis_topology import Command, topology_for

_LOG = logging.getLogger("easel")

_RETRY_PAUSE_SECONDS = 1.5
"""How long a Redis that is away is not asked again."""
_LOG_INTERVAL_SECONDS = 60.0
"""How long a refusal that was logged is not logged again."""
_MAX_CONCURRENT = 32
"""How many calls are under way at once; others wait for them."""
_ERROR_CODE = re.compile(r"[A-Z]{3,20}\b")
"""The word with which Redis begins an error."""

T = TypeVar("T")


class RedisUnavailable(Exception):
    """Redis cannot be reached, does not answer in time, or refuses; the operator has been told."""


@dataclass(frozen=True, slots=True)
class Script:
    """What Redis carries out in one step; it knows it by its digest from the first time on."""

    text: str
    digest: str


class RedisClient:
    """A Redis of any kind and the connections to it, as a context; it opens none before its use.

    Of a cluster, what is said here of Redis goes for each of its nodes.
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
        """The places that are away, and when each is asked again."""
        self._refusal_logged_at = -_LOG_INTERVAL_SECONDS

    @property
    def is_unavailable(self) -> bool:
        """Whether it, or of a cluster any node, is done without now."""
        return bool(self._retry_at)

    async def __aenter__(self) -> Self:
        # The operator learns at the start that Redis is away, not with the first request.
        with contextlib.suppress(RedisUnavailable):
            await self.call(lambda _: self._topology.ping())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(*self._topology.errors):
            async with asyncio.timeout(self._timeout):
                await self._topology.close()

    def key(self, subject: str, name: str) -> str:
        """Give the name of a key: those of one subject lie on one node of a cluster.

        They share a hash tag, as in `{easel:cache}:entries`.
        """
        return f"{{{self.prefix}:{subject}}}:{name}"

    def script(self, text: str) -> Script:
        """Make a script for `run`."""
        return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    async def run_script(
        self, script: Script, keys: list[str], args: Sequence[bytes | float]
    ) -> Any:
        """Run a script, within the timeout; raises `RedisAway`."""
        what = len(keys), *keys, *args

        async def call(client: Any) -> Any:
            try:
                return await client.evalsha(script.digest, *what)
            except self._topology.unknown_script_error:
                return await client.eval(script.text, *what)

        return await self.call(call, keys[0] if keys else "")

    async def send(self, keys: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        """Have commands carried out in order, each on its key, within the timeout in all.

        Raises `RedisAway`; some may have been carried out then, but none twice.
        """
        deadline = self._deadline()
        if self._topology.is_single_node:
            return await self.call(self._sender(commands), deadline=deadline)
        if any(self._is_backing_off(self._topology.node_for(key)) for key in keys):
            raise RedisUnavailable
        replies = []
        for key, command in zip(keys, commands, strict=True):
            replies += await self.call(self._sender([command]), key, deadline)
        return replies

    def _sender(self, commands: Sequence[Command]) -> Callable[[Any], Awaitable[list[Any]]]:
        return lambda _: self._topology.send(commands)

    async def call(
        self, function: Callable[[Any], Awaitable[T]], key: str = "", deadline: float | None = None
    ) -> T:
        """Do something with the library's client, within the timeout; raises `RedisAway`.

        In a cluster `key` tells which node is asked. A connection that is lost has Redis asked once
        more: it may do it twice.
        """
        if self._retry_at:
            self._begin_probe(self._topology.node_for(key))
        with self._map_errors(key):
            async with asyncio.timeout_at(deadline or self._deadline()), self._slots:
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
        """Have one call try a place that is away; others do without until it knows."""
        if self._is_backing_off(node):
            raise RedisUnavailable
        if node in self._retry_at:
            self._retry_at[node] = self._clock() + self._timeout + _RETRY_PAUSE_SECONDS

    @contextlib.contextmanager
    def _map_errors(self, key: str) -> Iterator[None]:
        """Turn the library's failures into ours, without what they say: it could hold the URL."""
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
            _LOG.error("Redis is away (%s): what is shared there is done without", _describe(error))
        self._retry_at[node] = self._clock() + _RETRY_PAUSE_SECONDS

    def _on_reply(self, node: str) -> None:
        """Note that a place is there.

        Those that have no keys any more, or that nobody has asked for a while, are of no interest.
        """
        if self._retry_at:
            recent, nodes = self._clock() - _LOG_INTERVAL_SECONDS, self._topology.nodes()
            self._retry_at = {
                it: at
                for it, at in self._retry_at.items()
                if it != node and it in nodes and at > recent
            }
            if not self._retry_at:
                _LOG.warning("Redis is back")

    def _log_refusal(self, error: BaseException) -> None:
        if self._clock() - self._refusal_logged_at >= _LOG_INTERVAL_SECONDS:
            self._refusal_logged_at = self._clock()
            _LOG.error("Redis refuses (%s): what it is asked for is done without", _describe(error))


def _describe(error: BaseException) -> str:
    """Name a failure by its type, and by the word with which Redis begins what it says."""
    code = _ERROR_CODE.match(str(error))
    return f"{type(error).__name__}, {code[0]}" if code else type(error).__name__
