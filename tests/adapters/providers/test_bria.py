"""Bria: where the token goes, the endpoint in the model's name, and what its states mean."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.bria import ADAPTER


def translate(**params: Any) -> dict[str, Any]:
    return ADAPTER.table_for("fibo").translate(params).fields


def make_reply(wire: int = 200, **tree: Any) -> ProviderReply:
    return ProviderReply(wire, {}, orjson.dumps(tree))


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), make_reply(**tree))


def test_the_token_has_a_header_of_its_own() -> None:
    headers = ADAPTER.sign(SignableRequest("GET", "", {}, b"", 0), Credentials("secret"))
    assert headers == {"api_token": "secret"}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("fibo", "/image/generate"),
        ("fibo-lite", "/image/generate/lite"),
        ("fibo-new", "/image/generate/new"),
        ("lite", "/image/generate/lite"),
    ],
)
def test_the_models_name_is_the_endpoint(model: str, path: str) -> None:
    assert ADAPTER.build_request(ImageCall({"model": model}, {})).path == path


@pytest.mark.parametrize("model", ["", "../v1", "a?b"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


@pytest.mark.parametrize(
    ("size", "ratio", "resolution"),
    [("512x512", "1:1", "1MP"), ("1792x1024", "16:9", "1MP"), ("2048x1536", "4:3", "4MP")],
)
def test_a_size_is_a_ratio_and_a_resolution(size: str, ratio: str, resolution: str) -> None:
    assert translate(size=size) == {"aspect_ratio": ratio, "resolution": resolution}


def test_no_quality_buys_the_larger_image_by_itself() -> None:
    assert translate(quality="high") == {}


def test_no_client_has_bria_call_an_address() -> None:
    assert translate(prompt="x", webhook_url="https://a.test", sync=True) == {"prompt": "x"}


def test_a_seed_comes_with_the_image() -> None:
    image = parse_answer(
        status="COMPLETED", result={"image_url": "https://a.test", "seed": 7}
    ).images[0]
    assert (image.url, image.extra) == ("https://a.test", {"seed": 7})


@pytest.mark.parametrize("code", [422, "422"])
def test_an_error_within_a_success_can_be_a_refusal(code: Any) -> None:
    with pytest.raises(Refusal, match="moderation"):
        parse_answer(status="ERROR", error={"code": code, "message": "moderation failed"})


@pytest.mark.parametrize("status", ["ERROR", "UNKNOWN", ""])
def test_any_other_end_is_the_providers_failure(status: str) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(status=status)
    assert caught.value.status == 502


def test_a_422_is_a_refusal_whatever_it_holds() -> None:
    assert isinstance(ADAPTER.provider_error(ProviderReply(422, {}, b"")), Refusal)
