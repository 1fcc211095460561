"""The clients of the three kinds of Redis: one server, one that Sentinels choose, a cluster.

The only module that imports the library, which is an extra, and does so when it makes a client. No
step waits so long that there is no time left for the next one: to ask another Sentinel, or where in
the cluster a key lies now.
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
"""What a server is told: a word, a key (after EVAL, its text and their number), and more."""

_MAX_CONNECTIONS = 128
"""The most to one server: more than whoever shares them asks at once."""


class RedisTopology(ABC):
    """Where what is shared lies. Parts of it may be away while others answer.

    `client` is the library's, `away` the errors that say that nothing can be had now, and `moved`
    those after which the connections are worth nothing.
    """

    client: Any
    is_single_node: bool = True
    """Whether what is sent in one go goes to one server."""

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
        """Tell where a key lies."""
        del key
        return ""

    def nodes(self) -> Collection[str]:
        """Tell all places."""
        return ("",)

    def root_error(self, error: BaseException) -> BaseException:
        """Give what an operator is told of: of a cluster, what the node said asked last."""
        return (isinstance(error, self.wrapper_error) and error.__cause__) or error

    async def ping(self) -> None:
        """See whether it is there."""
        await self.client.ping()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Have commands carried out in order, in one go, once at most; raises the first failure."""
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
        """Read what is said of one command, also if it is a refusal: more may follow it."""
        try:
            return await connection.read_response()
        except self.response_error as error:
            return error

    async def disconnect(self) -> None:
        """Have the next call find out anew whom to ask."""
        await self.client.connection_pool.disconnect(inuse_connections=False)

    @abstractmethod
    async def close(self) -> None:
        """End all connections."""


class Standalone(RedisTopology):
    """One server at a known place."""

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
        """End all connections."""
        await self.client.aclose()


class Sentinel(RedisTopology):
    """The server that Sentinels say is the master; each new connection asks them."""

    client: Redis

    def __init__(self, where: RedisUrl, seconds: float, password: str) -> None:
        from redis.asyncio.sentinel import Sentinel as SentinelClient  # noqa: PLC0415 - see the module

        super().__init__()
        # Each that does not answer leaves time for the others, and for the master.
        each = seconds / (len(where.hosts) + 1)
        asked = {**_options(where, each), "username": None, "password": password or None}
        self._sentinel = SentinelClient(  # type: ignore[no-untyped-call] # it says nothing of them
            where.hosts, sentinel_kwargs={**asked, "retry": _retry(0)}
        )
        self.client = self._sentinel.master_for(
            where.service, db=where.database, **_without_timeout(where, seconds), retry=_retry()
        )

    async def close(self) -> None:
        """End all connections."""
        try:
            await self.client.aclose()
        finally:
            await self._sentinel.aclose()


class Cluster(RedisTopology):
    """A cluster: a key's hash tag, or all of it, says where it lies."""

    client: RedisCluster
    is_one = False

    def __init__(self, where: RedisUrl, seconds: float) -> None:
        from redis.asyncio.cluster import ClusterNode, RedisCluster  # noqa: PLC0415 - see the module

        super().__init__()
        self.client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in where.hosts],
            # Some of the keys are better than none.
            require_full_coverage=False,
            # One that does not answer leaves time to find who has taken its place.
            **_options(where, seconds / 2),
            retry=_retry(),
        )

    def node_for(self, key: str) -> str:
        """Tell which node has a key; "" before the cluster has been reached."""
        found = self.client.nodes_manager.slots_cache.get(self.client.keyslot(key))
        return str(found[0].name) if found else ""

    def nodes(self) -> Collection[str]:
        """Tell all nodes that have keys."""
        return {node.name for node in self.client.get_primaries()}

    async def ping(self) -> None:
        """See whether a node answers."""
        await self.client.initialize()

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Have commands carried out in order, once at most."""
        return [await self._send(command) for command in commands]

    async def _send(self, command: Command) -> Any:
        await self.client.initialize()
        # One that is told whom to ask is not asked again, but for what has moved.
        node = self.client.get_node_from_key(_key(command))
        return await self.client.execute_command(*command, target_nodes=node)

    async def disconnect(self) -> None:
        """Do nothing: the client finds out by itself."""

    async def close(self) -> None:
        """End all connections."""
        await self.client.aclose()
        # That leaves some open where it was about to find out anew who is there.
        await self.client.nodes_manager.aclose()
        await self.client.nodes_manager.aclose("startup_nodes")


def topology_for(where: RedisUrl, seconds: float, sentinel_password: str) -> RedisTopology:
    """Make the client of what a URL names; no call is to take longer than so many seconds."""
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
        # Every server and every proxy before one speaks it.
        "protocol": 2,
        "decode_responses": False,
    }


def _without_timeout(where: RedisUrl, seconds: float) -> dict[str, Any]:
    """Leave it to the caller to end a call that has nowhere else to go: a timer less for each."""
    return {**_options(where, seconds), "socket_timeout": None}


def _retry(times: int = 1) -> Retry:
    """Have a call made again whose connection is lost: one of the pool may have ended unseen."""
    from redis.asyncio.retry import Retry  # noqa: PLC0415 - see the module
    from redis.backoff import NoBackoff  # noqa: PLC0415 - the same
    from redis.exceptions import ConnectionError as Lost  # noqa: PLC0415 - the same

    return Retry(NoBackoff(), times, supported_errors=(Lost,))
