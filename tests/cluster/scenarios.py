"""The failures of the cluster, one scenario each, and what is promised for each."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.cluster.clients import HEADERS, DisconnectingClients, Results, load
from tests.cluster.nodes import KEY, Node
from tests.cluster.servers import Server

_BEFORE_SECONDS, _AFTER_SECONDS = 1.5, 2.0
_DISCONNECTED = 20
_RANDOM_CLIENTS = 200
_CONCURRENT = 40
_COUNTED_REQUESTS = 60
_STORED_SECONDS = 3.0
_OUTAGE_SECONDS = 4.0
_LOST_JOBS = frozenset({"job_lost"})


@dataclass
class Cluster:
    """The running cluster."""

    nodes: list[Node]
    load_balancer: Server
    redis: Server
    store: Server
    provider: Server
    session: aiohttp.ClientSession
    rng: random.Random = field(default_factory=lambda: random.Random(8))  # noqa: S311 - the same in every run

    @property
    def clients(self) -> DisconnectingClients:
        """Clients that disconnect and retry."""
        return DisconnectingClients(self.session)

    @property
    def urls(self) -> list[str]:
        """URLs of the nodes."""
        return [node.url for node in self.nodes]

    async def calls(self) -> Counter[str]:
        """Return the number of paid calls for each prompt."""
        async with self.session.get(f"{self.provider.url}/calls") as answer:
            return Counter(await answer.json())

    async def request_count(self, node: Node) -> int:
        """Return the number of image requests in a node's metrics; any worker may answer."""
        async with self.session.get(f"{node.url}/metrics", headers=HEADERS) as answer:
            page = await answer.text()
        found = re.findall(r"^easel_requests_total\{.*\} (\S+)$", page, re.MULTILINE)
        return int(sum(map(float, found)))

    async def readiness(self, node: Node) -> dict[str, object]:
        """Return a node's verbose readiness report."""
        async with self.session.get(f"{node.url}/readyz?verbose", headers=HEADERS) as answer:
            found: dict[str, object] = await answer.json()
            return found


@dataclass
class Outcome:
    """The outcome of a scenario. `allowed_failures` are the documented error codes."""

    scenario: str
    promise: str
    results: Results
    paid_twice: int
    disconnected: int = 0
    collected: Results | None = None
    allowed_failures: frozenset[str] = frozenset()
    checks: dict[str, bool] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the promise was kept."""
        results_to_check = [self.results, *([self.collected] if self.collected else [])]
        failed = {word for it in results_to_check for word in it.failures} - self.allowed_failures
        wrong = sum(it.wrong for it in results_to_check)
        lost = self.disconnected - (self.collected.images if self.collected else 0)
        return not (failed or wrong or self.paid_twice or lost) and all(self.checks.values())

    def cells(self) -> str:
        """Return the row of the table."""
        failed = ", ".join(
            f"{count} `{word}`" for word, count in sorted(self.results.failures.items())
        )
        collected = (
            "" if self.collected is None else f"{self.collected.images} of {self.disconnected}"
        )
        more = "; ".join(f"{name}: {'yes' if good else 'NO'}" for name, good in self.checks.items())
        cells = [
            *(
                self.scenario,
                str(len(self.results.prompts)),
                failed or "0",
                collected,
                str(self.paid_twice),
            ),
            *(more, self.promise, "yes" if self.passed else "**NO**"),
        ]
        return f"| {' | '.join(cells)} |"


async def _paid_twice(cluster: Cluster, *results_to_check: Results) -> int:
    """Return the number of images that were paid for more than once."""
    calls = await cluster.calls()
    return sum(calls[prompt] > 1 for it in results_to_check for prompt in it.prompts)


@asynccontextmanager
async def _requests(cluster: Cluster, name: str) -> AsyncIterator[Results]:
    """Send requests with both SDKs before, during and after an event."""
    async with load(cluster.load_balancer.url, name) as results:
        await asyncio.sleep(_BEFORE_SECONDS)
        yield results
        await asyncio.sleep(_AFTER_SECONDS)


def _prompts(name: str, count: int = _DISCONNECTED) -> list[str]:
    return [f"{name} disconnected {number}" for number in range(count)]


async def _wait_until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> bool:
    """Wait until a condition holds; return False on timeout."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await condition():
                    return True
                await asyncio.sleep(0.1)
    except TimeoutError:
        return False


async def no_failure(cluster: Cluster) -> Outcome:
    """Break nothing: the baseline."""
    async with _requests(cluster, "quiet") as results:
        pass
    return Outcome("nothing", "no failure", results, await _paid_twice(cluster, results))


async def random_nodes(cluster: Cluster) -> Outcome:
    """Disconnect clients, which then retry at any node."""
    prompts, back = _prompts("anywhere", _RANDOM_CLIENTS), Results()
    for start in range(0, _RANDOM_CLIENTS, _CONCURRENT):
        wave = prompts[start : start + _CONCURRENT]
        here = [cluster.rng.choice(cluster.urls) for _ in wave]
        await asyncio.gather(
            *(cluster.clients.disconnect(at, [it]) for at, it in zip(here, wave, strict=True))
        )
        there = [cluster.rng.choice(cluster.urls) for _ in wave]
        found = await cluster.clients.collect(there, wave)
        back.prompts |= found.prompts
        back.images += found.images
        back.failures += found.failures
    calls = await cluster.calls()
    once = all(calls[it] == 1 for it in prompts)
    checks = {"one call per image": once}
    paid_twice = await _paid_twice(cluster, back)
    return Outcome(
        "200 clients disconnect and retry at any node",
        "one paid call per image",
        Results(),
        paid_twice,
        _RANDOM_CLIENTS,
        back,
        checks=checks,
    )


async def rolling_restart(cluster: Cluster) -> Outcome:
    """Stop each node gracefully and start it again."""
    statuses, back = [], Results()
    async with _requests(cluster, "restart") as results:
        for node in cluster.nodes:
            prompts = _prompts(f"restart {node.name}", _DISCONNECTED)
            await cluster.clients.disconnect(node.url, prompts)
            statuses.append(await asyncio.to_thread(node.stop))
            found = await cluster.clients.collect([cluster.load_balancer.url], prompts)
            back.prompts |= found.prompts
            back.images += found.images
            back.wrong += found.wrong
            back.failures += found.failures
            await asyncio.to_thread(node.start)
            await asyncio.sleep(1)
    disconnected = _DISCONNECTED * len(cluster.nodes)
    checks = {"exit status 0": statuses == [0] * len(cluster.nodes)}
    paid_twice = await _paid_twice(cluster, results, back)
    return Outcome(
        "each node is restarted",
        "no failure",
        results,
        paid_twice,
        disconnected,
        back,
        checks=checks,
    )


async def worker_killed(cluster: Cluster) -> Outcome:
    """Kill one worker of a node."""
    node, prompts = cluster.nodes[0], _prompts("worker")
    async with _requests(cluster, "worker") as results:
        await cluster.clients.disconnect(cluster.load_balancer.url, prompts)
        await asyncio.sleep(_STORED_SECONDS)
        before = set(node.workers)
        node.kill_worker()

        async def again() -> bool:
            return len(set(node.workers)) == len(before) and set(node.workers) != before

        checks = {"restarted": await _wait_until(again)}
        back = await cluster.clients.collect([cluster.load_balancer.url], prompts)
    paid_twice = await _paid_twice(cluster, results, back)
    promise = "its running jobs fail with `job_lost`; everything else continues"
    return Outcome(
        "a worker is killed", promise, results, paid_twice, _DISCONNECTED, back, _LOST_JOBS, checks
    )


async def node_killed(cluster: Cluster) -> Outcome:
    """Kill all processes of a node."""
    node, prompts = cluster.nodes[1], _prompts("killed")
    async with _requests(cluster, "killed") as results:
        await cluster.clients.disconnect(node.url, prompts)
        await asyncio.sleep(_STORED_SECONDS)
        await asyncio.to_thread(node.kill)
        back = await cluster.clients.collect([cluster.load_balancer.url], prompts)
        await asyncio.sleep(1)
        await asyncio.to_thread(node.start)
    paid_twice = await _paid_twice(cluster, results, back)
    promise = "its running jobs fail with `job_lost`; everything else continues"
    return Outcome(
        "a node is killed", promise, results, paid_twice, _DISCONNECTED, back, _LOST_JOBS
    )


async def _server_outage(cluster: Cluster, server: Server, name: str, promise: str) -> Outcome:
    """Stop a server and start it again."""
    prompts = _prompts(name)
    async with _requests(cluster, name) as results:
        if server is cluster.store:
            await asyncio.to_thread(server.stop)
            await cluster.clients.disconnect(cluster.load_balancer.url, prompts)
        else:
            await cluster.clients.disconnect(cluster.load_balancer.url, prompts)
            await asyncio.sleep(_STORED_SECONDS)
            await asyncio.to_thread(server.stop)
        await asyncio.sleep(_OUTAGE_SECONDS)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(_STORED_SECONDS)
        back = await cluster.clients.collect(cluster.urls, prompts)
    paid_twice = await _paid_twice(cluster, results, back)
    return Outcome(
        f"{server.name} is stopped and started", promise, results, paid_twice, _DISCONNECTED, back
    )


async def redis_outage(cluster: Cluster) -> Outcome:
    """Stop Redis, which loses its data."""
    return await _server_outage(
        cluster, cluster.redis, "redis", "no failure; stored results are found"
    )


async def store_outage(cluster: Cluster) -> Outcome:
    """Stop the blob store."""
    return await _server_outage(
        cluster, cluster.store, "store", "no failure; stored results are found"
    )


async def bad_settings(cluster: Cluster) -> Outcome:
    """Reload an invalid settings file, then a valid one with another key."""
    node = cluster.nodes[2]
    good, other = node.file.read_text(), "easel-second-key-0123456789"
    checks: dict[str, bool] = {}

    async def answers(key: str, status: int) -> bool:
        headers = {**HEADERS, "x-portkey-api-key": key}
        async with cluster.session.get(f"{node.url}/v1/models", headers=headers) as answer:
            return answer.status == status

    async def answers_always(key: str) -> bool:
        return all([await answers(key, 200) for _ in range(10)])

    async with _requests(cluster, "settings") as results:
        node.file.write_text(good + "\nserver: [this is not a mapping\n")
        node.reload()

        async def complains() -> bool:
            return "easel.yaml" in str(await cluster.readiness(node))

        checks["reported in /readyz?verbose"] = await _wait_until(complains)
        checks["old key accepted"] = await answers(KEY, 200)
        keys = f"api_keys: {{load: {{key: {KEY}}}, second: {{key: {other}}}}}"
        node.file.write_text(good.replace(f"api_keys: {{load: {{key: {KEY}}}}}", keys))
        node.reload()
        checks["new key accepted by every worker"] = await _wait_until(
            lambda: answers_always(other)
        )
    node.file.write_text(good)
    node.reload()
    paid_twice = await _paid_twice(cluster, results)
    return Outcome(
        "an invalid settings file, then a valid one",
        "no failure",
        results,
        paid_twice,
        checks=checks,
    )


async def request_count(cluster: Cluster) -> Outcome:
    """Compare a node's request count, as reported by any worker, with the requests sent."""
    node, prompts = cluster.nodes[0], _prompts("counted", _COUNTED_REQUESTS)
    before = await cluster.request_count(node)
    results = await cluster.clients.collect([node.url], prompts)
    counts = [await cluster.request_count(node) - before for _ in range(6)]
    checks = {f"{_COUNTED_REQUESTS} reported by each worker": counts == [_COUNTED_REQUESTS] * 6}
    return Outcome(
        f"{_COUNTED_REQUESTS} requests to one node",
        "its metrics count every request",
        results,
        await _paid_twice(cluster, results),
        checks=checks,
    )


Scenario = Callable[[Cluster], Awaitable[Outcome]]
SCENARIOS: tuple[Scenario, ...] = (
    no_failure,
    request_count,
    random_nodes,
    rolling_restart,
    worker_killed,
    node_killed,
    redis_outage,
    store_outage,
    bad_settings,
)
"""In the order in which they run."""
