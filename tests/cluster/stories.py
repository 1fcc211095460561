"""What is broken in the cluster, one thing after the other, and what is promised of each."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.cluster.clients import HEADERS, PATH, Got, Leavers, load
from tests.cluster.engines import Engine
from tests.cluster.nodes import KEY, Node

_WARM, _AFTER = 1.5, 2.0
_LEFT = 20
_RETRIES = 200
_AT_ONCE = 40
_COUNTED = 60
_STORED_AFTER = 3.0
_AWAY = 4.0
_LOST = frozenset({"job_lost"})


@dataclass
class Cluster:
    """All of it, running."""

    nodes: list[Node]
    front: Engine
    redis: Engine
    store: Engine
    provider: Engine
    session: aiohttp.ClientSession
    chance: random.Random = field(default_factory=lambda: random.Random(8))  # noqa: S311 - the same in every run

    @property
    def leavers(self) -> Leavers:
        """Clients that leave and come back."""
        return Leavers(self.session)

    @property
    def urls(self) -> list[str]:
        """Where each node listens."""
        return [node.url for node in self.nodes]

    async def calls(self) -> Counter[str]:
        """Tell how often each prompt was paid for."""
        async with self.session.get(f"{self.provider.url}/calls") as answer:
            return Counter(await answer.json())

    async def counted(self, node: Node) -> int:
        """Ask a node how many requests for pictures it has had; each time, any worker answers."""
        async with self.session.get(f"{node.url}/metrics", headers=HEADERS) as answer:
            page = await answer.text()
        found = re.findall(r"^easel_requests_total\{.*\} (\S+)$", page, re.MULTILINE)
        return int(sum(map(float, found)))

    async def told(self, node: Node) -> dict[str, object]:
        """Ask a node how it is."""
        async with self.session.get(f"{node.url}/readyz?verbose", headers=HEADERS) as answer:
            found: dict[str, object] = await answer.json()
            return found


@dataclass
class Seen:
    """What was seen of a story. `forgiven` are the failures that the documentation tells of."""

    story: str
    promise: str
    got: Got
    twice: int
    left: int = 0
    collected: Got | None = None
    forgiven: frozenset[str] = frozenset()
    also: dict[str, bool] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether all was as promised."""
        all_of_it = [self.got, *([self.collected] if self.collected else [])]
        failed = {word for it in all_of_it for word in it.failures} - self.forgiven
        wrong = sum(it.wrong for it in all_of_it)
        lost = self.left - (self.collected.pictures if self.collected else 0)
        return not (failed or wrong or self.twice or lost) and all(self.also.values())

    def cells(self) -> str:
        """Write it as a row."""
        failed = ", ".join(f"{count} `{word}`" for word, count in sorted(self.got.failures.items()))
        parked = "" if self.collected is None else f"{self.collected.pictures} of {self.left}"
        more = "; ".join(f"{name}: {'yes' if good else 'NO'}" for name, good in self.also.items())
        cells = [
            *(self.story, str(len(self.got.asked)), failed or "0", parked, str(self.twice)),
            *(more, self.promise, "yes" if self.kept else "**NO**"),
        ]
        return f"| {' | '.join(cells)} |"


async def _twice(cluster: Cluster, *all_of_it: Got) -> int:
    """Count the pictures that were paid for more than once."""
    calls = await cluster.calls()
    return sum(calls[prompt] > 1 for it in all_of_it for prompt in it.asked)


@asynccontextmanager
async def _asked(cluster: Cluster, name: str) -> AsyncIterator[Got]:
    """Have both SDKs ask while something happens, a while before and after."""
    async with load(cluster.front.url, name) as got:
        await asyncio.sleep(_WARM)
        yield got
        await asyncio.sleep(_AFTER)


def _prompts(name: str, count: int = _LEFT) -> list[str]:
    return [f"{name} left {number}" for number in range(count)]


async def _waited(word: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> bool:
    """Wait until something is so; False where it does not come to that."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await word():
                    return True
                await asyncio.sleep(0.1)
    except TimeoutError:
        return False


async def quiet(cluster: Cluster) -> Seen:
    """Break nothing."""
    async with _asked(cluster, "quiet") as got:
        pass
    return Seen("nothing", "no failure", got, await _twice(cluster, got))


async def random_nodes(cluster: Cluster) -> Seen:
    """Have clients leave, and come back to any node."""
    prompts, back = _prompts("anywhere", _RETRIES), Got()
    for start in range(0, _RETRIES, _AT_ONCE):
        wave = prompts[start : start + _AT_ONCE]
        here = [cluster.chance.choice(cluster.urls) for _ in wave]
        await asyncio.gather(
            *(cluster.leavers.leave(at, [it]) for at, it in zip(here, wave, strict=True))
        )
        there = [cluster.chance.choice(cluster.urls) for _ in wave]
        found = await cluster.leavers.collect(there, wave)
        back.asked |= found.asked
        back.pictures += found.pictures
        back.failures += found.failures
    calls = await cluster.calls()
    once = all(calls[it] == 1 for it in prompts)
    also = {"one call each": once}
    twice = await _twice(cluster, back)
    return Seen(
        "200 clients leave and come back to any node",
        "one paid call each",
        Got(),
        twice,
        _RETRIES,
        back,
        also=also,
    )


async def rolling_restart(cluster: Cluster) -> Seen:
    """Stop each node as an operator does, and start it again."""
    statuses, back = [], Got()
    async with _asked(cluster, "restart") as got:
        for node in cluster.nodes:
            prompts = _prompts(f"restart {node.name}", _LEFT)
            await cluster.leavers.leave(node.url, prompts)
            statuses.append(await asyncio.to_thread(node.stop))
            found = await cluster.leavers.collect([cluster.front.url], prompts)
            back.asked |= found.asked
            back.pictures += found.pictures
            back.wrong += found.wrong
            back.failures += found.failures
            await asyncio.to_thread(node.start)
            await asyncio.sleep(1)
    left = _LEFT * len(cluster.nodes)
    also = {"exit status 0": statuses == [0] * len(cluster.nodes)}
    twice = await _twice(cluster, got, back)
    return Seen("each node is restarted", "no failure", got, twice, left, back, also=also)


async def worker_killed(cluster: Cluster) -> Seen:
    """Kill one of a node's workers."""
    node, prompts = cluster.nodes[0], _prompts("worker")
    async with _asked(cluster, "worker") as got:
        await cluster.leavers.leave(cluster.front.url, prompts)
        await asyncio.sleep(_STORED_AFTER)
        before = set(node.workers)
        node.kill_worker()

        async def again() -> bool:
            return len(set(node.workers)) == len(before) and set(node.workers) != before

        also = {"restarted": await _waited(again)}
        back = await cluster.leavers.collect([cluster.front.url], prompts)
    twice = await _twice(cluster, got, back)
    promise = "what it ran is told as `job_lost`; all else goes on"
    return Seen("a worker is killed", promise, got, twice, _LEFT, back, _LOST, also)


async def node_killed(cluster: Cluster) -> Seen:
    """Kill a node with all its processes."""
    node, prompts = cluster.nodes[1], _prompts("killed")
    async with _asked(cluster, "killed") as got:
        await cluster.leavers.leave(node.url, prompts)
        await asyncio.sleep(_STORED_AFTER)
        await asyncio.to_thread(node.kill)
        back = await cluster.leavers.collect([cluster.front.url], prompts)
        await asyncio.sleep(1)
        await asyncio.to_thread(node.start)
    twice = await _twice(cluster, got, back)
    promise = "what it ran is told as `job_lost`; all else goes on"
    return Seen("a node is killed", promise, got, twice, _LEFT, back, _LOST)


async def _engine_away(cluster: Cluster, engine: Engine, name: str, promise: str) -> Seen:
    """Stop an engine and start it again."""
    prompts = _prompts(name)
    async with _asked(cluster, name) as got:
        if engine is cluster.store:
            await asyncio.to_thread(engine.stop)
            await cluster.leavers.leave(cluster.front.url, prompts)
        else:
            await cluster.leavers.leave(cluster.front.url, prompts)
            await asyncio.sleep(_STORED_AFTER)
            await asyncio.to_thread(engine.stop)
        await asyncio.sleep(_AWAY)
        await asyncio.to_thread(engine.start)
        await asyncio.sleep(_STORED_AFTER)
        back = await cluster.leavers.collect(cluster.urls, prompts)
    twice = await _twice(cluster, got, back)
    return Seen(f"{engine.name} is stopped and started", promise, got, twice, _LEFT, back)


async def redis_away(cluster: Cluster) -> Seen:
    """Stop Redis, which forgets everything."""
    return await _engine_away(cluster, cluster.redis, "redis", "no failure; what waited is found")


async def store_away(cluster: Cluster) -> Seen:
    """Stop the store."""
    return await _engine_away(cluster, cluster.store, "store", "no failure; what waited is found")


async def bad_settings(cluster: Cluster) -> Seen:
    """Have a node read a bad file, then a good one that has another key."""
    node = cluster.nodes[2]
    good, other = node.file.read_text(), "easel-second-key-0123456789"
    also: dict[str, bool] = {}

    async def answers(key: str, status: int) -> bool:
        headers = {**HEADERS, "x-portkey-api-key": key}
        async with cluster.session.get(f"{node.url}/v1/models", headers=headers) as answer:
            return answer.status == status

    async def answers_always(key: str) -> bool:
        return all([await answers(key, 200) for _ in range(10)])

    async with _asked(cluster, "settings") as got:
        node.file.write_text(good + "\nserver: [this is no mapping\n")
        node.hang_up()

        async def complains() -> bool:
            return "easel.yaml" in str(await cluster.told(node))

        also["told in /readyz?verbose"] = await _waited(complains)
        also["old key good"] = await answers(KEY, 200)
        keys = f"api_keys: {{load: {{key: {KEY}}}, second: {{key: {other}}}}}"
        node.file.write_text(good.replace(f"api_keys: {{load: {{key: {KEY}}}}}", keys))
        node.hang_up()
        also["new key good on every worker"] = await _waited(lambda: answers_always(other))
    node.file.write_text(good)
    node.hang_up()
    twice = await _twice(cluster, got)
    return Seen("a bad settings file, then a good one", "no failure", got, twice, also=also)


async def counted(cluster: Cluster) -> Seen:
    """Have a node tell of all its workers how many requests it had."""
    node, prompts = cluster.nodes[0], _prompts("counted", _COUNTED)
    before = await cluster.counted(node)
    got = await cluster.leavers.collect([node.url], prompts)
    told = [await cluster.counted(node) - before for _ in range(6)]
    also = {f"{_COUNTED} told by each worker": told == [_COUNTED] * 6}
    return Seen(
        f"{_COUNTED} requests to one node, counted",
        "its metrics tell of as many as were sent",
        got,
        await _twice(cluster, got),
        also=also,
    )


Story = Callable[[Cluster], Awaitable[Seen]]
STORIES: tuple[Story, ...] = (
    quiet,
    counted,
    random_nodes,
    rolling_restart,
    worker_killed,
    node_killed,
    redis_away,
    store_away,
    bad_settings,
)
"""In this order."""
__all__ = ["PATH", "STORIES", "Cluster", "Seen", "Story"]
