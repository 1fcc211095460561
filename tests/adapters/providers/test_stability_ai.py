"""Stability AI: endpoints by model, forms of text, outcomes in headers and artifacts."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.stability_ai import ADAPTER

V2 = "/v2beta/stable-image/generate/"
SDXL = "stable-diffusion-xl-1024-v1-0"


def call(model: str, **params: Any) -> ImageCall:
    params = {"model": model, "prompt": "a cube", **params}
    return ImageCall(params, ADAPTER.table_for(model).translate(params).fields)


def parse_answer(reply: ProviderReply) -> Answer:
    return ADAPTER.parse_answer(call("core"), reply)


def in_bytes(body: bytes = b"png", **headers: str) -> ProviderReply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProviderReply(200, {"content-type": "image/png", **named}, body)


def artifacts(*outcomes: str) -> ProviderReply:
    made = [{"base64": "aGk=", "finishReason": it, "seed": 1} for it in outcomes]
    return ProviderReply(200, {}, orjson.dumps({"artifacts": made}))


@pytest.mark.parametrize(
    ("model", "path", "field"),
    [
        ("stable-image-core", f"{V2}core", None),
        ("core", f"{V2}core", None),
        ("stable-image-ultra", f"{V2}ultra", None),
        ("stable-image-next", f"{V2}next", None),
        ("sd3", f"{V2}sd3", None),
        ("sd3.5-flash", f"{V2}sd3", "sd3.5-flash"),
        ("sd3-large-turbo", f"{V2}sd3", "sd3-large-turbo"),
        (SDXL, f"/v1/generation/{SDXL}/text-to-image", None),
    ],
)
def test_the_model_chooses_the_endpoint_and_the_field(
    model: str, path: str, field: str | None
) -> None:
    request = ADAPTER.build_request(call(model))
    assert request.path == path
    assert (request.form or {}).get("model") == field


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(BadParam, match="stable-image-core"):
        ADAPTER.build_request(ImageCall({}, {}))


def test_every_value_of_a_form_is_text() -> None:
    form = ADAPTER.build_request(call("sd3.5-large", seed=7, cfg_scale=4)).form or {}
    assert form == {"prompt": "a cube", "seed": "7", "cfg_scale": "4", "model": "sd3.5-large"}


@pytest.mark.parametrize("model", ["sd3.5-large-turbo", "sd3-large-turbo"])
def test_a_large_turbo_model_is_told_no_negative_prompt(model: str) -> None:
    made = ADAPTER.table_for(model).translate({"negative_prompt": "people"})
    assert (made.fields, str(made.receipt)) == ({}, "dropped negative_prompt")


def test_only_the_v1_engine_makes_several_images_a_call() -> None:
    assert ADAPTER.table_for(SDXL).images_per_call == 10
    assert {ADAPTER.table_for(it).images_per_call for it in ADAPTER.models if it != SDXL} == {1}


def test_the_clients_own_fields_are_left_as_they_were() -> None:
    one = call(SDXL, negative_prompt="people")
    assert ADAPTER.build_request(one).json == ADAPTER.build_request(one).json


def test_what_the_options_say_goes_out_beside_the_key() -> None:
    credentials = Credentials("k", {"stability_client_id": "my app"})
    signed = ADAPTER.sign(SignableRequest("POST", "", {}, b"", 0), credentials)
    assert signed == {"authorization": "Bearer k", "stability-client-id": "my app"}


@pytest.mark.parametrize("value", ["a\r\nx: y", "ä", "x" * 257, ""])
def test_an_option_that_is_no_header_value_is_not_of_its_form(value: str) -> None:
    assert not any(re.fullmatch(option.pattern, value) for option in ADAPTER.options)


def test_bytes_that_the_filter_blurred_are_a_refusal() -> None:
    with pytest.raises(Refusal):
        parse_answer(in_bytes(finish_reason="CONTENT_FILTERED"))


def test_an_empty_image_is_none() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(in_bytes(b""))


def test_only_a_filtered_image_makes_a_refusal() -> None:
    with pytest.raises(Refusal):
        parse_answer(artifacts("ERROR", "CONTENT_FILTERED"))
    with pytest.raises(ProviderError) as caught:
        parse_answer(artifacts("ERROR"))
    assert not isinstance(caught.value, Refusal)


def test_a_403_is_a_refusal_by_its_name_only() -> None:
    error = ADAPTER.provider_error(
        ProviderReply(403, {}, b'{"name":"permission_denied","message":"no"}')
    )
    assert (error.status, error.type) == (403, "permission_error")


@pytest.mark.parametrize(
    ("said", "param"), [("some-field: is required", "some-field"), ("not so: fast", None)]
)
def test_a_complaint_names_its_field(said: str, param: str | None) -> None:
    error = ADAPTER.provider_error(ProviderReply(400, {}, orjson.dumps({"errors": [said]})))
    assert error.param == param
    assert said in error.message
