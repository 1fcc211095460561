"""Case 4: an option or a model's name breaks out of its place in the provider's URL."""

from __future__ import annotations

import pytest
from yarl import URL

from adapters import PROVIDERS, get_adapter
from adapters.errors import ImageError
from proxy.settings.credentials import credentials_for
from proxy.settings.routing_config import ConfigError
from tests.support.gateway import gateway, gateway_to, provider

BREAKING = (
    *("evil.example#", "evil.example/", "evil.example?", "x@evil.example", "evil.example\\"),
    *(
        "evil.example:443/",
        "x.evil.example/..",
        "../..",
        "a\r\nhost: evil.example",
        "%2e%2e",
        "a b",
    ),
)
MODELS = ("../../other", "a/../../b", "a/./b", "a//b", "a?b", "a#b", "a%2f..", "a\\b", "a\r\nb")
OPTIONS = [(name, it) for name in PROVIDERS for it in get_adapter(name).options if not it.secret]


def test_no_option_moves_the_host() -> None:
    for name, option in OPTIONS:
        adapter = get_adapter(name)
        for value in BREAKING:
            try:
                credentials = credentials_for(adapter, "k", {option.name: value})
                host = URL(adapter.resolve_base_url(credentials)).host or ""
            except (ConfigError, ImageError):
                continue
            assert "evil" not in host, (name, option.name, value)


async def test_a_hostile_option_is_refused_before_anything_is_sent() -> None:
    async with gateway_to() as (ours, _):
        for value in ("evil.example#", "x.evil.example/", "a@evil.example"):
            for name, header in (
                ("azure-openai", "azure_resource_name"),
                ("bedrock", "aws_region"),
            ):
                asked = {"provider": name, "authorization": "Bearer k", header: value}
                got = await ours.draw(params={"model": "m"}, **asked)
                assert (got.status, got.error["code"]) == (400, "invalid_config")


@pytest.mark.parametrize("name", ["replicate", "huggingface", "workers-ai", "gemini", "fal-ai"])
async def test_no_model_leaves_its_place_in_the_path(name: str) -> None:
    option = ", workers_ai_account_id: abc" if name == "workers-ai" else ""
    async with provider() as fake:
        stored = f"provider: {name}, api_key: test-key-0123456789, custom_host: '{fake.url}'"
        async with gateway(f"virtual_keys: {{it: {{{stored}{option}}}}}\n") as ours:
            for model in MODELS:
                got = await ours.draw(params={"model": model}, virtual_key="it")
                assert (got.status, got.error["param"]) == (400, "model"), (model, got.body)
        assert not fake.requests
