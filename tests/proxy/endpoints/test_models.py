"""The lists of models, and the description of one."""

from __future__ import annotations

import orjson
import pytest
from yarl import URL

import adapters
from proxy.settings.loader import SettingsError, parse
from tests.support.gateway import OURS, gateway, gateway_to

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


CUSTOM = """
virtual_keys:
  gpu: {provider: openai, custom_host: 'http://10.0.0.5:8080/v1', models: [flux-dev, org/sdxl]}
  plain: {provider: openai, custom_host: 'http://10.0.0.6:8080/v1'}
  draw: {provider: sandbox, models: [mine]}
"""


async def test_models_behind_a_custom_host_are_those_of_the_settings() -> None:
    async with gateway(CUSTOM) as ours:
        listed = (await ours.ask(method="GET", path="/v1/models")).json["data"]
        ids = [it["id"] for it in listed]
        assert ids == ["@draw/mine", "@gpu/flux-dev", "@gpu/org/sdxl", "@plain"]
        for entry in listed:
            one = await ours.ask(method="GET", path=f"/v1/models/{entry['id']}")
            assert (one.status, one.json) == (200, entry)


@pytest.mark.parametrize(
    "model", ["@gpu", "@gpu/other", "@nope/x", "flux-dev", "@draw", "a" * 4000]
)
async def test_a_model_that_is_not_listed_is_404(model: str) -> None:
    async with gateway(CUSTOM) as ours:
        got = await ours.ask(method="GET", path=f"/v1/models/{model}")
        assert (got.status, got.error["code"]) == (404, "model_not_found")


async def test_a_virtual_key_alone_leaves_the_model_to_the_server() -> None:
    async with gateway_to() as (ours, theirs):
        assert (await ours.draw(params={"model": "@up"})).status == 200
        assert theirs.sent == {"prompt": "a cube"}


@pytest.mark.parametrize("models", ["flux-dev", "[1]", "['']", "{a: b}"])
def test_models_that_are_no_list_of_names_are_refused(models: str) -> None:
    with pytest.raises(SettingsError, match="models"):
        parse(f"virtual_keys: {{a: {{provider: sandbox, models: {models}}}}}", environ={})
