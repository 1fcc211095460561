"""Azure OpenAI, beyond its transcripts: where names stand, and which credential is sent."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, Refusal
from adapters.http import ProviderReply
from adapters.providers.azure_openai import ADAPTER

OPTIONS = {option.name: option for option in ADAPTER.options}
OUTGOING = SignableRequest("POST", "https://contoso.openai.azure.com/openai", {}, b"", 0)


def with_options(api_key: str = "", **options: str) -> Credentials:
    return Credentials(api_key, {f"azure_{name}": value for name, value in options.items()})


def call(credentials: Credentials, body: bytes | None = None, **params: Any) -> ImageCall:
    return ImageCall(params, params, credentials, body)


ENTRA = with_options(
    auth_mode="entra",
    entra_tenant_id="contoso.example",
    entra_client_id="00000000-0000-0000-0000-000000000001",
    entra_client_secret="test-secret-0123456789",
)


# Names


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("azure_resource_name", "evil.example#"),
        ("azure_resource_name", "evil.example/"),
        ("azure_resource_name", "a?b"),
        ("azure_resource_name", "a.b"),
        ("azure_resource_name", "-a"),
        ("azure_resource_name", "a@b"),
        ("azure_deployment_id", "a/../b"),
        ("azure_deployment_id", ".."),
        ("azure_deployment_id", "a?b"),
        ("azure_api_version", "2024-10-21&x=1"),
        ("azure_api_version", "v2"),
        ("azure_ad_token", "a\r\nx: y"),
    ],
)
def test_a_value_that_would_leave_its_place_is_not_of_the_form(option: str, value: str) -> None:
    assert not re.fullmatch(OPTIONS[option].pattern, value)


def test_the_short_names_of_a_config_are_aliases() -> None:
    short = {"resource_name", "deployment_id", "api_version"}
    assert {alias for option in ADAPTER.options for alias in option.aliases} == short
    assert OPTIONS["azure_api_version"].header == "x-portkey-azure-api-version"


def test_without_a_resource_there_is_no_address() -> None:
    with pytest.raises(BadParam) as caught:
        ADAPTER.resolve_base_url(Credentials("k"))
    assert caught.value.param == "azure_resource_name"


def test_a_custom_host_needs_no_resource() -> None:
    credentials = with_options("k", deployment_id="d")
    assert ADAPTER.missing_credentials(credentials) == ""
    assert ADAPTER.build_request(call(credentials, prompt="a")).path.startswith("/deployments/d/")


def test_without_a_deployment_the_clients_model_names_it() -> None:
    path = ADAPTER.build_request(call(Credentials("k"), model="my-pictures")).path
    assert path.startswith("/deployments/my-pictures/images/generations?")


@pytest.mark.parametrize("model", ["", "..", "a/../b", "a?b", "a#b"])
def test_a_model_that_is_no_deployments_name_is_refused(model: str) -> None:
    with pytest.raises(BadParam) as caught:
        ADAPTER.build_request(call(Credentials("k"), model=model, prompt="a"))
    assert caught.value.param == "model"


# What is told of models


@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-2.5-flare", "gpt-image-1-mini"])
def test_azure_writes_no_webp(model: str) -> None:
    row = ADAPTER.table_for(model).row("output_format")
    assert row
    assert row.choices == ("png", "jpeg")


# Bodies


def test_v1_sends_the_clients_bytes_where_the_model_is_the_deployment() -> None:
    body = b'{ "model": "d", "prompt": "a" }'
    credentials = with_options("k", deployment_id="d", api_version="v1")
    assert ADAPTER.build_request(call(credentials, body, model="d", prompt="a")).content is body


def test_v1_replaces_the_model_by_the_deployment() -> None:
    credentials = with_options("k", deployment_id="d", api_version="latest")
    request = ADAPTER.build_request(call(credentials, b"{...}", model="gpt-image-2", prompt="a"))
    assert orjson.loads(request.content or b"") == {"model": "d", "prompt": "a"}
    assert request.path == "/v1/images/generations?api-version=latest"


@pytest.mark.parametrize(
    ("model", "named", "kept"),
    [("dall-e-3", "", True), ("d", "dall-e-3", True), ("dall-e-3", "gpt-image-2", False)],
)
def test_the_model_and_not_the_deployment_decides_on_response_format(
    *, model: str, named: str, kept: bool
) -> None:
    credentials = with_options("k", deployment_id="dall-e-3", model_name=named)
    request = ADAPTER.build_request(call(credentials, model=model, response_format="b64_json"))
    assert (b"response_format" in (request.content or b"")) is kept


# Credentials


@pytest.mark.parametrize(
    ("credentials", "missing"),
    [
        (Credentials(), "an API key or azure_ad_token"),
        (with_options("k"), ""),
        (with_options(ad_token="t"), ""),
        (with_options("k", auth_mode="entra", entra_tenant_id="t"), "azure_entra_client_id and"),
        (ENTRA, ""),
        (with_options("k", auth_mode="managed"), "managed is not supported"),
        (with_options("k", auth_mode="workload"), "workload is not supported"),
    ],
)
def test_what_is_missing_is_named(credentials: Credentials, missing: str) -> None:
    assert missing in ADAPTER.missing_credentials(credentials)
    assert bool(ADAPTER.missing_credentials(credentials)) is bool(missing)


@pytest.mark.parametrize("token", ["", "test-token-0123456789"])
def test_never_are_two_credentials_sent(token: str) -> None:
    signed = ADAPTER.sign(OUTGOING, with_options("test-key-0123456789", ad_token=token))
    assert set(signed) == ({"authorization"} if token else {"api-key"})


def test_a_token_is_bought_where_none_is_at_hand_and_the_mode_says_so() -> None:
    assert ADAPTER.token_flow(with_options(ad_token="t", auth_mode="entra"), 0) is None
    assert ADAPTER.token_flow(with_options("k"), 0) is None
    assert ADAPTER.token_flow(ENTRA, 0) is not None


# Errors


@pytest.mark.parametrize("place", ["innererror", "inner_error"])
def test_the_content_filter_is_known_by_its_inner_code(place: str) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation"}
    told = {"error": {"code": None, "message": "No.", "type": "invalid", place: inner}}
    assert isinstance(ADAPTER.provider_error(ProviderReply(400, body=orjson.dumps(told))), Refusal)
