"""Cloudflare Workers AI: the account in the base, bodies by model, errors by their codes."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.workers_ai import ADAPTER

ACCOUNT = "0123456789abcdef0123456789abcdef"
FLUX_1 = "@cf/black-forest-labs/flux-1-schnell"
FLUX_2 = "@cf/black-forest-labs/flux-2-dev"
SDXL = "@cf/stabilityai/stable-diffusion-xl-base-1.0"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def requested(model: str, **params: Any) -> ProviderRequest:
    return ADAPTER.build_request(ImageCall({"model": model, **params}, translate(model, **params)))


def parse_answer(reply: ProviderReply) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), reply)


def parse_error(status: int, *told: tuple[Any, Any]) -> ProviderError:
    listed = [{"code": code, "message": message} for code, message in told]
    body = orjson.dumps({"result": None, "success": False, "errors": listed})
    return ADAPTER.provider_error(ProviderReply(status, {}, body))


def test_the_account_stands_in_the_base() -> None:
    base = ADAPTER.resolve_base_url(Credentials("k", {"workers_ai_account_id": ACCOUNT}))
    assert base == f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/run"


@pytest.mark.parametrize(
    ("credentials", "lacking"),
    [
        (Credentials(), "an API key"),
        (Credentials("k"), "workers_ai_account_id"),
        (Credentials("k", {"workers_ai_account_id": ACCOUNT}), ""),
    ],
)
def test_key_and_account_are_both_needed(credentials: Credentials, lacking: str) -> None:
    assert ADAPTER.missing_credentials(credentials) == lacking


@pytest.mark.parametrize("account", ["", "../x", "a/b", "a#", "a?b", "a@b.test", "a" * 65, "ä"])
def test_an_account_cannot_leave_its_place(account: str) -> None:
    assert not re.fullmatch(ADAPTER.options[0].pattern, account)


def test_a_models_name_stays_unencoded_in_the_path() -> None:
    assert requested(FLUX_1, prompt="a cube").path == f"/{FLUX_1}"


@pytest.mark.parametrize("model", ["", "@cf/../x", "@cf//x", "@cf/x?y", "@cf/x#y"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        requested(model, prompt="a cube")


@pytest.mark.parametrize("size", ["klein-4b", "klein-9b", "dev"])
def test_flux_2_always_takes_a_form_of_text(size: str) -> None:
    request = requested(f"@cf/black-forest-labs/flux-2-{size}", prompt="a cube", seed=7)
    assert (request.form, request.json) == ({"prompt": "a cube", "seed": "7"}, None)


def test_a_form_holds_what_is_no_text_as_json() -> None:
    call = ImageCall({"model": FLUX_2}, {"fast": True, "lora": {"a": None}, "seed": 7})
    assert ADAPTER.build_request(call).form == {"fast": "true", "lora": '{"a":null}', "seed": "7"}


@pytest.mark.parametrize("model", [FLUX_1, SDXL, "@cf/leonardo/lucid-origin", "@cf/new/model"])
def test_every_other_model_takes_json(model: str) -> None:
    request = requested(model, prompt="a cube")
    assert (request.form, request.json) == (None, {"prompt": "a cube"})


def test_flux_1_is_sent_nothing_that_it_refuses() -> None:
    sent = translate(
        FLUX_1, prompt="a cube", size="1024x1024", seed=7, negative_prompt="x", guidance=3
    )
    assert sent == {"prompt": "a cube"}


@pytest.mark.parametrize(
    ("model", "field"), [(FLUX_1, "steps"), (FLUX_2, "steps"), (SDXL, "num_steps")]
)
def test_both_names_for_steps_are_understood(model: str, field: str) -> None:
    assert translate(model, steps=4) == translate(model, num_steps=4) == {field: 4}


def test_the_steps_of_klein_are_fixed() -> None:
    assert translate("@cf/black-forest-labs/flux-2-klein-9b", steps=8) == {}


@pytest.mark.parametrize(
    ("model", "size", "width", "height"),
    [
        (SDXL, "128x128", 256, 256),
        (SDXL, "3000x1500", 2048, 1024),
        ("@cf/leonardo/lucid-origin", "3840x2160", 2500, 1406),
        ("@cf/leonardo/phoenix-1.0", "1792x1024", 1792, 1024),
    ],
)
def test_a_size_is_brought_within_the_models_bounds(
    model: str, size: str, width: int, height: int
) -> None:
    assert translate(model, size=size) == {"width": width, "height": height}


def test_the_content_type_says_what_came() -> None:
    image = parse_answer(ProviderReply(200, {"content-type": "image/png"}, b"png")).images[0]
    assert (image.data, image.media_type) == (b"png", "image/png")
    as_json = b'{"result":{"image":"aGk="},"success":true,"errors":[],"messages":[]}'
    assert parse_answer(ProviderReply(200, {}, as_json)).images[0].b64 == "aGk="


@pytest.mark.parametrize(
    "reply",
    [
        ProviderReply(200, {"content-type": "image/png"}, b""),
        ProviderReply(200, {"content-type": "text/html"}, b"<html>"),
        ProviderReply(200, {}, b'{"result":{},"success":true,"errors":[]}'),
    ],
)
def test_a_reply_without_a_image_is_an_error(reply: ProviderReply) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(reply)


@pytest.mark.parametrize(
    ("wire", "code", "status", "kind", "said"),
    [
        (400, 5007, 404, "invalid_request_error", "model_not_found"),
        (404, 3042, 404, "invalid_request_error", "model_not_found"),
        (400, 5004, 400, "invalid_request_error", None),
        (400, 3003, 400, "invalid_request_error", None),
        (403, 3023, 403, "permission_error", None),
        (403, 5016, 403, "permission_error", None),
        (413, 3006, 413, "invalid_request_error", "request_too_large"),
        (408, 3007, 504, "server_error", "timeout"),
        (429, 3036, 429, "insufficient_quota", "insufficient_quota"),
        (429, 3040, 429, "rate_limit_error", "rate_limit_exceeded"),
        (403, 10000, 401, "authentication_error", "invalid_api_key"),
        (404, 7003, 400, "invalid_request_error", None),
        (200, 5004, 400, "invalid_request_error", None),
        (200, 999, 502, "server_error", None),
        (500, 999, 502, "server_error", None),
    ],
)
def test_a_code_says_more_than_the_status(
    wire: int, code: int, status: int, kind: str, said: str | None
) -> None:
    error = parse_error(wire, (code, "no"))
    assert (error.status, error.type, error.code) == (status, kind, said)
    assert error.provider_status == wire


def test_all_messages_are_passed_on() -> None:
    assert parse_error(400, (5004, "too wide"), (5004, "too tall")).message.endswith(
        "too wide; too tall"
    )


@pytest.mark.parametrize(
    ("code", "message"), [(3030, "no"), (5004, "AiError: prompt contains NSFW content")]
)
def test_a_refusal_is_known_by_code_or_words(code: int, message: str) -> None:
    assert isinstance(parse_error(400, (code, message)), Refusal)


def test_an_error_of_a_gateway_before_it_is_read_too() -> None:
    body = b'{"error": {"message": "no such account"}}'
    assert ADAPTER.provider_error(ProviderReply(403, {}, body)).message.endswith("no such account")


def test_a_refusal_can_come_with_a_success_status() -> None:
    body = b'{"success":false,"errors":[{"code":3030,"message":"NSFW"}]}'
    with pytest.raises(Refusal):
        parse_answer(ProviderReply(200, {}, body))


@pytest.mark.parametrize("told", [(None, None), ("odd", 7), ([], {}), (True, "no")])
def test_an_error_of_another_form_is_still_an_error(told: tuple[Any, Any]) -> None:
    assert parse_error(500, told).status == 502
