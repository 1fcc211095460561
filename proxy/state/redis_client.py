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
from proxy.state.redis_topology import Command, servers

_LOG = logging.getLogger("easel")

_PAUSE_SECONDS = 1.5
"""How long a Redis that is away is not asked again."""
_TELL_SECONDS = 60.0
"""How long a refusal that was logged is not logged again."""
_AT_ONCE = 32
"""How many calls are under way at once; others wait for them."""
_CODE = re.compile(r"[A-Z]{3,20}\b")
"""The word with which Redis begins an error."""

T = TypeVar("T")


class RedisAway(Exception):
    """Redis cannot be reached, does not answer in time, or refuses; the operator has been told."""


@dataclass(frozen=True, slots=True)
class Script:
    """What Redis carries out in one step; it knows it by its digest from the first time on."""

    text: str
    digest: str


class SharedRedis:
    """A Redis of any kind and the connections to it, as a context; it opens none before its use.

    Of a cluster, what is said here of Redis goes for each of its nodes.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.prefix = settings.prefix
        self._timeout = settings.timeout_seconds
        self._clock = clock
        self._servers = servers(
            parse_redis_url(settings.url), settings.timeout_seconds, settings.sentinel_password
        )
        self._client = self._servers.client
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._away: dict[str, float] = {}
        """The places that are away, and when each is asked again."""
        self._told = -_TELL_SECONDS

    @property
    def is_away(self) -> bool:
        """Whether it, or of a cluster any node, is done without now."""
        return bool(self._away)

    async def __aenter__(self) -> Self:
        # The operator learns at the start that Redis is away, not with the first request.
        with contextlib.suppress(RedisAway):
            await self.ask(lambda _: self._servers.reach())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(*self._servers.failures):
            async with asyncio.timeout(self._timeout):
                await self._servers.close()

    def key(self, subject: str, name: str) -> str:
        """Give the name of a key: those of one subject lie on one node of a cluster.

        They share a hash tag, as in `{easel:cache}:entries`.
        """
        return f"{{{self.prefix}:{subject}}}:{name}"

    def script(self, text: str) -> Script:
        """Make a script for `run`."""
        return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    async def run(self, script: Script, keys: list[str], args: Sequence[bytes | float]) -> Any:
        """Run a script, within the timeout; raises `RedisAway`."""
        what = len(keys), *keys, *args

        async def call(client: Any) -> Any:
            try:
                return await client.evalsha(script.digest, *what)
            except self._servers.unknown_script:
                return await client.eval(script.text, *what)

        return await self.ask(call, keys[0] if keys else "")

    async def send(self, keys: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        """Have commands carried out in order, each on its key, within the timeout in all.

        Raises `RedisAway`; some may have been carried out then, but none twice.
        """
        ends = self._ends()
        if self._servers.is_one:
            return await self.ask(self._sending(commands), ends=ends)
        if any(self._is_left_alone(self._servers.place(key)) for key in keys):
            raise RedisAway
        said = []
        for key, command in zip(keys, commands, strict=True):
            said += await self.ask(self._sending([command]), key, ends)
        return said

    def _sending(self, commands: Sequence[Command]) -> Callable[[Any], Awaitable[list[Any]]]:
        return lambda _: self._servers.send(commands)

    async def ask(
        self, call: Callable[[Any], Awaitable[T]], key: str = "", ends: float | None = None
    ) -> T:
        """Do something with the library's client, within the timeout; raises `RedisAway`.

        In a cluster `key` tells which node is asked. A connection that is lost has Redis asked once
        more: it may do it twice.
        """
        if self._away:
            self._try_again(self._servers.place(key))
        with self._translated(key):
            async with asyncio.timeout_at(ends or self._ends()), self._room:
                try:
                    answer = await call(self._client)
                except self._servers.moved:
                    await self._servers.disconnect()
                    raise
        if self._away:
            self._is_back(self._servers.place(key))
        return answer

    def _ends(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout

    def _is_left_alone(self, place: str) -> bool:
        return self._clock() < self._away.get(place, 0.0)

    def _try_again(self, place: str) -> None:
        """Have one call try a place that is away; others do without until it knows."""
        if self._is_left_alone(place):
            raise RedisAway
        if place in self._away:
            self._away[place] = self._clock() + self._timeout + _PAUSE_SECONDS

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the library's failures into ours, without what they say: it could hold the URL."""
        try:
            yield
        except self._servers.away as error:
            self._is_away(self._servers.place(key), self._servers.cause(error))
            raise RedisAway from None
        except self._servers.failures as error:
            self._is_back(self._servers.place(key))
            self._refused(error)
            raise RedisAway from None

    def _is_away(self, place: str, error: BaseException) -> None:
        if not self._away:
            _LOG.error("Redis is away (%s): what is shared there is done without", _named(error))
        self._away[place] = self._clock() + _PAUSE_SECONDS

    def _is_back(self, place: str) -> None:
        """Note that a place is there.

        Those that have no keys any more, or that nobody has asked for a while, are of no interest.
        """
        if self._away:
            lately, known = self._clock() - _TELL_SECONDS, self._servers.places()
            self._away = {
                it: at
                for it, at in self._away.items()
                if it != place and it in known and at > lately
            }
            if not self._away:
                _LOG.warning("Redis is back")

    def _refused(self, error: BaseException) -> None:
        if self._clock() - self._told >= _TELL_SECONDS:
            self._told = self._clock()
            _LOG.error("Redis refuses (%s): what it is asked for is done without", _named(error))


def _named(error: BaseException) -> str:
    """Name a failure by its type, and by the word with which Redis begins what it says."""
    code = _CODE.match(str(error))
    return f"{type(error).__name__}, {code[0]}" if code else type(error).__name__
