"""Microsoft Entra ID: values that keep their place, and tokens."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import pytest

from adapters.auth.entra_id import OPTIONS, REQUIRED, AzureAdapter, request_token
from adapters.contract import AccessToken, Credentials
from adapters.errors import ImageError
from adapters.http import ProviderReply

PATTERNS = {option.name: option.pattern for option in OPTIONS}
APPLICATION = dict(
    zip(REQUIRED, ("contoso.example", "id-1", "test-secret-0123456789"), strict=True)
)


def granted(reply: ProviderReply) -> AccessToken:
    flow = request_token(Credentials("", APPLICATION))
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(reply)
    grant: AccessToken = end.value.value
    return grant


@pytest.mark.parametrize(
    ("option", "value"),
    [("azure_entra_tenant_id", "common/oauth2"), ("azure_entra_scope", "https://a b")],
)
def test_a_value_that_would_leave_its_place_is_not_of_the_form(option: str, value: str) -> None:
    assert not re.fullmatch(PATTERNS[option], value)


@pytest.mark.parametrize("chosen", ["", "https://ai.azure.com/.default"])
def test_the_scope_is_that_of_cognitive_services_or_the_one_chosen(chosen: str) -> None:
    request = next(request_token(Credentials("", {**APPLICATION, "azure_entra_scope": chosen})))
    scope = parse_qs(request.content or b"")[b"scope"][0].decode()
    assert scope == (chosen or "https://cognitiveservices.azure.com/.default")
    assert not request.authenticated


def test_a_token_lasts_as_long_as_entra_says() -> None:
    grant = granted(ProviderReply(body=b'{"access_token": "t", "expires_in": 3599}'))
    assert (grant.options, grant.expires_in) == ({"azure_ad_token": "t"}, 3599)


def test_a_token_that_does_not_say_how_long_it_lasts_is_short() -> None:
    assert granted(ProviderReply(body=b'{"access_token": "t"}')).expires_in == 300


@pytest.mark.parametrize(
    ("status", "body", "ours"),
    [
        (200, b"{}", 502),
        (400, b'{"error_description": "AADSTS90002: Tenant not found."}', 401),
        (401, b'{"error": "invalid_client"}', 401),
        (429, b"", 429),
        (500, b"<html>", 502),
    ],
)
def test_no_token_is_an_error(status: int, body: bytes, ours: int) -> None:
    flow = request_token(Credentials("", APPLICATION))
    next(flow)
    with pytest.raises(ImageError) as caught:
        flow.send(ProviderReply(status, body=body))
    assert caught.value.status == ours
    assert "test-secret" not in caught.value.message


@pytest.mark.parametrize(
    ("credentials", "lacking"),
    [
        (Credentials(), "an API key or azure_ad_token"),
        (Credentials("k"), ""),
        (Credentials("", {"azure_ad_token": "t"}), ""),
        (Credentials("k", {"azure_auth_mode": "entra"}), " and ".join(REQUIRED)),
        (Credentials("", {"azure_auth_mode": "entra", **APPLICATION}), ""),
    ],
)
def test_a_key_a_token_or_a_whole_application_is_enough(
    credentials: Credentials, lacking: str
) -> None:
    assert AzureAdapter().missing_credentials(credentials) == lacking


def test_a_mode_that_is_not_supported_is_named() -> None:
    assert "managed is not supported" in AzureAdapter().missing_credentials(
        Credentials("k", {"azure_auth_mode": "managed"})
    )


def test_a_token_is_bought_only_where_entra_is_chosen_and_there_is_none() -> None:
    assert AzureAdapter().token_flow(Credentials("k", APPLICATION), 0) is None
    chosen = {**APPLICATION, "azure_auth_mode": "entra"}
    assert AzureAdapter().token_flow(Credentials("k", {**chosen, "azure_ad_token": "t"}), 0) is None
    assert AzureAdapter().token_flow(Credentials("k", chosen), 0) is not None
