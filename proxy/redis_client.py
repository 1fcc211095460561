"""Redis, or Valkey, for whatever nodes share: small values only, and never waited for long.

Whoever asks must be able to do without: `RedisAway` says that it has to, now. A Redis that is away
is left alone for a short while, then one call tries it again. The only module that imports the
library, which is an extra, and does so when a URL is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from proxy.sections import Redis as Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript as Script

_LOG = logging.getLogger("easel")

_PAUSE_SECONDS = 1.5
"""How long a Redis that is away is not asked again."""
_TELL_SECONDS = 60.0
"""How long a refusal that was logged is not logged again."""
_CONNECTIONS = 32
_CODE = re.compile(r"[A-Z]{3,20}\b")
"""The word with which Redis begins an error."""

T = TypeVar("T")


class RedisAway(Exception):
    """Redis cannot be reached, does not answer in time, or refuses; the operator has been told."""


class SharedRedis:
    """One Redis and the connections to it; run as a context. It opens none before it is used."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.prefix = settings.prefix
        self._timeout = settings.timeout_seconds
        self._clock = clock
        self._client = _client(settings)
        self._away = False
        self._asked_again = 0.0
        self._told = -_TELL_SECONDS

    @property
    def is_away(self) -> bool:
        """Whether it is done without now."""
        return self._away

    async def __aenter__(self) -> Self:
        # The operator learns at the start that Redis is away, not with the first request.
        with contextlib.suppress(RedisAway):
            await self.ask(_ping)
        return self

    async def __aexit__(self, *_: object) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 - see the module

        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    def key(self, subject: str, name: str) -> str:
        """Give the name of a key: those of one subject lie on one node of a cluster.

        They share a hash tag, as in `{easel:cache}:entries`.
        """
        return f"{{{self.prefix}:{subject}}}:{name}"

    def script(self, text: str) -> Script:
        """Make a script for `run`; Redis has its text from the first time on."""
        return self._client.register_script(text)

    async def run(self, script: Script, keys: list[str], args: Sequence[bytes | float]) -> Any:
        """Run a script, within the timeout; raises `RedisAway`."""
        return await self.ask(lambda client: script(keys, args, client))

    async def ask(self, call: Callable[[Redis], Awaitable[T]]) -> T:
        """Do something with the client, within the timeout; raises `RedisAway`.

        A connection that is lost has Redis asked once more: it may do it twice.
        """
        now = self._clock()
        if self._away:
            if now < self._asked_again:
                raise RedisAway
            # This call tries; others go on doing without until it knows.
            self._asked_again = now + self._timeout + _PAUSE_SECONDS
        with self._translated():
            async with asyncio.timeout(self._timeout):
                answer = await call(self._client)
        self._is_back()
        return answer

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the library's failures into ours, without what they say: it could hold the URL."""
        from redis import exceptions  # noqa: PLC0415 - see the module

        try:
            yield
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            self._is_away(error)
            raise RedisAway from None
        except exceptions.RedisError as error:
            self._is_back()
            self._refused(error)
            raise RedisAway from None

    def _is_away(self, error: Exception) -> None:
        self._asked_again = self._clock() + _PAUSE_SECONDS
        if not self._away:
            self._away = True
            _LOG.error("Redis is away (%s): what is shared there is done without", _named(error))

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            _LOG.warning("Redis is back")

    def _refused(self, error: Exception) -> None:
        if self._clock() - self._told >= _TELL_SECONDS:
            self._told = self._clock()
            _LOG.error("Redis refuses (%s): what it is asked for is done without", _named(error))


def _client(settings: Settings) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - see the module
    from redis.asyncio.retry import Retry  # noqa: PLC0415 - the same
    from redis.backoff import NoBackoff  # noqa: PLC0415 - the same
    from redis.exceptions import ConnectionError as Lost  # noqa: PLC0415 - the same

    pool = BlockingConnectionPool.from_url(
        settings.url,
        max_connections=_CONNECTIONS,
        timeout=settings.timeout_seconds,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        # Once, as a connection of the pool may have ended unseen.
        retry=Retry(NoBackoff(), 1, supported_errors=(Lost,)),
        # Every server and every proxy before one speaks it.
        protocol=2,
        decode_responses=False,
    )
    return Redis.from_pool(pool)


async def _ping(client: Redis) -> Any:
    return await client.ping()


def _named(error: Exception) -> str:
    """Name a failure by its type, and by the word with which Redis begins what it says."""
    code = _CODE.match(str(error))
    return f"{type(error).__name__}, {code[0]}" if code else type(error).__name__
