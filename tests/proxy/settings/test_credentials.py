"""Validation of options, keys, hosts and configs against the adapters' declarations."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

import adapters
from adapters import get_adapter
from adapters.contract import Option
from proxy.settings import routing_config
from proxy.settings.credentials import check_config, credentials_for, validate_host
from proxy.settings.loader import SettingsError
from proxy.settings.routing_config import ConfigError
from tests.support.gateway import Answered, gateway

AZURE, OPENAI, SANDBOX = get_adapter("azure-openai"), get_adapter("openai"), get_adapter("sandbox")
STORED = {"az": AZURE, "box": SANDBOX}
OPTIONS = [(name, option) for name in adapters.PROVIDERS for option in get_adapter(name).options]


def errors_of(*arguments: Any, check: Any = credentials_for) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        check(*arguments)
    return {error.path: error.message for error in caught.value.errors}


def config_wrong(**raw: Any) -> dict[str, str]:
    return errors_of(
        routing_config.parse_config(raw), STORED, frozenset({*STORED, "broken"}), check=check_config
    )


def check(**raw: Any) -> None:
    check_config(routing_config.parse_config(raw), STORED, frozenset({*STORED, "broken"}))


def test_an_option_is_known_by_each_of_its_names() -> None:
    made = credentials_for(AZURE, "k", {"resource_name": "r", "azure_deployment_id": "d"})
    assert (made.api_key, made["azure_resource_name"], made["azure_deployment_id"]) == (
        "k",
        "r",
        "d",
    )


def test_no_option_leaves_its_place_in_a_header() -> None:
    for provider, option in OPTIONS:
        found = errors_of(get_adapter(provider), "k", {option.name: "x\r\nx-evil: 1"})
        assert list(found) == [option.name], provider


def test_an_option_that_is_none_is_refused_with_the_nearest_name() -> None:
    found = errors_of(OPENAI, "k", {"openai_org": "o"})
    assert found == {"openai_org": "is not an option of openai; did you mean openai_organization?"}


def test_one_option_under_two_names_is_refused() -> None:
    found = errors_of(AZURE, "k", {"resource_name": "r", "azure_resource_name": "s"})
    assert found == {"azure_resource_name": "is given twice, under two names"}


@pytest.mark.parametrize("key", ["a b", "a\n", "ü", "x" * 9000])
def test_a_key_that_cannot_stand_in_a_header_is_refused_unseen(key: str) -> None:
    found = errors_of(OPENAI, key, {})
    assert list(found) == ["api_key"]
    assert key not in found["api_key"]


def test_everything_wrong_with_a_credential_is_told_at_once() -> None:
    assert list(errors_of(OPENAI, "a b", {"x": "1", "openai_project": "\n"})) == [
        "x",
        "openai_project",
        "api_key",
    ]


@pytest.mark.parametrize("host", ["", "http://10.0.0.5:8080/v1", "https://images.example.com"])
def test_a_custom_host_is_a_url(host: str) -> None:
    assert validate_host(host) == host


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h?a=1",
        "http://h#f",
        "http://h:0",
        "http://h:99999",
        "/v1",
        "http://[::1",
    ],
)
def test_a_host_of_another_form_is_refused_unseen(host: str) -> None:
    found = errors_of(host, check=validate_host)
    assert found == {"custom_host": "must be a URL such as https://images.example.com/v1"}


@pytest.mark.parametrize(
    "raw",
    [
        {"virtual_key": "az", "azure_api_version": "v1"},
        {"provider": "@az", "api_version": "v1"},
        {"virtual_key": "az", "provider": "azure-openai"},
        {"virtual_key": "broken", "whatever": "x"},
        {"provider": "openai", "api_key": "k", "openai_project": "p"},
        {"provider": "aws-bedrock", "aws_region": "eu-west-1"},
        {"cache": {"mode": "simple"}},
        {"targets": [{"provider": "sandbox"}]},
    ],
)
def test_a_config_that_can_be_used_passes(raw: dict[str, Any]) -> None:
    check(**raw)


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        ({"virtual_key": "azz"}, "virtual_key", "virtual_keys; did you mean az?"),
        ({"provider": "@azz"}, "provider", "did you mean az?"),
        ({"provider": "opnai"}, "provider", "did you mean openai?"),
        ({"provider": "openai", "azure_api_version": "v1"}, "azure_api_version", "of openai"),
        ({"virtual_key": "az", "cachee": "x"}, "cachee", "did you mean cache?"),
        ({"virtual_key": "az", "api_key": "k"}, "api_key", "must be left out"),
        (
            {"virtual_key": "az", "provider": "openai"},
            "provider",
            "differs from the provider of the virtual key",
        ),
        ({"virtual_key": "az", "provider": "opnai"}, "provider", "is not a known provider"),
        ({"azure_api_versoin": "v1"}, "azure_api_versoin", "did you mean azure_api_version?"),
        ({"azure_api_version": "v1"}, "", "but no provider"),
        ({"api_key": "k"}, "", "but no provider"),
        ({"custom_host": "h"}, "custom_host", "must be a URL"),
        ({"targets": [{"provider": "opnai"}]}, "targets[0].provider", "is not a known provider"),
    ],
)
def test_a_config_that_cannot_is_refused_with_its_place(
    raw: dict[str, Any], path: str, message: str
) -> None:
    (found,) = config_wrong(**raw).items()
    assert found[0] == path
    assert message in found[1]


def test_a_key_that_was_taken_for_a_virtual_key_is_not_shown() -> None:
    assert "sk-sekret" not in str(config_wrong(virtual_key="sk-sekret"))


OPERATORS = [(name, option) for name, option in OPTIONS if option.operator_only]


@pytest.mark.parametrize(("provider", "option"), OPERATORS)
async def test_what_is_the_operators_is_set_by_no_header_and_no_config(
    provider: str, option: Option
) -> None:
    host = "http://127.0.0.1:9"
    key = f"{{provider: {provider}, api_key: k, custom_host: '{host}'}}"
    more = f"virtual_keys: {{up: {key}}}\ntrusted_custom_hosts: [127.0.0.1]\n"
    async with gateway(more) as ours:

        async def dry(**headers: str) -> Answered:
            return await ours.draw(params={"model": "m"}, x_easel_dry_run="true", **headers)

        names = dict.fromkeys((option.header, *option.headers), "{}")
        by_header = {"provider": provider, "custom_host": host}
        assert (await dry(**by_header, **names)).body == (await dry(**by_header)).body
        for name in (option.name, *option.aliases):
            own = {"provider": provider, "api_key": "k", name: "{}"}
            for config in (own, {"targets": [own]}, {"virtual_key": "up", name: "{}"}):
                assert (await dry(config=orjson.dumps(config).decode())).status == 400
    for named in ("virtual_key: up", f"provider: {provider}"):
        saved = f"configs: {{pc: {{{named}, {option.name}: '{{}}'}}}}\n"
        with pytest.raises(SettingsError):
            async with gateway(more + saved):
                pass
