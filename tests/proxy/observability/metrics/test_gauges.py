"""What is looked at when somebody asks is what there is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from proxy import __version__
from proxy.context import DRAINING
from proxy.observability.metrics.merge import decode_snapshot
from proxy.observability.metrics.registry import METRICS
from proxy.reload.live_settings import apply
from tests.support.gateway import ANSWER, SETTINGS, Gateway, gateway, gateway_to, json_reply
from tests.support.redis import redis_server

UP = {"virtual_key": "up"}


def seen(ours: Gateway, name: str) -> dict[str, float]:
    """Return a gauge's values by label."""
    (told,) = [it for it in decode_snapshot(ours.app[METRICS].snapshot()) if it.name == name]
    return {"".join(labels): value for labels, (value,) in told.samples}


async def test_jobs_and_connections_are_those_that_are_there() -> None:
    go_on, came = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        del request
        came.set()
        await go_on.wait()
        return json_reply(ANSWER)

    async with gateway_to(slow) as (ours, _):
        task = asyncio.create_task(ours.draw(**UP))
        await came.wait()
        assert seen(ours, "easel_jobs") == {"running": 1, "stored": 0}
        assert seen(ours, "easel_upstream_connections") == {"used": 1, "idle": 0}
        assert seen(ours, "easel_requests_in_flight") == {"": 1}
        go_on.set()
        await task
        assert seen(ours, "easel_jobs") == {"running": 0, "stored": 1}
        assert seen(ours, "easel_upstream_connections") == {"used": 0, "idle": 1}
        assert seen(ours, "easel_jobs_bytes")["memory"] > 0


async def test_an_answer_that_nobody_collected_is_counted_when_it_goes() -> None:
    async with gateway_to(None, "jobs: {result_ttl_seconds: 0.05}") as (ours, _):
        await ours.draw(**UP)
        await ours.draw(**UP, prefer="respond-async")
        async with asyncio.timeout(10):
            while not seen(ours, "easel_jobs_lost_total")["expired"]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        assert seen(ours, "easel_jobs_lost_total") == {"expired": 1, "evicted": 0}


async def test_an_open_circuit_is_seen() -> None:
    async def down(request: web.Request) -> web.Response:
        del request
        return json_reply({}, 503)

    async with gateway_to(down) as (ours, _):
        breaker = '{"failure_threshold":1,"cooldown_interval":30000}'
        target = f'{{"virtual_key":"up","cb_config":{breaker}}}'
        config = f'{{"strategy":{{"mode":"fallback"}},"targets":[{target}]}}'
        assert seen(ours, "easel_circuits") == {"open": 0, "half-open": 0}
        for _ in range(3):
            await ours.draw(config=config)
        assert seen(ours, "easel_circuits") == {"open": 1, "half-open": 0}


async def test_a_node_says_what_it_is_and_that_it_is_stopping() -> None:
    async with gateway() as ours:
        assert seen(ours, "easel_build_info") == {__version__: 1}
        assert seen(ours, "easel_workers") == {"": 1}
        assert seen(ours, "easel_draining") == {"": 0}
        ours.app[DRAINING].append(True)
        assert seen(ours, "easel_draining") == {"": 1}
        assert seen(ours, "easel_tasks")[""] >= 1


async def test_redis_is_up_until_it_is_missed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with gateway(f"redis: {{url: '{server.url}', timeout_seconds: 0.3}}") as ours:
            assert seen(ours, "easel_redis_up") == {"": 1}
            server.stop()
            await ours.ask(method="DELETE", path="/v1/cache")
            assert seen(ours, "easel_redis_up") == {"": 0}


async def test_without_a_redis_nothing_is_said_of_one() -> None:
    async with gateway() as ours:
        names = {it.name for it in decode_snapshot(ours.app[METRICS].snapshot())}
        assert "easel_redis_up" not in names


async def test_settings_that_are_read_again_are_counted() -> None:
    async with gateway() as ours:
        before = seen(ours, "easel_settings_loaded_seconds")[""]
        assert seen(ours, "easel_reloads_total") == {"good": 0, "bad": 0}
        assert await apply(ours.app, "nonsense: 1", "my.yaml")
        assert not await apply(ours.app, SETTINGS, "my.yaml")
        assert seen(ours, "easel_reloads_total") == {"good": 1, "bad": 1}
        assert seen(ours, "easel_settings_loaded_seconds")[""] > before
