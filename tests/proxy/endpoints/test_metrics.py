"""GET /metrics: who may read it, also while requests are in progress."""

from __future__ import annotations

import asyncio
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from tests.support.gateway import Gateway, gateway, gateway_to

NO_KEY = {"x_portkey_api_key": ""}
UP = {"virtual_key": "up"}


async def status(ours: Gateway, **headers: str) -> int:
    return (await ours.ask(method="GET", path="/metrics", **headers)).status


async def test_this_machine_needs_no_key_by_default() -> None:
    async with gateway() as ours:
        assert await status(ours, **NO_KEY) == 200


@pytest.mark.parametrize("header", ["x_forwarded_for", "x_forwarded_proto", "x_real_ip", "via"])
async def test_whoever_comes_through_a_proxy_on_this_machine_needs_one(header: str) -> None:
    async with gateway() as ours:
        assert await status(ours, **NO_KEY, **{header: "192.0.2.7"}) == 401
        assert await status(ours, **{header: "192.0.2.7"}) == 200


async def test_who_may_read_it_is_the_operators_choice() -> None:
    async with gateway("metrics: {access: key}") as ours:
        assert [await status(ours, **NO_KEY), await status(ours)] == [401, 200]
    async with gateway("metrics: {access: open}") as ours:
        assert await status(ours, **NO_KEY, x_forwarded_for="192.0.2.7") == 200


async def test_a_bearer_is_a_key_too_as_prometheus_sends_it() -> None:
    async with gateway("metrics: {access: key}") as ours:
        bearer = "Bearer easel-test-key-0123456789"
        assert await status(ours, **NO_KEY, authorization=bearer) == 200


async def test_the_form_is_the_one_that_is_asked_for() -> None:
    async with gateway() as ours:
        plain = await ours.ask(method="GET", path="/metrics")
        assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
        accept = "application/openmetrics-text; version=1.0.0"
        openly = await ours.ask(method="GET", path="/metrics", accept=accept)
        assert openly.headers["content-type"].startswith("application/openmetrics-text")
        assert openly.body.endswith(b"# EOF\n")


async def test_it_can_be_read_while_the_gateway_is_at_work_and_never_falls() -> None:
    async with gateway_to() as (ours, fake):
        found: list[float] = []

        async def scrapes() -> None:
            for _ in range(10):
                page = (await ours.ask(method="GET", path="/metrics")).body.decode()
                samples = [it for family in families(page) for it in family.samples]
                found.append(sum(it.value for it in samples if it.name == "easel_requests_total"))

        await asyncio.gather(scrapes(), *(ours.draw(**UP) for _ in range(200)))
        await scrapes()
        assert found == sorted(found)
        assert found[-1] == len(fake.requests) == 200


async def test_without_the_package_it_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    async with gateway() as ours:
        got = await ours.ask(method="GET", path="/metrics")
        assert (got.status, got.error["code"]) == (501, "not_installed")
        assert "easel-gateway[metrics]" in got.error["message"]


async def test_head_is_answered_as_get_is() -> None:
    async with gateway("metrics: {access: key}") as ours:
        got = await ours.ask(method="HEAD", path="/metrics", **NO_KEY)
        assert got.status == 401
