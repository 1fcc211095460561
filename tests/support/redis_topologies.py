"""Real Redis topologies: one with Sentinels and a cluster. Their servers can be stopped.

Both fail over within one or two seconds after a server has stopped.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.support.redis import RedisServer, redis_server

SERVICE = "mymaster"
_SECONDS_TO_AGREE = 30
_LOOK_AGAIN_SECONDS = 0.05
_QUICK = "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"
_DOWN_MS = 400
"""How long a server must be unresponsive to be considered down, in milliseconds."""


@dataclass(frozen=True)
class RedisServers:
    """The servers of a topology with failover."""

    url: str
    servers: tuple[RedisServer, ...]

    def flush(self) -> None:
        """Delete all keys on all servers."""
        for server in self.masters():
            execute(server, "FLUSHALL")

    def masters(self) -> list[RedisServer]:
        """Return the running servers that accept writes."""
        there = [it for it in self.servers if it.processes]
        return [it for it in there if execute(it, "ROLE")[0] == b"master"]


def execute(server: RedisServer, *command: str | bytes | int) -> Any:
    """Execute a command on a server and return the reply."""
    about: Any = {"password": server.password or None, "socket_timeout": 5, "protocol": 2}
    with Redis(port=server.port, **about) as asking:
        # The library makes something else of the answers of some.
        asking.response_callbacks.clear()
        return asking.execute_command(*command)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + _SECONDS_TO_AGREE
    while not _is_so(is_so):
        assert time.monotonic() < deadline
        time.sleep(_LOOK_AGAIN_SECONDS)


def _is_so(is_so: Callable[[], bool]) -> bool:
    try:
        return is_so()
    except (RedisError, OSError):
        return False


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def redis_sentinel(
    folder: Path, *, password: str = "", sentinel_password: str = ""
) -> Iterator[RedisServers]:
    """Run a primary, a replica and three Sentinels."""
    own = ("--requirepass", password, "--masterauth", password) if password else ()
    quick = (*_QUICK, *own)
    with ExitStack() as stack:

        def run(name: str, *options: str) -> RedisServer:
            (folder / name).mkdir()
            server = stack.enter_context(redis_server(folder / name, *options))
            server.password = password
            return server

        master = run("master", *quick)
        replica = run("replica", *quick, "--replicaof", "127.0.0.1", str(master.port))
        wait_until(lambda: b"connected" in execute(replica, "ROLE"))
        config = _sentinel_config(master.port, password, sentinel_password)
        sentinels = []
        for number in range(3):
            name = f"sentinel-{number}"
            (folder / name).mkdir()
            (folder / name / "conf").write_text(config)
            server = stack.enter_context(
                redis_server(folder / name, "--sentinel", file=folder / name / "conf")
            )
            server.password = sentinel_password
            sentinels.append(server)
        for sentinel in sentinels:
            wait_until(lambda it=sentinel: _knows_all(it))  # type: ignore[misc] # it is bound
        hosts = ",".join(f"127.0.0.1:{it.port}" for it in sentinels)
        who = f":{password}@" if password else ""
        url = f"redis+sentinel://{who}{hosts}/{SERVICE}"
        yield RedisServers(url, (master, replica, *sentinels))


def _sentinel_config(port: int, password: str, sentinel_password: str) -> str:
    return "\n".join(
        [
            f"sentinel monitor {SERVICE} 127.0.0.1 {port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 2000",
            *([f"sentinel auth-pass {SERVICE} {password}"] if password else []),
            *(
                [f"requirepass {sentinel_password}", f"sentinel sentinel-pass {sentinel_password}"]
                if sentinel_password
                else []
            ),
            "",
        ]
    )


def _knows_all(sentinel: RedisServer) -> bool:
    """Whether a Sentinel knows the two others and the replica."""
    said = execute(sentinel, "SENTINEL", "MASTER", SERVICE)
    about = dict(zip(said[::2], said[1::2], strict=True))
    return bool(about[b"num-other-sentinels"] == b"2" and about[b"num-slaves"] == b"1")


@contextmanager
def redis_cluster(folder: Path, masters: int = 3, *options: str) -> Iterator[RedisServers]:
    """Run a cluster of primaries with one replica each."""
    with ExitStack() as stack:
        servers = []
        for number in range(2 * masters):
            (folder / f"node-{number}").mkdir()
            more = (
                *("--cluster-enabled", "yes", "--cluster-node-timeout", str(_DOWN_MS)),
                *("--cluster-port", str(free_port()), *_QUICK),
                # A replica whose master has been away for longer takes its place all the same.
                *("--cluster-replica-validity-factor", "0", *options),
            )
            servers.append(stack.enter_context(redis_server(folder / f"node-{number}", *more)))
        _form_cluster(servers, masters)
        hosts = ",".join(f"127.0.0.1:{it.port}" for it in servers[:2])
        yield RedisServers(f"redis+cluster://{hosts}", tuple(servers))


def _form_cluster(servers: list[RedisServer], masters: int) -> None:
    """Form a cluster. The first servers are the primaries."""
    each = 16384 // masters
    for number, server in enumerate(servers[:masters]):
        last = 16383 if number == masters - 1 else (number + 1) * each - 1
        execute(server, "CLUSTER", "ADDSLOTSRANGE", number * each, last)
    for number, server in enumerate(servers):
        execute(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for server in servers:
        _, bus = execute(server, "CONFIG", "GET", "cluster-port")
        for other in servers:
            execute(other, "CLUSTER", "MEET", "127.0.0.1", server.port, int(bus))
    for server in servers:
        wait_until(lambda it=server: _nodes(it) == len(servers))  # type: ignore[misc] # it is bound
    for master, replica in zip(servers, servers[masters:], strict=False):
        execute(replica, "CLUSTER", "REPLICATE", execute(master, "CLUSTER", "MYID").decode())
    for replica in servers[masters:]:
        wait_until(lambda it=replica: b"connected" in execute(it, "ROLE"))  # type: ignore[misc] # the same
    for server in servers:
        wait_until(lambda it=server: _is_whole(it, masters))  # type: ignore[misc] # the same


def _nodes(server: RedisServer) -> int:
    said: bytes = execute(server, "CLUSTER", "NODES")
    return sum(b"handshake" not in line for line in said.splitlines())


def _is_whole(server: RedisServer, masters: int) -> bool:
    """Whether a node reports a healthy cluster with a replica of each primary."""
    replicas = sum(len(it) - 3 for it in execute(server, "CLUSTER", "SLOTS"))
    return b"cluster_state:ok" in execute(server, "CLUSTER", "INFO") and replicas == masters
