"""Case 6: a caller chooses a host, and hopes that the operator's key goes there."""

from __future__ import annotations

from tests.support.gateway import gateway_to, provider
from tests.support.stored_keys import CONFIGS, KEYS_AND_HOSTS

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
