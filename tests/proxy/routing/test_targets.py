"""A target's credential and origin; requests are tested in test_resolver."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from adapters import get_adapter
from adapters.contract import Credentials
from proxy.errors import BadRequest
from proxy.routing.plan import Caller, Target
from proxy.routing.targets import ResolveContext, make_target
from proxy.settings.loader import Settings, VirtualKey
from proxy.settings.routing_config import Config

KEY = VirtualKey("v", get_adapter("openai"), Credentials("sk-stored"), "http://10.0.0.1/v1")
SETTINGS = Settings(virtual_keys={"v": KEY}, trusted_custom_hosts=frozenset({"10.0.0.2"}))


def made(config: Config, *, saved: bool = False, **headers: str) -> Target:
    named = CIMultiDict({f"x-portkey-{name}".replace("_", "-"): it for name, it in headers.items()})
    return make_target(config, config, ResolveContext(SETTINGS, named, Caller("test"), {}, saved))


def test_a_virtual_key_brings_credential_and_origin() -> None:
    target = made(Config(virtual_key="v"))
    assert (target.credentials.api_key, target.base_url) == ("sk-stored", "http://10.0.0.1/v1")
    assert (target.allow_private_network, target.virtual_key) == (True, "v")


@pytest.mark.parametrize("config", [Config(virtual_key="v", custom_host="https://x.test/v1")])
def test_a_stored_credential_never_meets_a_callers_origin(config: Config) -> None:
    with pytest.raises(BadRequest) as refused:
        made(config)
    assert refused.value.code == "custom_host_with_stored_key"
    with pytest.raises(BadRequest):
        made(Config(virtual_key="v"), custom_host="https://x.test/v1")


def test_the_operators_config_may_choose_the_origin_of_his_key() -> None:
    config = Config(virtual_key="v", custom_host="https://x.test/v1")
    assert made(config, saved=True).base_url == "https://x.test/v1"


def test_a_trusted_host_may_be_private_a_public_one_not() -> None:
    own = Config(provider="openai", api_key="k")
    assert made(own, custom_host="http://10.0.0.2/v1").allow_private_network
    assert not made(own, custom_host="https://images.example.com/v1").allow_private_network


def test_headers_come_before_the_config() -> None:
    config = Config(provider="openai", api_key="k", request_timeout=5.0)
    assert made(config, request_timeout="250").request_timeout == 0.25
    assert made(config).request_timeout == 5.0
