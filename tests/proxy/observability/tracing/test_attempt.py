"""What is told of an attempt: tokens, models and counts, and never what a client wrote freely."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.observability.tracing.attempt import request_attributes, safe_model_name
from proxy.routing.plan import Target
from tests.support.gateway import ANSWER, PNG, Gateway, Provider, always, gateway, provider
from tests.support.otlp import Seen, otlp_receiver
from tests.support.spans import UP, traced

COUNTED = {"input_tokens": 5, "output_tokens": 70, "total_tokens": 75}


async def attempt_at(answer: Any, params: dict[str, Any]) -> Seen:
    async def story(ours: Gateway, _: Provider) -> None:
        await ours.draw(params=params, **UP)

    return (await traced(story, always(answer))).of_kind("client")[0]


async def test_what_the_provider_counted_is_told_once() -> None:
    answer = {**ANSWER, "usage": COUNTED, "model": "gpt-image-1-2026-01"}
    span = await attempt_at(answer, {"model": "gpt-image-1", "n": 2})
    assert span["gen_ai.usage.input_tokens"] == 5
    assert span["gen_ai.usage.output_tokens"] == 70
    assert span["gen_ai.response.model"] == "gpt-image-1-2026-01"
    assert span["gen_ai.request.choice.count"] == 2
    assert span["easel.retries"] == 0


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": "5"}, {"input_tokens": True}])
async def test_what_nobody_counted_is_not_told(usage: Any) -> None:
    span = await attempt_at({**ANSWER, "usage": usage}, {})
    assert not [name for name in span.attributes if "usage" in name]
    assert "gen_ai.request.choice.count" not in span.attributes


async def test_a_prompt_in_the_place_of_a_model_is_not_told() -> None:
    span = await attempt_at({**ANSWER, "model": "a sekret"}, {"model": "a sekret lighthouse"})
    assert span.name == "generate_content"
    assert "gen_ai.request.model" not in span.attributes
    assert "gen_ai.response.model" not in span.attributes


def test_a_key_in_the_place_of_a_model_is_not_told() -> None:
    key = "sk-stored-0123456789"
    assert safe_model_name(f"x/{key}", frozenset({key})) == ""
    assert safe_model_name(f"x/{key}", frozenset()) == f"x/{key}"
    assert safe_model_name("a" * 129, frozenset()) == ""


def test_a_provider_is_named_as_the_conventions_name_it() -> None:
    told = {
        name: request_attributes(Target(get_adapter(name), Credentials(), ""), {})[
            "gen_ai.provider.name"
        ]
        for name in ("azure-openai", "bedrock", "stability-ai")
    }
    assert told == {
        "azure-openai": "azure.ai.openai",
        "bedrock": "aws.bedrock",
        "stability-ai": "stability-ai",
    }


async def test_what_became_of_parameters_is_counted() -> None:
    async def png(request: web.Request) -> web.Response:
        del request
        return web.Response(body=PNG, content_type="image/png")

    with otlp_receiver() as receiver:
        tracing = f"tracing: {{endpoint: {receiver.url}}}\n"
        async with provider(png) as fake:
            stored = f"{{provider: stability-ai, api_key: test-key, custom_host: '{fake.url}'}}"
            params = {
                "model": "stable-image-core",
                "size": "1000x1000",
                "background": "transparent",
            }
            async with gateway(f"virtual_keys: {{up: {stored}}}\n{tracing}") as ours:
                got = await ours.draw(params={**params, "n": 2}, **UP)
        receipt = got.headers["x-easel-receipt"]
        seen = await receiver.got()
    span = seen.of_kind("client")[0]
    changed = sum(receipt.count(f"{verb} ") for verb in ("converted", "clamped", "rounded"))
    assert (span["easel.receipt.dropped"], span["easel.receipt.changed"]) == (
        receipt.count("dropped "),
        changed,
    )
    assert receipt.count("dropped ")
    assert changed
    assert [it.name for it in seen.below(span)] == ["POST /v2beta/stable-image/generate/core"] * 2
