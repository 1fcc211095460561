"""Redis topologies: a standalone server, a primary found through Sentinel, a cluster.

The only module that imports the library `redis`, an optional extra, and only when a client is made.
Timeouts of single steps leave time for the next step: to ask another Sentinel, or to look up a
key's new node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from proxy.settings.redis_url import RedisUrl

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster
    from redis.asyncio.retry import Retry

Command = tuple[str | bytes | int, ...]
"""The parts of a command: its name, a key (after EVAL: script and key count first), arguments."""

_MAX_CONNECTIONS = 128
"""Connections to one server: above the limit of concurrent calls."""


class RedisTopology(ABC):
    """The servers of a Redis deployment, and how to reach them.

    `client` is the library's client. `unavailable_errors` mean that there is no service now;
    `failover_errors` that the open connections lead to a former primary.
    """

    client: Any
    is_single_node: bool = True
    """Whether all keys are on one server, so that commands can be sent together."""

    def __init__(self) -> None:
        from redis import exceptions  # noqa: PLC0415 - see the module

        self.errors = exceptions.RedisError, exceptions.RedisClusterException, OSError
        self.wrapper_error = exceptions.RedisClusterException
        self.response_error = exceptions.ResponseError
        self.unknown_script_error = exceptions.NoScriptError
        self.failover_errors = exceptions.ReadOnlyError
        self.unavailable_errors = (
            *(exceptions.ConnectionError, exceptions.TimeoutError, OSError),
            *(exceptions.ReadOnlyError, exceptions.ClusterError, exceptions.TryAgainError),
            exceptions.RedisClusterException,
        )

    def node_for(self, key: str) -> str:
        """Return the name of the node that has a key, "" for a single server."""
        del key
        return ""

    def nodes(self) -> Collection[str]:
        """Return the names of all nodes."""
        return ("",)

    def root_error(self, error: BaseException) -> BaseException:
        """Return the error to log: for a cluster, that of the node tried last."""
        return (isinstance(error, self.wrapper_error) and error.__cause__) or error

    async def ping(self) -> None:
        """Raise an error unless the server responds."""
        await self.client.ping()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Execute commands in order in one write, each at most once; raise the first error."""
        connections = self.client.connection_pool
        connection = await connections.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            replies = [await self._read_reply(connection) for _ in commands]
        finally:
            await connections.release(connection)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _read_reply(self, connection: Any) -> Any:
        """Read the reply to one command; return an error reply, because more replies follow it."""
        try:
            return await connection.read_response()
        except self.response_error as error:
            return error

    async def disconnect(self) -> None:
        """Close idle connections, so that the next call looks up the primary again."""
        await self.client.connection_pool.disconnect(inuse_connections=False)

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""


class Standalone(RedisTopology):
    """One server at a fixed address."""

    client: Redis

    def __init__(self, where: RedisUrl, seconds: float) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 - see the module

        super().__init__()
        [(host, port)] = where.hosts
        self.client = Redis(
            host=host,
            port=port,
            db=where.database,
            **_without_timeout(where, seconds),
            retry=_retry(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()


class Sentinel(RedisTopology):
    """The primary that the Sentinels name; each new connection asks them."""

    client: Redis

    def __init__(self, where: RedisUrl, seconds: float, password: str) -> None:
        from redis.asyncio.sentinel import Sentinel as SentinelClient  # noqa: PLC0415 - see the module

        super().__init__()
        # An unresponsive Sentinel leaves time for the others and for the primary.
        each = seconds / (len(where.hosts) + 1)
        asked = {**_options(where, each), "username": None, "password": password or None}
        self._sentinel = SentinelClient(  # type: ignore[no-untyped-call] # untyped in redis-py
            where.hosts, sentinel_kwargs={**asked, "retry": _retry(0)}
        )
        self.client = self._sentinel.master_for(
            where.service, db=where.database, **_without_timeout(where, seconds), retry=_retry()
        )

    async def close(self) -> None:
        """Close all connections."""
        try:
            await self.client.aclose()
        finally:
            await self._sentinel.aclose()


class Cluster(RedisTopology):
    """A Redis Cluster: a key's hash tag, or the whole key, determines its node."""

    client: RedisCluster
    is_single_node = False

    def __init__(self, where: RedisUrl, seconds: float) -> None:
        from redis.asyncio.cluster import ClusterNode, RedisCluster  # noqa: PLC0415 - see the module

        super().__init__()
        self.client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in where.hosts],
            # A part of the keys is better than none.
            require_full_coverage=False,
            # An unresponsive node leaves time to find its replacement.
            **_options(where, seconds / 2),
            retry=_retry(),
        )

    def node_for(self, key: str) -> str:
        """Return the name of the node that has a key; "" before the first connection."""
        found = self.client.nodes_manager.slots_cache.get(self.client.keyslot(key))
        return str(found[0].name) if found else ""

    def nodes(self) -> Collection[str]:
        """Return the names of all nodes that have keys."""
        return {node.name for node in self.client.get_primaries()}

    async def ping(self) -> None:
        """Raise an error unless a node responds."""
        await self.client.initialize()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Execute commands in order, each at most once."""
        return [await self._send(command) for command in commands]

    async def _send(self, command: Command) -> Any:
        await self.client.initialize()
        # With `target_nodes` the library does not retry, except for a key that has moved.
        node = self.client.get_node_from_key(_key(command))
        return await self.client.execute_command(*command, target_nodes=node)

    async def disconnect(self) -> None:
        """Do nothing: the library refreshes its node table by itself."""

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
        # The library leaves connections open if it was about to refresh its node table.
        await self.client.nodes_manager.aclose()
        await self.client.nodes_manager.aclose("startup_nodes")


def topology_for(where: RedisUrl, seconds: float, sentinel_password: str) -> RedisTopology:
    """Return the topology that a URL names. `seconds` is the timeout of a call."""
    if where.kind == "sentinel":
        return Sentinel(where, seconds, sentinel_password)
    return Cluster(where, seconds) if where.kind == "cluster" else Standalone(where, seconds)


def _key(command: Command) -> str:
    return str(command[3 if command[0] == "EVAL" else 1])


def _options(where: RedisUrl, seconds: float) -> dict[str, Any]:
    return {
        "username": where.username,
        "password": where.password,
        "ssl": where.tls,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "max_connections": _MAX_CONNECTIONS,
        # Every server and every Redis proxy supports version 2.
        "protocol": 2,
        "decode_responses": False,
    }


def _without_timeout(where: RedisUrl, seconds: float) -> dict[str, Any]:
    """Return options without socket timeouts: the caller limits the time, which saves a timer."""
    return {**_options(where, seconds), "socket_timeout": None}


def _retry(times: int = 1) -> Retry:
    """Return a policy that repeats a call on a lost connection: a pooled one may be dead."""
    from redis.asyncio.retry import Retry  # noqa: PLC0415 - see the module
    from redis.backoff import NoBackoff  # noqa: PLC0415 - the same
    from redis.exceptions import ConnectionError as Lost  # noqa: PLC0415 - the same

    return Retry(NoBackoff(), times, supported_errors=(Lost,))
