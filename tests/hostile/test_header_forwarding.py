"""Case 8: the list of headers to forward names what frames a message or opens other doors."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode

import orjson
import pytest

from tests.support.forbidden_headers import REFUSED
from tests.support.gateway import KEY, OTHER_KEY, gateway, gateway_to, provider

UP = {"virtual_key": "up"}
SENDABLE = [name for name in REFUSED if name.isascii() and name.isprintable()]


@pytest.mark.parametrize("name", SENDABLE)
async def test_neither_header_nor_config_forwards_it(name: str) -> None:
    config = orjson.dumps({"virtual_key": "up", "forward_headers": [name]}).decode()
    async with gateway_to() as (ours, fake):
        for asked in ({"forward_headers": name, **UP}, {"config": config}):
            got = await ours.draw(**asked)
            assert got.status == 400
            assert got.error["code"] in ("invalid_forward_header", "invalid_config")
        assert not fake.requests


async def test_a_gateway_key_is_never_forwarded() -> None:
    async with gateway_to() as (ours, fake):
        bearer = {"authorization": f"Bearer {KEY}", "forward_headers": "authorization"}
        for key in (KEY, ""):
            assert (await ours.draw(api_key=key, **bearer, **UP)).status == 400
        assert not fake.requests


def _basic(text: str) -> str:
    return f"Basic {b64encode(text.encode()).decode()}"


SPELLINGS = (
    *(f"Bearer {KEY}", f"Basic {KEY}", f"Token {KEY}", KEY, f"Bearer\t{KEY}", f"bearer   {KEY}"),
    *(f"Token token={KEY}", f'Token token="{KEY}", nonce=1', f"user:{KEY}", f"Key {OTHER_KEY}"),
    *(_basic(f"user:{KEY}"), _basic(KEY), _basic(f"{KEY}:"), _basic(f"a:b:{KEY}")),
    f"Basic {urlsafe_b64encode(f'ÿ?>:{KEY}'.encode()).decode().rstrip('=')}",
    KEY.replace("-", "%2D"),
)


async def test_a_gateway_key_is_not_forwarded_in_any_scheme_or_header() -> None:
    async with gateway_to() as (ours, fake):
        for value in SPELLINGS:
            for name in ("authorization", "x-api-key", "x-tenant"):
                headers = {name.replace("-", "_"): value, "forward_headers": name}
                got = await ours.draw(**headers, **UP)
                assert (got.status, got.error["code"]) == (400, "invalid_forward_header"), value
                assert KEY not in got.error["message"]
        assert not fake.requests


async def test_other_values_are_forwarded_as_they_are() -> None:
    values = (f"{KEY}x", "Basic dXNlcjpwYXNz", "a:b, c=d", "%zz", "====", "Basic A")
    async with gateway_to() as (ours, fake):
        for value in values:
            assert (await ours.draw(forward_headers="x-tenant", x_tenant=value, **UP)).status == 200
        assert [it.headers["x-tenant"] for it in fake.requests] == list(values)


BESIDE_STORED_KEY = (
    *("openai-organization", "openai-project", "openai-beta", "x-webhook-url"),
    *("X-Callback-Url", "x-notify", "x-goog-user-project"),
    *("x-http-method-override", "X-Original-URL"),
)


async def test_beside_a_stored_key_no_option_webhook_or_other_method_is_forwarded() -> None:
    async with gateway_to() as (ours, fake):
        for name in BESIDE_STORED_KEY:
            config = orjson.dumps({"virtual_key": "up", "forward_headers": [name]}).decode()
            headers = {"x-portkey-api-key": KEY, name: "x"}
            for way in ({"x-portkey-forward-headers": name}, {"x-portkey-config": config}):
                sent = {"x-portkey-virtual-key": "up", **headers, **way}
                async with ours.session.post(
                    f"{ours.url}/v1/images/generations", json={"prompt": "a"}, headers=sent
                ) as got:
                    error = (await got.json())["error"]
                assert (got.status, error["code"]) == (400, "invalid_forward_header"), name
        assert not fake.requests


async def test_beside_a_stored_key_nothing_forwarded_replaces_what_was_signed() -> None:
    forwarded = {"forward_headers": "authorization"}
    async with gateway_to() as (ours, fake):
        got = await ours.draw(authorization="Bearer sk-callers-own", **forwarded, **UP)
        assert got.status == 200
        assert fake.requests[0].headers["authorization"] == "Bearer test-key-0123456789"


STORED_ELSEWHERE = """
virtual_keys:
  flux: {{provider: black-forest-labs, api_key: stored-key-0123456789, custom_host: "{url}"}}
  hf: {{provider: huggingface, api_key: stored-key-0123456789, custom_host: "{url}"}}
  qwen: {{provider: dashscope, api_key: stored-key-0123456789, custom_host: "{url}"}}
  stable: {{provider: stability-ai, api_key: stored-key-0123456789, custom_host: "{url}"}}
"""


async def test_nor_what_another_provider_signs_bills_or_needs() -> None:
    async with provider() as fake, gateway(STORED_ELSEWHERE.format(url=fake.url)) as ours:
        for key, name, expected in (
            ("flux", "x-key", "stored-key-0123456789"),
            ("stable", "accept", "image/*"),
        ):
            headers = {name.replace("-", "_"): "mine", "forward_headers": name}
            model = {"model": "stable-image-core" if key == "stable" else "flux-2-pro"}
            got = await ours.draw(virtual_key=key, params=model, **headers)
            assert (got.status, fake.requests.pop(0).headers[name]) == (502, expected)
        for key, name in (("hf", "x-hf-bill-to"), ("qwen", "x-dashscope-workspace")):
            headers = {name.replace("-", "_"): "mine", "forward_headers": name}
            got = await ours.draw(virtual_key=key, params={"model": "m"}, **headers)
            assert got.error["code"] == "invalid_forward_header", name
        assert not fake.requests


async def test_with_a_key_of_their_own_callers_forward_what_they_like() -> None:
    trusted = "trusted_custom_hosts: [127.0.0.1]\n"
    async with provider() as fake, gateway(trusted) as ours:
        own = {"provider": "openai", "custom_host": fake.url, "authorization": "Bearer sk-own"}
        names = {"forward_headers": "x-webhook-url", "x_webhook_url": "https://example.com"}
        assert (await ours.draw(**own, **names)).status == 200
        assert fake.requests[0].headers["x-webhook-url"] == "https://example.com"
