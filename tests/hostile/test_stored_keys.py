"""Case 6: a caller chooses a host, and hopes that the operator's key goes there."""

from __future__ import annotations

from tests.support.gateway import KEY, gateway, gateway_to, key_to, provider
from tests.support.stored_keys import (
    CONFIGS,
    KEYS_AND_HOSTS,
    VIRTUAL_KEYS_AND_SAVED_HOSTS,
    saved_hosts,
)

SAVED = """
configs:
  ours: {provider: openai, api_key: sk-operators-0123456789, custom_host: "http://127.0.0.1:9/v1"}
trusted_custom_hosts: [127.0.0.1]
"""


async def test_no_way_of_naming_a_key_and_a_host_brings_them_together() -> None:
    async with gateway_to(more=CONFIGS) as (ours, fake), provider() as thief:
        for ways in KEYS_AND_HOSTS:
            named = {
                name: it.replace("{url}", thief.url) if isinstance(it, str) else it
                for name, it in ways.items()
            }
            got = await ours.draw(**named)
            assert (got.status, got.error["code"]) == (400, "custom_host_with_stored_key"), ways
        assert not thief.requests + fake.requests


async def test_a_key_of_a_saved_config_stays_at_its_host() -> None:
    async with gateway_to(more=SAVED) as (ours, _), provider() as thief:
        for bearer in ("", "Bearer sk-callers-own"):
            got = await ours.draw(config="ours", custom_host=thief.url, authorization=bearer)
            assert got.error["code"] == "custom_host_with_stored_key"
        assert not thief.requests


def two_keys(url: str) -> str:
    """Return two virtual keys, the second for the provider's own host."""
    return f"""
virtual_keys:
  up: {{provider: openai, api_key: sk-operators-0123456789, custom_host: "{url}/v1"}}
  second: {{provider: recraft-ai, api_key: sk-operators-9876543210}}
"""


async def test_a_virtual_key_that_the_request_names_meets_no_host_of_a_saved_config() -> None:
    async with provider() as fake, provider() as lab:
        async with gateway(two_keys(fake.url) + saved_hosts(lab.url)) as ours:
            for way in VIRTUAL_KEYS_AND_SAVED_HOSTS:
                got = await ours.draw(**way)
                assert (got.status, got.error["code"]) == (400, "custom_host_with_stored_key"), way
        assert not lab.requests + fake.requests


async def test_nor_does_it_where_the_config_is_the_gateway_keys_own() -> None:
    async with provider() as fake, provider() as lab:
        bound = f"api_keys: {{test: {{key: {KEY}, config: lab, allow_config_override: false}}}}\n"
        settings = key_to(fake) + saved_hosts(lab.url).partition("  labs")[0]
        async with gateway(settings, base=bound) as ours:
            for way in ({"virtual_key": "up"}, {"provider": "@up"}, {"params": {"model": "@up/m"}}):
                got = await ours.draw(**way)
                assert (got.status, got.error["code"]) == (400, "custom_host_with_stored_key"), way
        assert not lab.requests + fake.requests


async def test_the_operators_own_pairs_and_a_callers_own_key_are_served() -> None:
    async with provider() as lab:
        pairs = f"""
configs:
  lab: {{custom_host: "{lab.url}/v1"}}
  one: {{custom_host: "{lab.url}/v1", virtual_key: up}}
  many: {{custom_host: "{lab.url}/v1", targets: [{{provider: "@up"}}]}}
  model: {{custom_host: "{lab.url}/v1", override_params: {{model: "@up/m"}}}}
"""
        virtual_keys = "virtual_keys: {up: {provider: openai, api_key: sk-operators-0123456789}}\n"
        async with gateway(virtual_keys + pairs) as ours:
            for name in ("one", "many", "model"):
                assert (await ours.draw(config=name)).status == 200
            own = {"provider": "openai", "authorization": "Bearer sk-callers-own"}
            assert (await ours.draw(config="lab", **own)).status == 200
        sent = [it.headers["authorization"] for it in lab.requests]
        assert sent == ["Bearer sk-operators-0123456789"] * 3 + ["Bearer sk-callers-own"]
