"""What comes after the image never costs the image: each part of the bookkeeping fails once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import orjson
import pytest
from aiohttp import web

from proxy.jobs.keys import JOBS
from proxy.observability.bookkeeping import FAILURES
from tests.support.gateway import B64, Gateway, gateway, json_reply, provider
from tests.support.waiting import until

FAULTS = {
    "prices": ("proxy.pipeline.accounting", "image_price", "prices"),
    "accounting": ("proxy.pipeline.execute", "record_images", "prices"),
    "bills": ("proxy.pipeline.accounting", "pixel_count", "prices"),
    "request metrics": ("proxy.middlewares.access", "record_request", "metrics"),
    "counters": ("proxy.observability.metrics.instruments", "Counter.add", "metrics"),
    "histograms": ("proxy.observability.metrics.instruments", "Histogram.observe", "metrics"),
    "circuit breakers": ("proxy.routing.strategies", "StrategySelector.on_result", "metrics"),
    "attempt records": ("proxy.routing.attempt", "RequestTimeline.add_attempt", "metrics"),
    "receipt": ("adapters.table.receipt", "Receipt.with_lines", "receipt"),
    "response headers": ("proxy.routing.attempt", "Attempt.response_headers", "receipt"),
    "access line": ("proxy.middlewares.access", "access_line", "access_log"),
    "cache: captured bytes": ("proxy.routing.attempt", "ResponseCapture.add_chunk", "cache"),
    "cache: captured answers": ("proxy.routing.attempt", "ResponseCapture.add_answer", "cache"),
    "cache: start": ("proxy.routing.attempt", "ResponseCapture.start", "cache"),
    "cache: upload": ("proxy.cache.images", "ImageStore.upload", "cache"),
    "cache: entry": ("proxy.cache.fill", "EntryBuilder.build", "cache"),
    "cache: start of the fill": ("proxy.cache.store", "ResponseCache.store_in_background", "cache"),
    "job: budget": ("proxy.jobs.budget", "RecordingBudget.mark_delivered", "jobs"),
    "job: limit": ("proxy.jobs.limits", "ConcurrencyLimit.release", "jobs"),
    "job: listener": ("proxy.jobs.store", "JobStore.listener_left", "jobs"),
    "trace: events": ("proxy.upstream.client", "record_usage", "traces"),
    "log of empty answers": ("proxy.upstream.client", "log_if_no_image", "traces"),
}
WAYS = (
    *("openai", "openai", "openai events", "openai events", "openai url"),
    *("together-ai", "together-ai events", "openrouter events"),
)
MADE = {"created": 1, "data": [{"b64_json": B64}]}
DONE = b'data: {"type":"image_generation.completed","b64_json":"%s"}\n\n' % B64.encode()


async def _reply(request: web.Request) -> web.StreamResponse:
    if (await request.json()).get("stream"):
        return web.Response(body=DONE, content_type="text/event-stream")
    return json_reply(MADE)


def _boom(*_: object, **__: object) -> Any:
    raise ZeroDivisionError


def _break(patch: pytest.MonkeyPatch, module: str, path: str) -> None:
    """Make a function, a method or a property raise."""
    owner: Any = import_module(module)
    *classes, name = path.split(".")
    for it in classes:
        owner = getattr(owner, it)
    is_property = isinstance(getattr(owner, name), property)
    patch.setattr(owner, name, property(_boom) if is_property else _boom)


async def _draw(ours: Gateway, how: str) -> None:
    config = {"virtual_key": how.split(maxsplit=1)[0], "cache": {"mode": "simple"}}
    params: dict[str, object] = {"model": "gpt-image-2"}
    if "events" in how:
        params["stream"] = True
    if "url" in how:
        params["response_format"] = "url"
    got = await ours.draw(how, params=params, config=orjson.dumps(config).decode())
    assert got.status == 200, (how, got.body[:300])
    assert (b'"url":"http' if "url" in how else B64.encode()) in got.body, how
    if "events" in how:
        assert b"event: error" not in got.body, how


async def _draw_all(fault: tuple[str, str, str]) -> None:
    """Draw in every way while a part of the bookkeeping raises; wait until that is counted."""
    module, path, part = fault
    before = FAILURES[part]
    async with provider(_reply) as fake:
        keys = "".join(
            f"  {slug}: {{provider: {slug}, api_key: k, custom_host: {fake.url}/v1}}\n"
            for slug in ("openai", "together-ai", "openrouter")
        )
        async with gateway(f"virtual_keys:\n{keys}") as ours:
            with pytest.MonkeyPatch.context() as patch:
                _break(patch, module, path)
                for how in WAYS:
                    await _draw(ours, how)
                await until(lambda: not ours.app[JOBS].running_count)
                await until(lambda: FAILURES[part] > before)


async def test_failing_bookkeeping_costs_no_image() -> None:
    for name, fault in FAULTS.items():
        try:
            await _draw_all(fault)
        except BaseException as error:
            error.add_note(name)
            raise
