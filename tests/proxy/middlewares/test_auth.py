"""Authentication: which header counts, and that a gateway key is never forwarded."""

from __future__ import annotations

import pytest

from tests.support.gateway import KEY, OTHER_KEY, Answered, Gateway, gateway, gateway_to

UP = {"virtual_key": "up"}
BEARER = {"authorization": f"Bearer {KEY}"}
TRUST = "trusted_custom_hosts: [127.0.0.1]\n"


def is_refused(got: Answered) -> bool:
    return (got.status, got.error["code"]) == (401, "invalid_api_key")


async def test_a_key_in_its_own_header_lets_in() -> None:
    async with gateway_to() as (ours, _):
        assert (await ours.draw(**UP)).status == 200
        assert (await ours.draw(**UP, api_key=OTHER_KEY)).status == 200


async def test_a_key_as_bearer_lets_in() -> None:
    async with gateway_to() as (ours, _):
        assert (await ours.draw(**UP, api_key="", **BEARER)).status == 200
        assert (await ours.draw(**UP, api_key="", authorization=f"bearer  {KEY}")).status == 200


@pytest.mark.parametrize("key", ["", "wrong-key-0123456789", KEY[:-1], KEY + "x", KEY.upper()])
async def test_no_key_or_a_wrong_one_is_refused(key: str) -> None:
    async with gateway_to() as (ours, fake):
        assert is_refused(await ours.draw(**UP, api_key=key))
        assert is_refused(await ours.draw(**UP, api_key="", authorization=f"Bearer {key}"))
        assert not fake.requests


async def test_a_wrong_key_is_not_mended_by_a_good_bearer() -> None:
    async with gateway_to() as (ours, _):
        assert is_refused(await ours.draw(**UP, api_key="wrong-key-0123456789", **BEARER))


async def test_another_scheme_holds_no_gateway_key() -> None:
    async with gateway_to() as (ours, _):
        assert is_refused(await ours.draw(**UP, api_key="", authorization=f"Basic {KEY}"))


async def test_a_refusal_says_what_to_do_and_has_a_trace_id() -> None:
    async with gateway() as ours:
        got = await ours.draw(api_key="", trace_id="t-1")
        assert got.error["type"] == "authentication_error"
        assert "x-portkey-api-key" in got.error["message"]
        assert got.headers["x-portkey-trace-id"] == "t-1"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/healthz?x=1"])
async def test_health_needs_no_key(path: str) -> None:
    async with gateway() as ours:
        assert (await ours.ask(method="GET", path=path, api_key="")).status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/models", "//models", "/healthz/../v1/models"])
async def test_nothing_else_is_told_without_a_key(path: str) -> None:
    async with gateway() as ours:
        got = await ours.ask(method="GET", path=path, api_key="")
        assert got.status in (401, 404)
        assert "data" not in got.json


async def to_provider(ours: Gateway, url: str, **headers: str) -> Answered:
    return await ours.draw(provider="openai", custom_host=f"{url}/v1", **headers)


async def test_a_gateway_key_as_bearer_is_no_provider_key() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        for key in (KEY, ""):
            assert (await to_provider(ours, fake.url, api_key=key, **BEARER)).status == 200
        assert not [it for it in fake.requests if KEY in str(it.headers)]


async def test_anybodys_gateway_key_is_no_provider_key() -> None:
    async with gateway_to() as (ours, _):
        got = await ours.draw(provider="openai", authorization=f"Bearer {OTHER_KEY}")
        assert (got.status, got.error["code"]) == (401, "provider_key_needed")


async def test_a_gateway_key_is_not_forwarded_either() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        for key in (KEY, ""):
            forward = {"forward_headers": "authorization", "api_key": key, **BEARER}
            got = await to_provider(ours, fake.url, **forward)
            assert (got.status, got.error["code"]) == (400, "invalid_forward_header")
        assert not fake.requests


async def test_a_providers_key_as_bearer_goes_to_the_provider() -> None:
    async with gateway_to(more=TRUST) as (ours, fake):
        await to_provider(ours, fake.url, authorization="Bearer sk-callers-own")
        assert fake.requests[0].headers["authorization"] == "Bearer sk-callers-own"
