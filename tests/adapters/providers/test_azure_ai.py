"""Azure AI Foundry: which surface a model is asked at, and which credential is sent there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam
from adapters.http import ProviderRequest
from adapters.providers.azure_ai import ADAPTER

PATTERNS = {option.name: option.pattern for option in ADAPTER.options}
RESOURCE = "https://contoso.services.ai.azure.com"
ENDPOINT = "https://pictures.eastus2.models.ai.azure.com"
OUTGOING = SignableRequest("POST", RESOURCE, {}, b"", 0)


def credentials_with(url: str = RESOURCE, api_key: str = "k", **options: str) -> Credentials:
    named = {f"azure_{name}": value for name, value in options.items()}
    return Credentials(api_key, {"azure_foundry_url": url, **named} if url else named)


def requested(model: str, credentials: Credentials, **params: Any) -> ProviderRequest:
    table = ADAPTER.table_for(ADAPTER.effective_model(model, credentials))
    call = ImageCall({"model": model, **params}, table.translate(params).fields, credentials)
    return ADAPTER.build_request(call)


def request_path(model: str, credentials: Credentials) -> str:
    return requested(model, credentials, prompt="a cube").path.partition("?")[0]


# Places


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("MAI-Image-2.6", "/mai/v1/images/generations"),
        ("FLUX.2-flex", "/providers/blackforestlabs/v1/flux-2-flex"),
        ("flux-2-pro", "/providers/blackforestlabs/v1/flux-2-pro"),
        ("FLUX-1.1-pro", "/openai/v1/images/generations"),
        ("anything", "/openai/v1/images/generations"),
    ],
)
def test_below_a_bare_resource_a_model_has_its_surface(model: str, path: str) -> None:
    assert request_path(model, credentials_with()) == path
    assert request_path(model, credentials_with(f"{RESOURCE}/")) == path
    assert request_path("our-pictures", credentials_with(model_name=model)) == path


@pytest.mark.parametrize("url", [f"{RESOURCE}/models", f"{ENDPOINT}/v1/", ""])
def test_a_base_with_a_path_or_a_custom_host_says_the_surface_itself(url: str) -> None:
    assert request_path("MAI-Image-2.6", credentials_with(url)) == "/images/generations"
    assert request_path("FLUX.2-pro", credentials_with(url)) == "/flux-2-pro"


def test_an_address_that_is_left_open_is_a_bare_resource() -> None:
    assert request_path("MAI-Image-2.6", credentials_with("***")) == "/mai/v1/images/generations"


def test_the_base_has_no_slash_at_its_end() -> None:
    assert ADAPTER.resolve_base_url(credentials_with(f"{ENDPOINT}/v1/")) == f"{ENDPOINT}/v1"


def test_without_an_address_there_is_no_base() -> None:
    with pytest.raises(BadParam) as caught:
        ADAPTER.resolve_base_url(credentials_with(""))
    assert caught.value.param == "azure_foundry_url"


@pytest.mark.parametrize("url", [RESOURCE, f"{RESOURCE}/", f"{RESOURCE}/models", f"{ENDPOINT}/v1/"])
def test_an_address_is_one_of_azures(url: str) -> None:
    assert re.fullmatch(PATTERNS["azure_foundry_url"], url)


@pytest.mark.parametrize(
    "url",
    [
        "http://contoso.services.ai.azure.com",
        "https://azure.com",
        "https://evil.test",
        "https://azure.com.evil.test",
        "https://evil.test/.azure.com",
        "https://evil.test#.azure.com",
        "https://evil.test?.azure.com",
        "https://evil.test\\.azure.com",
        "https://contoso.azure.com@evil.test",
        "https://contoso.azure.com:8443",
        f"{RESOURCE}/../x",
        f"{RESOURCE}/a//b",
        f"{RESOURCE}/a?b=c",
        f"{RESOURCE}\n",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    assert not re.fullmatch(PATTERNS["azure_foundry_url"], url)


@pytest.mark.parametrize("value", ["preview&x=1", "v2", "2024-10-21#"])
def test_a_version_cannot_leave_the_query(value: str) -> None:
    assert not re.fullmatch(PATTERNS["azure_api_version"], value)


# Credentials


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (credentials_with(), {"api-key": "k"}),
        (credentials_with("https://contoso.openai.azure.com/openai/v1"), {"api-key": "k"}),
        (credentials_with(ENDPOINT), {"authorization": "Bearer k"}),
        (credentials_with(""), {"authorization": "Bearer k"}),
        (credentials_with(ad_token="t"), {"authorization": "Bearer t"}),
    ],
)
def test_one_credential_is_sent_where_its_host_looks_for_it(
    credentials: Credentials, header: dict[str, str]
) -> None:
    assert ADAPTER.sign(OUTGOING, credentials) == header


def test_an_application_buys_a_token() -> None:
    assert ADAPTER.token_flow(credentials_with(), 0) is None
    assert ADAPTER.token_flow(credentials_with(auth_mode="entra"), 0) is not None
    assert (
        ADAPTER.missing_credentials(credentials_with(api_key="")) == "an API key or azure_ad_token"
    )


# Parameters


def test_a_size_of_auto_is_not_said_to_models_that_may_not_know_the_word() -> None:
    assert "size" not in requested("FLUX-1.1-pro", credentials_with(), size="auto").json
    assert requested("FLUX-1.1-pro", credentials_with(), size="10x10").json["size"] == "10x10"


@pytest.mark.parametrize("size", ["10x10", "1024x1024", "3840x2160", "99999x10"])
def test_mai_draws_about_a_megapixel_and_no_side_is_short(size: str) -> None:
    sent = requested("MAI-Image-2.6", credentials_with(), size=size).json
    assert min(sent["width"], sent["height"]) >= 768
    assert sent["width"] * sent["height"] <= 1024 * 1024


# Parameters


def test_mai_is_always_told_a_size() -> None:
    body = requested("MAI-Image-2.6", credentials_with(), prompt="a cube").json
    assert (body["width"], body["height"]) == (1024, 1024)


@pytest.mark.parametrize(
    ("asked", "sent"), [("standard", "medium"), ("hd", "high"), ("max", "high")]
)
def test_every_quality_has_the_nearest_that_there_is(asked: str, sent: str) -> None:
    body = requested("gpt-image-2", credentials_with(), prompt="a cube", quality=asked).json
    assert body["quality"] == sent
