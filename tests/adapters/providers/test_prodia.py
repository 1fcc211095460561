"""Prodia: the job's type and its config, the kind of image in a header, bytes or a complaint."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.prodia import ADAPTER
from adapters.table.table import UnsupportedPolicy

DEV = "inference.flux.dev.txt2img.v2"


def requested(model: str, **params: Any) -> ProviderRequest:
    made = ADAPTER.table_for(model).translate(params)
    return ADAPTER.build_request(ImageCall({"model": model, **params}, made.fields))


def parse_answer(media_type: str, body: bytes) -> Answer:
    reply = ProviderReply(200, {"content-type": media_type}, body)
    return ADAPTER.parse_answer(ImageCall({}, {}), reply)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_kind_of_image_is_asked_for_in_a_header_alone(kind: str) -> None:
    request = requested(DEV, prompt="a", output_format=kind)
    assert request.headers == {"accept": f"image/{kind}"}
    assert request.json == {"type": DEV, "config": {"prompt": "a"}}


@pytest.mark.parametrize("params", [{}, {"output_format": "svg"}])
def test_there_is_always_a_kind_that_is_asked_for(params: dict[str, str]) -> None:
    assert requested(DEV, prompt="a", **params).headers == {"accept": "image/png"}


def test_a_job_has_a_type() -> None:
    with pytest.raises(BadParam, match=r"inference\.flux-fast\.schnell"):
        requested("", prompt="a")


@pytest.mark.parametrize(
    "model", ["inference.flux-fast.schnell.txt2img.v1", "inference.flux.schnell.x"]
)
def test_schnell_takes_few_steps(model: str) -> None:
    with pytest.raises(BadParam):
        requested(model, steps=5)
    assert requested(DEV, steps=25).json["config"] == {"steps": 25}


def test_only_older_types_are_told_what_not_to_draw() -> None:
    assert "config" not in requested(DEV, negative_prompt="blue").json
    assert requested("v2.job.sdxl.txt2img", negative_prompt="blue").json["config"]


def test_a_image_is_known_by_its_content_type() -> None:
    image = parse_answer("image/webp", b"RIFF").images[0]
    assert (image.data, image.media_type) == (b"RIFF", "image/webp")


@pytest.mark.parametrize(
    ("media_type", "body", "said"),
    [
        ("application/json", b'{"error": "out of memory"}', "out of memory"),
        ("application/json", b'{"error": {}, "detail": {"steps": "too many"}}', "too many"),
        ("application/json", b'{"state": {"current": "completed"}}', "without an image"),
        ("image/png", b"", "without an image"),
    ],
)
def test_a_success_without_a_image_is_an_error(media_type: str, body: bytes, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        parse_answer(media_type, body)
    assert caught.value.status == 502


def test_a_refusal_is_known_by_its_words() -> None:
    body = b'{"error": "The prompt is against our content policy."}'
    assert isinstance(ADAPTER.provider_error(ProviderReply(400, {}, body)), Refusal)


def test_no_client_writes_a_header() -> None:
    asked = {"prompt": "a", "accept": "text/html", "type": "another"}
    made = ADAPTER.table_for(DEV).translate(asked, UnsupportedPolicy.PASS)
    request = ADAPTER.build_request(ImageCall({"model": DEV}, made.fields))
    assert (request.headers["accept"], request.json["type"]) == ("image/png", DEV)
    assert "dropped accept, dropped type" in str(made.receipt)
