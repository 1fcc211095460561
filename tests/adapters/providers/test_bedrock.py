"""Amazon Bedrock, beyond its transcripts: families, and ways to sign."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam
from adapters.http import ProviderReply
from adapters.providers.bedrock import ADAPTER

OPTIONS = {option.name: option for option in ADAPTER.options}
AWS_KEY = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "test-secret-0123456789"}
ARN = "arn:aws:bedrock:us-east-1:1:"


def with_options(api_key: str = "", **options: str) -> Credentials:
    return Credentials(api_key, {f"aws_{name}": value for name, value in options.items()})


def call(model: str, credentials: Credentials | None = None, **params: Any) -> ImageCall:
    credentials = credentials or with_options(**AWS_KEY)
    params = {"model": model, "prompt": "a cube", **params}
    table = ADAPTER.table_for(ADAPTER.effective_model(model, credentials))
    return ImageCall(params, table.translate(params).fields, credentials)


def signed(credentials: Credentials) -> str:
    outgoing = SignableRequest(
        "POST", ADAPTER.resolve_base_url(credentials) + "/model/a/invoke", {}, b"{}", 0
    )
    return ADAPTER.sign(outgoing, credentials)["authorization"]


# Families


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("amazon.nova-canvas-v1:0", "taskType"),
        ("us.amazon.nova-canvas-v1:0", "taskType"),
        ("amazon.titan-image-generator-v2:0", "taskType"),
        ("amazon.never-heard-of-v9:0", "taskType"),
        ("stability.sd3-5-large-v1:0", "mode"),
        ("apac.stability.never-heard-of-v9:0", "mode"),
        ("stability.stable-image-core-v1:1", "prompt"),
        ("global.stability.stable-image-ultra-v1:1", "prompt"),
        ("stability.stable-diffusion-xl-v1:0", "text_prompts"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-canvas-v1:0", "taskType"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.stability.sd3-5-large-v1:0", "mode"),
    ],
)
def test_the_body_is_that_of_the_family(model: str, key: str) -> None:
    request = ADAPTER.build_request(call(model))
    assert key in request.json
    assert ":" not in request.path


def test_stable_image_knows_no_mode() -> None:
    assert ADAPTER.build_request(call("stability.stable-image-core-v1:1")).json == {
        "prompt": "a cube"
    }


@pytest.mark.parametrize(
    "model", ["gpt-image-2", "arn:aws:bedrock:us-east-1:1:provisioned-model/abc", "xstability.a"]
)
def test_a_name_that_shows_no_family_is_answered_with_those_there_are(model: str) -> None:
    with pytest.raises(BadParam, match=r"stability\. or amazon\.") as caught:
        ADAPTER.build_request(call(model))
    assert caught.value.param == "model"


def test_the_operators_model_comes_before_the_clients() -> None:
    chosen = with_options(**AWS_KEY, bedrock_model="amazon.nova-canvas-v1:0")
    request = ADAPTER.build_request(call("gpt-image-2", chosen, quality="high"))
    assert request.path == "/model/amazon.nova-canvas-v1%3A0/invoke"
    assert request.json["imageGenerationConfig"]["quality"] == "premium"


@pytest.mark.parametrize("chosen", ["amazon.a", f"{ARN}inference-profile/us.amazon.a"])
def test_the_operators_model_is_in_force(chosen: str) -> None:
    assert ADAPTER.effective_model("stability.a", with_options(bedrock_model=chosen)) == chosen


@pytest.mark.parametrize("chosen", ["", f"{ARN}application-inference-profile/abc"])
def test_the_clients_model_is_in_force_where_no_other_shows_its_family(chosen: str) -> None:
    credentials = with_options(bedrock_model=chosen)
    assert ADAPTER.effective_model("stability.a", credentials) == "stability.a"


def test_sizes_of_nova_stay_within_its_pixels() -> None:
    made = call("amazon.nova-canvas-v1:0", size="2048x2048").fields["imageGenerationConfig"]
    assert made["width"] * made["height"] < 4_194_304
    assert made["width"] % 16 == made["height"] % 16 == 0


def test_nova_is_never_asked_for_more_than_four_to_one() -> None:
    for size in ("2000x320", "320x2000", "9000x100"):
        made = call("amazon.nova-canvas-v1:0", size=size).fields["imageGenerationConfig"]
        assert max(made.values()) <= 4 * min(made.values())


def test_stability_makes_one_image_a_call_and_amazon_five() -> None:
    made = {
        model: ADAPTER.table_for(model).images_per_call for model in ("stability.a", "amazon.a")
    }
    assert made == {"stability.a": 1, "amazon.a": 5}


@pytest.mark.parametrize("model", ["amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"])
def test_amazons_models_get_a_seed_by_chance_where_the_client_gives_none(model: str) -> None:
    def seed(one: ImageCall) -> int:
        found: int = ADAPTER.build_request(one).json["imageGenerationConfig"]["seed"]
        return found

    assert seed(replace(call(model), nonce=41)) == 41
    assert seed(replace(call(model, seed=0), nonce=41)) == 0
    assert seed(replace(call(model), nonce=2**32 - 1)) <= 858_993_459


def test_stabilitys_models_choose_a_seed_themselves() -> None:
    assert "seed" not in ADAPTER.build_request(call("stability.sd3-5-large-v1:0")).json


# Credentials


@pytest.mark.parametrize(
    ("credentials", "missing"),
    [
        (Credentials(), "an API key, or aws_access_key_id and aws_secret_access_key"),
        (Credentials("k"), ""),
        (with_options(**AWS_KEY), ""),
        (with_options("k", access_key_id="AKIDEXAMPLE"), "aws_secret_access_key"),
        (with_options(auth_type="apiKey", **AWS_KEY), "an API key"),
        (with_options(auth_type="assumedRole", **AWS_KEY), "aws_role_arn"),
        (with_options("k", auth_type="assumedRole"), "aws_access_key_id and aws_secret_access_key"),
    ],
)
def test_what_is_missing_is_named(credentials: Credentials, missing: str) -> None:
    assert missing in ADAPTER.missing_credentials(credentials)
    assert bool(ADAPTER.missing_credentials(credentials)) is bool(missing)


def test_an_access_key_comes_before_an_api_key() -> None:
    assert signed(Credentials("test-key-0123456789")) == "Bearer test-key-0123456789"
    assert signed(with_options("test-key-0123456789", **AWS_KEY)).startswith("AWS4-HMAC-SHA256 ")


def test_the_region_is_in_the_address_and_in_the_signature() -> None:
    credentials = with_options(region="eu-west-1", **AWS_KEY)
    assert (
        ADAPTER.resolve_base_url(credentials) == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    )
    assert "/eu-west-1/bedrock/aws4_request" in signed(credentials)


@pytest.mark.parametrize("value", ["a?b", "../a"])
def test_a_model_that_would_leave_its_place_is_not_of_the_form(value: str) -> None:
    assert not re.fullmatch(OPTIONS["aws_bedrock_model"].pattern, value)


@pytest.mark.parametrize(("way", "buys"), [("", False), ("apiKey", False), ("assumedRole", True)])
def test_only_an_assumed_role_is_bought(way: str, *, buys: bool) -> None:
    role = with_options("k", role_arn="arn:aws:iam::1:role/r", auth_type=way, **AWS_KEY)
    assert (ADAPTER.token_flow(role, 0) is not None) is buys


# Errors


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("ServiceQuotaExceededException", 429),
        ("a#ServiceQuotaExceededException:http://b", 429),
        ("ModelNotReadyException", 503),
        ("UnrecognizedClientException", 401),
        ("x#y", 400),
        ("", 400),
    ],
)
def test_the_kind_of_an_error_is_cut_out_of_its_header(header: str, status: int) -> None:
    error = ADAPTER.provider_error(
        ProviderReply(400, {"x-amzn-errortype": header}, b'{"message": "No."}')
    )
    assert error.status == status
    assert error.message.endswith("No.")


def test_the_sentence_is_found_under_either_name() -> None:
    assert ADAPTER.provider_error(ProviderReply(403, body=b'{"Message": "No."}')).message.endswith(
        "No."
    )
