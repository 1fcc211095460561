"""Dry runs show the whole request, send nothing, and reveal no secret."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from unittest.mock import ANY
from urllib.parse import quote

import pytest

import adapters
from tests.support.gateway import gateway, gateway_to
from tests.support.transcripts import secrets_of, transcripts_of

SECRET = "skStoredSecret0123456789"
KEYS = f"""
virtual_keys:
  stability: {{provider: stability-ai, api_key: {SECRET}}}
  bedrock:
    provider: bedrock
    aws_access_key_id: AKIAIOSFODNN7EXAMPLE
    aws_secret_access_key: {SECRET}
  replicate: {{provider: replicate, api_key: {SECRET}}}
"""


async def test_a_dry_run_shows_the_request_and_the_receipt_and_sends_nothing() -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(
            params={"model": "gpt-image-2"}, virtual_key="up", x_easel_dry_run="true"
        )
        assert got.status == 200
        [request] = got.json["requests"]
        assert (request["method"], request["url"]) == ("POST", f"{fake.url}/v1/images/generations")
        assert request["body"] == {"prompt": "a cube", "model": "gpt-image-2"}
        assert request["headers"]["authorization"] == "Bearer ***"
        assert fake.requests == []


async def test_each_of_several_calls_is_shown_with_the_receipt_of_all() -> None:
    async with gateway(KEYS) as ours:
        params = {"model": "stable-image-core", "n": 2, "size": "1792x1024", "style": "vivid"}
        got = await ours.draw(params=params, virtual_key="stability", x_easel_dry_run="true")
        assert [it["body"]["aspect_ratio"] for it in got.json["requests"]] == ["16:9", "16:9"]
        assert got.json["receipt"] == [
            "rounded size=1792x1024>aspect_ratio=16:9",
            "dropped style=vivid",
            "converted n=2>calls=2",
        ]
        assert got.headers["x-easel-receipt"] == ", ".join(got.json["receipt"])
        assert got.json["price"] == {"usd": 0.06, "usd_each": 0.03, "images": 2}


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("stability", "sd3.5-large"),
        ("bedrock", "stability.sd3-5-large-v1:0"),
        ("replicate", "black-forest-labs/flux-schnell"),
    ],
)
async def test_no_secret_is_shown(key: str, model: str) -> None:
    async with gateway(KEYS) as ours:
        got = await ours.draw(params={"model": model}, virtual_key=key, x_easel_dry_run="true")
        assert got.status == 200
        assert SECRET.encode() not in got.body
        assert b"Signature=" not in got.body


async def test_what_is_wrong_with_a_call_is_said_in_a_dry_run_too() -> None:
    async with gateway(KEYS) as ours:
        params = {"model": "stable-image-core", "style": "vivid"}
        named = {"x_easel_dry_run": "true", "x_easel_unsupported": "strict"}
        got = await ours.draw(params=params, virtual_key="stability", **named)
        assert (got.status, got.error["param"]) == (400, "style")
        assert "Stability AI does not support the parameter 'style'" in got.error["message"]


async def test_a_price_that_is_not_known_is_none() -> None:
    async with gateway_to() as (ours, _):
        got = await ours.draw(params={"model": "m"}, virtual_key="up", x_easel_dry_run="true")
        assert got.json["price"] is None


async def test_a_dry_run_is_neither_kept_nor_answered_from_the_cache() -> None:
    async with gateway_to() as (ours, fake):
        config = '{"virtual_key": "up", "cache": {"mode": "simple"}}'
        for dry in ("true", "false", "true"):
            got = await ours.draw(params={"model": "m"}, config=config, x_easel_dry_run=dry)
            assert ("requests" in got.json) is (dry == "true")
        assert len(fake.requests) == 1


@pytest.mark.parametrize("provider", adapters.PROVIDERS)
async def test_no_providers_secret_is_shown_or_logged(provider: str) -> None:
    for transcript in transcripts_of(provider):
        given, options = transcript.credentials, adapters.get_adapter(provider).options
        headers = {option.header: given[option.name] for option in options if given[option.name]}
        if given.api_key:
            headers["authorization"] = f"Bearer {given.api_key}"
        async with gateway() as ours:
            named = {"provider": provider, "x_easel_dry_run": "true", **headers}
            got = await ours.ask(transcript.call, **named)
            assert got.status < 500
            for secret in secrets_of(transcript):
                for form in (secret, quote(secret, safe=""), b64encode(secret.encode()).decode()):
                    assert form not in got.body.decode()
                    assert form not in ours.log.getvalue()


UNCHECKED = [
    *(("n", n) for n in ("3", "-5", "2.0", "null")),
    *(("size", size) for size in ("5", "[]", '"x"', '"1e9x3"', '{"a": 1}', "null")),
]


@pytest.mark.parametrize(("name", "value"), UNCHECKED)
async def test_what_is_the_providers_to_check_is_no_failure_of_ours(
    name: str, value: str, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai: {m: 0.5}")
    async with gateway_to(more=f"prices: {prices}\n") as (ours, _):
        body = f'{{"prompt": "a", "model": "m", "{name}": {value}}}'.encode()
        got = await ours.ask(body, virtual_key="up", x_easel_dry_run="true")
        assert (got.status, got.json["price"]) == (200, None if value == "-5" else ANY)
