"""Resolving headers, config and model into a plan: every way to name a provider, and to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

import adapters
from proxy.errors import BadRequest
from proxy.routing.plan import Caller
from proxy.routing.resolver import Resolver
from proxy.settings.loader import Settings
from proxy.settings.routing_config import Config
from proxy.upstream import connector
from tests.support.gateway import ANSWER, Answered, Gateway, Provider, gateway, gateway_to, provider
from tests.support.raw_http import shout
from tests.support.stored_keys import CONFIGS, KEYS_AND_HOSTS

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
    config = '{"virtual_key": "up", "drop_params": ["a[%s]", "", "]["]}' % ("9" * 240)
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
    with pytest.raises(BadRequest, match="but no provider"):
        Resolver(settings).resolve(headers, Caller("test"), {})


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


# The three calls of https://portkey.ai/docs/api-reference/inference-api/images/create-image
OTTER = {"model": "dall-e-3", "prompt": "A cute baby sea otter", "n": 1, "size": "1024x1024"}
STORED = "Bearer test-key-0123456789"
UP = {"virtual_key": "up"}


@pytest.fixture
async def theirs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    """Run a fake in place of the provider's host; its address is on this machine."""
    async with provider() as fake:
        monkeypatch.setattr(adapters.get_adapter("openai"), "base_url", f"{fake.url}/v1")
        monkeypatch.setattr(connector, "is_allowed_address", lambda _address, **_: True)
        yield fake


def is_drawn(got: Answered, fake: Provider, credential: str) -> bool:
    request = fake.requests[-1]
    assert (request.path, fake.sent) == ("/v1/images/generations", OTTER)
    assert request.headers["authorization"] == credential
    # A client that names dall-e-3 and no form gets URLs.
    return got.status == 200 and got.json["data"][0].keys() == {"url"}


async def test_portkeys_first_call_provider_and_authorization(theirs: Provider) -> None:
    async with gateway() as ours:
        got = await ours.ask(OTTER, provider="openai", authorization="Bearer sk-callers-own")
        assert is_drawn(got, theirs, "Bearer sk-callers-own")


async def test_portkeys_second_call_virtual_key() -> None:
    async with gateway_to() as (ours, fake):
        assert is_drawn(await ours.ask(OTTER, virtual_key="up"), fake, STORED)


INLINE = ("pc-otter-1", '"pc-otter-1"', '{"virtual_key": "up"}', '{"provider": "@up"}')


@pytest.mark.parametrize("config", INLINE)
async def test_portkeys_third_call_config(config: str) -> None:
    async with gateway_to(more=CONFIGS) as (ours, fake):
        assert is_drawn(await ours.ask(OTTER, config=config), fake, STORED)


async def test_a_config_with_its_own_credential_needs_no_other_header(theirs: Provider) -> None:
    config = {"provider": "openai", "api_key": "sk-in-config"}
    async with gateway() as ours:
        got = await ours.ask(OTTER, config=orjson.dumps(config).decode())
        assert is_drawn(got, theirs, "Bearer sk-in-config")


async def test_a_config_with_one_target_is_that_target() -> None:
    config = '{"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "up"}]}'
    async with gateway_to() as (ours, fake):
        got = await ours.ask(OTTER, config=config)
        assert is_drawn(got, fake, STORED)
        assert got.headers["x-portkey-last-used-option-index"] == "config.targets[0]"


@pytest.mark.parametrize("name", ["@up", " @up "])
async def test_a_slug_names_the_virtual_key(name: str) -> None:
    async with gateway_to() as (ours, fake):
        assert is_drawn(await ours.ask(OTTER, provider=name), fake, STORED)


async def test_a_provider_is_named_in_any_case(theirs: Provider) -> None:
    async with gateway() as ours:
        got = await ours.ask(OTTER, provider="OpenAI", authorization="bearer sk-callers-own")
        assert is_drawn(got, theirs, "Bearer sk-callers-own")


async def test_the_model_alone_names_the_virtual_key() -> None:
    async with gateway_to() as (ours, fake):
        assert is_drawn(await ours.ask({**OTTER, "model": "@up/dall-e-3"}), fake, STORED)


async def test_a_model_keeps_its_own_slashes() -> None:
    async with gateway_to() as (ours, fake):
        await ours.draw(params={"model": "@up/owner/name:1"})
        assert fake.sent["model"] == "owner/name:1"


async def test_the_model_of_a_configs_override_names_it_too() -> None:
    config = '{"override_params": {"model": "@up/dall-e-3"}}'
    async with gateway_to() as (ours, fake):
        got = await ours.ask({**OTTER, "model": "any"}, config=config)
        assert (got.status, fake.sent, got.json) == (200, OTTER, ANSWER)
        assert fake.requests[-1].headers["authorization"] == STORED


@pytest.mark.parametrize("named", [{"virtual_key": "up"}, {"provider": "@up"}])
async def test_the_slug_is_taken_off_where_a_header_names_it_too(named: dict[str, str]) -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.ask({**OTTER, "model": "@up/dall-e-3"}, **named)
        assert is_drawn(got, fake, STORED)


async def test_a_config_comes_before_the_headers() -> None:
    async with gateway_to(more=CONFIGS) as (ours, fake):
        others = {"virtual_key": "none", "provider": "bedrock", "authorization": "Bearer sk-other"}
        got = await ours.ask(OTTER, config="pc-otter-1", **others)
        assert is_drawn(got, fake, STORED)


async def test_a_virtual_key_comes_before_a_provider() -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.ask(OTTER, provider="bedrock", authorization="Bearer x", **UP)
        assert is_drawn(got, fake, STORED)


async def test_headers_come_before_the_model() -> None:
    async with gateway_to() as (ours, fake):
        await ours.draw(params={"model": "@other/m"}, **UP)
        assert fake.sent["model"] == "@other/m"


async def test_a_config_without_a_provider_takes_it_from_the_headers(theirs: Provider) -> None:
    config = '{"override_params": {"n": 1}, "openai_project": "own"}'
    async with gateway() as ours:
        asked = {"provider": "openai", "authorization": "Bearer sk-callers-own"}
        options = {"openai_project": "other", "openai_organization": "org-1"}
        got = await ours.ask(OTTER, config=config, **asked, **options)
        assert is_drawn(got, theirs, "Bearer sk-callers-own")
        sent = theirs.requests[0].headers
        assert (sent["openai-project"], sent["openai-organization"]) == ("own", "org-1")


async def test_defaults_overrides_and_drops_are_applied_in_this_order() -> None:
    body = {"quality": "low", "user": "me", "style": "vivid", "input": {"secret": 1, "kept": 2}}
    async with gateway_to(more=CONFIGS) as (ours, fake):
        await ours.draw(params=body, config="pc-params")
        assert fake.sent == {
            "prompt": "a cube",
            "model": "dall-e-3",
            "quality": "low",
            "n": 2,
            "user": "u",
            "input": {"kept": 2},
        }


async def test_the_header_comes_before_the_configs_host() -> None:
    async with gateway_to(more=CONFIGS) as (ours, fake), provider() as other:
        config = {"provider": "openai", "api_key": "k", "custom_host": other.url}
        text = orjson.dumps(config).decode()
        assert (await ours.draw(config=text)).status == 200
        assert (await ours.draw(config=text, custom_host=fake.url)).status == 200
        assert (len(other.requests), len(fake.requests)) == (1, 1)


@pytest.mark.parametrize("ways", KEYS_AND_HOSTS, ids=str)
async def test_a_stored_key_does_not_go_to_a_host_that_the_caller_chose(
    ways: dict[str, Any],
) -> None:
    async with gateway_to(more=CONFIGS) as (ours, fake), provider() as stranger:
        named = {
            name: it.replace("{url}", stranger.url) if isinstance(it, str) else it
            for name, it in ways.items()
        }
        got = await ours.draw(**named)
        assert (got.status, got.error["code"]) == (400, "custom_host_with_stored_key")
        assert not stranger.requests + fake.requests


async def test_a_stored_key_takes_no_options_of_the_callers() -> None:
    config = '{"virtual_key": "up", "openai_organization": "org-callers"}'
    async with gateway_to() as (ours, fake):
        assert (await ours.draw(config=config)).status == 400
        assert (await ours.draw(openai_organization="org-callers", **UP)).status == 200
        assert "openai-organization" not in fake.requests[0].headers


EITHER = "Either x-portkey-config or x-portkey-provider header is required"
IN_CONFIG = (
    "Either x-portkey-provider needs to be passed. Or the x-portkey-config header should have a "
    "valid config with provider details in it."
)
NO_JSON = "Invalid config passed. You need to pass a valid json"
OLD = "This version of config is not supported in this route. Please migrate to the latest version"

# What a request names -> Portkey's sentence and our code.
PORTKEYS: dict[str, tuple[dict[str, str], str, str]] = {
    "nothing": ({}, EITHER, "provider_needed"),
    "an unknown provider": ({"provider": "opena"}, "Invalid provider passed", "unknown_provider"),
    "an unknown slug": ({"provider": "@ip"}, "Invalid provider passed", "unknown_virtual_key"),
    "an unknown key": ({"virtual_key": "ip"}, "Invalid provider passed", "unknown_virtual_key"),
    "no url": (
        {"provider": "openai", "authorization": "Bearer k", "custom_host": "evil"},
        *("Invalid custom host", "invalid_custom_host"),
    ),
    "no json": ({"config": "{"}, NO_JSON, "invalid_config"),
    "an unknown id": ({"config": "pc-none"}, NO_JSON, "invalid_config"),
    "a config without a provider": (
        {"config": '{"override_params": {"n": 1}}'},
        *(IN_CONFIG, "provider_needed"),
    ),
    "a wrong config": (
        {"config": '{"provider": "openai", "api_key": "k", "cache": {"mode": "exact"}}'},
        *("Invalid config passed", "invalid_config"),
    ),
    "an unknown option": (
        {"config": '{"provider": "openai", "api_key": "k", "aws_region": "r"}'},
        *("Invalid config passed", "invalid_config"),
    ),
    "an unknown key, without a provider": (
        {"config": '{"virtualkey": "up"}'},
        *("Invalid config passed", "invalid_config"),
    ),
    "an unknown provider in a config": (
        {"config": '{"provider": "opena", "api_key": "k"}'},
        *("Invalid provider passed", "unknown_provider"),
    ),
    "an old config": ({"config": '{"options": [{"provider": "openai"}]}'}, OLD, "invalid_config"),
    "no object": ({"config": "[1]"}, "Invalid config passed", "invalid_config"),
    "too long a config": (
        {"config": '{"name": "%s"}' % ("x" * 33_000)},
        "Invalid config passed",
        "invalid_config",
    ),
}


async def test_an_unknown_key_is_reported_before_the_missing_provider() -> None:
    async with gateway_to() as (ours, _):
        got = await ours.draw(config='{"virtualkey": "up"}')
        assert got.error["param"] == "virtualkey"
        assert "did you mean virtual_key?" in got.error["message"]


@pytest.mark.parametrize(("named", "message", "code"), PORTKEYS.values(), ids=PORTKEYS.keys())
async def test_portkeys_sentence_stands_beside_the_openai_error(
    named: dict[str, str], message: str, code: str
) -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(**named)
        assert (got.status, got.json["status"], got.json["message"]) == (400, "failure", message)
        assert got.error["type"] == "invalid_request_error"
        assert got.error["code"] == code
        assert got.headers["x-portkey-trace-id"]
        assert not fake.requests


async def test_everything_wrong_with_a_config_is_listed_as_portkey_does() -> None:
    config = (
        '{"strategy": {"mode": "best"}, "targets": [{"virtual_key": "up", "cache": {"mode": 1}}]}'
    )
    async with gateway() as ours:
        errors = (await ours.draw(config=config)).json["errors"]
        assert sorted(it.partition(", message: ")[0] for it in errors) == [
            *("path: strategy,mode", "path: targets,0,cache,mode"),
        ]
        assert all(it.partition(", message: ")[2] for it in errors)


async def test_a_provider_without_a_credential_is_401() -> None:
    config = '{"provider": "openai"}'
    async with gateway() as ours:
        for named in ({"provider": "openai"}, {"config": config}):
            got = await ours.draw(**named)
            assert (got.status, got.error["code"]) == (401, "provider_key_needed")
            assert got.error["type"] == "authentication_error"


@pytest.mark.parametrize("key", ["a b", "a\u0000", "a\r\nx-evil: 1", "\u00e9", "k" * 8193])
async def test_a_key_that_cannot_stand_in_a_header_is_refused(key: str) -> None:
    config = orjson.dumps({"provider": "openai", "api_key": key}).decode()
    async with gateway() as ours:
        got = await ours.draw(config=config)
        assert (got.status, got.error["code"]) == (400, "invalid_config")
        assert key[:100] not in got.body.decode()


async def test_an_option_cannot_leave_its_place() -> None:
    options = {"azure-resource-name": "evil.com#", "aws-region": "x.evil.com/"}
    for (header, value), name in zip(options.items(), ("azure-openai", "bedrock"), strict=True):
        async with gateway() as ours:
            asked = {"provider": name, "authorization": "Bearer k", header: value}
            got = await ours.draw(params={"model": "m"}, **asked)
            assert (got.status, got.error["code"]) == (400, "invalid_config")
            assert got.error["param"] == header.replace("-", "_")


GOOD_AND_BAD = {
    "metadata": ('{"_user": "u", "n": 1}', ("[]", "1", "{", "null", '"a"', "true")),
    "cache_force_refresh": ("True", ("yes", "1", "tru")),
    "x_easel_unsupported": ("strict", ("never", "passes")),
    "trace_id": ("an id/1", ("x" * 513,)),
    "request_timeout": ("60000", ("0", "1.5", "soon")),
    "x_easel_keepalive": ("15", ("601", "-1", "1.5", "soon", "9999")),
    "cache_namespace": ("team", ("a\tb",)),
}


@pytest.mark.parametrize("name", GOOD_AND_BAD)
async def test_a_header_is_of_its_form_or_a_400_that_names_it(name: str) -> None:
    good, bad = GOOD_AND_BAD[name]
    async with gateway_to() as (ours, fake):
        assert (await ours.draw(**{name: good}, **UP)).status == 200
        for text in bad:
            got = await ours.draw(**{name: text}, **UP)
            assert (got.status, got.error["code"]) == (400, "invalid_header")
            assert got.error["param"].endswith(name.replace("_", "-"))
        assert len(fake.requests) == 1


async def test_headers_of_sdks_and_unknown_ones_change_nothing() -> None:
    sdk = {"package_version": "portkey-2.3.4", "runtime": "cpython", "mode": "x", "unheard_of": "1"}
    async with gateway_to() as (ours, fake):
        assert is_drawn(await ours.ask(OTTER, **sdk, **UP), fake, STORED)


async def test_requests_share_nothing(theirs: Provider) -> None:
    async def own(ours: Gateway, key: str) -> Answered:
        return await ours.draw(key, provider="openai", authorization=f"Bearer {key}")

    async with gateway() as ours:
        await asyncio.gather(*(own(ours, f"key-{n}") for n in range(20)))
    keys = [request.headers["authorization"] for request in theirs.requests]
    assert keys == [f"Bearer {orjson.loads(body)['prompt']}" for body in theirs.bodies]
    assert len(set(keys)) == 20


@pytest.mark.parametrize("beside", ["\t", "\x1c", "\x85"])
def test_a_config_that_is_known_excuses_nothing_beside_it(beside: str) -> None:
    resolver, text = Resolver(Settings()), '{"provider": "openai", "api_key": "sk-0123456789"}'
    assert resolver.resolve(CIMultiDict({"x-portkey-config": text}), Caller("a"), {})
    with pytest.raises(BadRequest, match="printable"):
        resolver.resolve(CIMultiDict({"x-portkey-config": text + beside}), Caller("a"), {})
