"""The images of a response are counted and priced."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from adapters.tools.image_header import ImageHeader
from proxy.pipeline.accounting import pixel_count
from tests.support.gateway import ANSWER, B64, always, gateway, gateway_to, provider
from tests.support.metrics import counted

UP = {"virtual_key": "up"}
MODEL = "dall-e-3"


def test_pixels_are_known_where_somebody_looked() -> None:
    assert pixel_count(ImageHeader("image/png", 4, 3)) == 12
    assert pixel_count(None) == pixel_count(ImageHeader("", 0, 0)) == 0


async def test_each_picture_of_an_answer_is_counted_and_costs_its_price(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"openai: {{{MODEL}: 0.25, by-size: {{megapixel: 100.0}}}}")
    answer = {**ANSWER, "data": [{"b64_json": B64}] * 3}
    async with gateway_to(always(answer), f"prices: {prices}") as (ours, _):
        await ours.draw(params={"model": MODEL, "n": 3}, **UP)
        await ours.draw(params={"model": "by-size"}, **UP)
        assert counted(ours, "easel_images_total")["openai", MODEL, "provider"] == 3
        assert counted(ours, "easel_dollars_total") == {
            ("openai", MODEL): 0.75,
            # A pixel each, as their bytes say.
            ("openai", "other"): pytest.approx(3 * 100 / 1_000_000),
        }


async def test_a_picture_without_a_price_costs_nothing_and_is_counted_as_such() -> None:
    async with gateway_to() as (ours, _):
        await ours.draw(params={"model": "my-own"}, **UP)
        assert counted(ours, "easel_images_unpriced_total") == {("openai",): 1}
        assert not counted(ours, "easel_dollars_total")


async def test_a_long_answer_that_is_relayed_unread_counts_what_was_asked_for() -> None:
    answer = {**ANSWER, "data": [{"b64_json": B64}, {"b64_json": "A" * 200_000}]}
    async with gateway_to(always(answer)) as (ours, _):
        await ours.draw(params={"model": MODEL, "n": 2}, **UP)
        assert counted(ours, "easel_images_total") == {("openai", MODEL, "provider"): 2}


async def test_pictures_of_events_are_counted_and_previews_are_not() -> None:
    async with gateway("virtual_keys: {draw: {provider: sandbox}}") as ours:
        asked = {"size": "64x64", "stream": True, "partial_images": 2}
        got = await ours.draw(virtual_key="draw", params=asked)
        finished = got.body.count(b"event: image_generation.completed")
        assert finished == 1
        assert sum(counted(ours, "easel_images_total").values()) == finished


async def test_a_failure_has_no_pictures() -> None:
    async with gateway_to(always({"error": {"message": "No."}}, 500)) as (ours, _):
        await ours.draw(**UP)
        assert not counted(ours, "easel_images_total")


async def test_each_picture_is_counted_for_the_target_that_made_it() -> None:
    one = {"created": 1, "data": [{"b64_json": B64}]}
    async with provider(always(one)) as fake:
        target = {"provider": "openai", "api_key": "k" * 16, "custom_host": fake.url}
        config = {
            "strategy": {"mode": "fallback", "complete": True},
            "targets": [
                {**target, "override_params": {"model": "dall-e-2"}},
                {**target, "override_params": {"model": MODEL}},
            ],
        }
        async with gateway("trusted_custom_hosts: ['127.0.0.1']") as ours:
            got = await ours.draw(config=orjson.dumps(config).decode(), params={"n": 2})
            assert got.status == 200
            assert counted(ours, "easel_images_total") == {
                ("openai", "dall-e-2", "provider"): 1,
                ("openai", MODEL, "provider"): 1,
            }
