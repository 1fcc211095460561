"""From headers, config and model to the provider: every way to name one, and every way to fail."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.configs import Config
from proxy.errors import BadRequest
from proxy.plan import Caller
from proxy.routing.resolve import resolve
from proxy.settings import Settings
from tests.proxy.gateway import gateway_to
from tests.proxy.wire import shout

DEEP = "[" * 300 + "]" * 300
CACHED = b'x-portkey-config: {"virtual_key": "up", "cache": {"mode": "simple"}}\r\n'
HOSTILE = {
    "digits without end": CACHED + b"x-portkey-request-timeout: 1" + b"0" * 5000,
    "a namespace that is no text": CACHED + b"x-portkey-cache-namespace: \xff",
    "metadata without a floor": CACHED + b'x-portkey-metadata: {"a": %b}' % DEEP.encode(),
    "a trace id that is no text": CACHED + b"x-portkey-trace-id: \xff",
    "a config without a floor": b'x-portkey-config: {"override_params": {"a": %b}}' % DEEP.encode(),
    "a config that is no text": b"x-portkey-config: \xff",
    "a config with no text in it": b'x-portkey-config: {"provider": "\xff"}',
    "a provider that is no text": b"x-portkey-provider: \xff",
    "a virtual key that is no text": b"x-portkey-virtual-key: \xff",
}


@pytest.mark.parametrize("lines", HOSTILE.values(), ids=HOSTILE.keys())
async def test_no_header_makes_the_gateway_fail(lines: bytes) -> None:
    async with gateway_to() as (ours, fake):
        got = await shout(ours, lines)
        assert (got.status, bool(fake.requests)) == (400, False)


async def test_a_path_to_drop_may_be_any_text() -> None:
    config = '{"virtual_key": "up", "drop_params": ["a[%s]", "", "]["]}' % ("9" * 5000)
    async with gateway_to() as (ours, fake):
        assert (await ours.draw(params={"a": [1]}, config=config)).status == 200
        assert fake.sent == {"prompt": "a cube", "a": [1]}


SAVED = """
configs:
  pc-cache: {cache: {mode: simple}}
trusted_custom_hosts: [127.0.0.1]
"""
OWN_KEY = {"authorization": "Bearer sk-callers-own"}


async def test_a_saved_config_without_a_credential_leaves_the_host_to_the_caller() -> None:
    async with gateway_to(more=SAVED) as (ours, fake):
        chosen = {"provider": "openai", "custom_host": fake.url, **OWN_KEY}
        assert (await ours.draw(config="pc-cache", **chosen)).status == 200
        assert fake.requests[0].headers["authorization"] == "Bearer sk-callers-own"


@pytest.mark.parametrize("name", ["provider", "virtual-key"])
def test_a_stored_credential_does_not_go_to_a_provider_that_the_caller_chose(name: str) -> None:
    # No settings file may hold such a config; this is the second lock.
    settings = Settings(configs={"pc-key": Config(api_key="sk-stored-0123456789")})
    headers = CIMultiDict({"x-portkey-config": "pc-key", f"x-portkey-{name}": "openai"})
    with pytest.raises(BadRequest, match="names no provider"):
        resolve(settings, headers, Caller("test"), {})


async def test_an_empty_custom_host_is_none() -> None:
    async with gateway_to() as (ours, fake):
        got = await shout(ours, b"x-portkey-virtual-key: up", b"x-portkey-custom-host:")
        assert (got.status, len(fake.requests)) == (200, 1)


async def test_everything_wrong_with_a_config_is_told_at_once() -> None:
    config = '{"virtual_key": "up", "retry": {}, "cache": {"mode": "exact"}}'
    async with gateway_to() as (ours, _):
        got = await ours.draw(config=config)
    assert (got.status, got.error["param"]) == (400, "retry")
    assert "cache.mode: must be one of: simple, semantic." in got.error["message"]
