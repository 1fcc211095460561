"""The lists of models, and the description of one."""

from __future__ import annotations

import orjson
import pytest
from yarl import URL

import adapters
from tests.support.gateway import OURS, gateway

NO_KEY = {"api_key": ""}


async def test_models_are_what_a_model_name_alone_can_reach() -> None:
    async with gateway("virtual_keys: {draw: {provider: sandbox}}") as ours:
        listed = (await ours.ask(method="GET", path="/v1/models")).json
        ids = [model["id"] for model in listed["data"]]
        assert (listed["object"], ids) == ("list", ["@draw/sandbox-1"])
        assert (await ours.draw(params={"model": ids[0], "size": "64x64"})).status == 200


async def test_models_are_for_callers_only() -> None:
    async with gateway() as ours:
        assert (await ours.ask(method="GET", path="/v1/models", **NO_KEY)).status == 401


HOSTILE = ["..", "%2e%2e/%2e%2e", "%00", "%0d%0ax:y", "%ff", "%ED%A0%80", "a" * 4000, "a//b", "%25"]


@pytest.mark.parametrize("model", HOSTILE)
async def test_any_model_can_be_asked_about(model: str) -> None:
    async with gateway() as ours:
        for provider in adapters.PROVIDERS:
            url = URL(f"{ours.url}/v1/images/models/{provider}/{model}", encoded=True)
            async with ours.session.get(url, headers=OURS) as got:
                assert got.status in (200, 404)
                assert orjson.loads(await got.read())
