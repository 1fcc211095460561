"""Fireworks AI, beyond its transcripts: model names, headers, and the ends of a job."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.contract import Credentials, ImageCall
from adapters.errors import BadParam, ImageError, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.fireworks_ai import ADAPTER
from adapters.table.table import UnsupportedPolicy

PNG = {"content-type": "image/png"}


def call(model: str = "flux-1-schnell-fp8", **params: Any) -> ImageCall:
    params = {"model": model, "prompt": "a cube", **params}
    fields = ADAPTER.table_for(model).translate(params).fields
    return ImageCall(params, fields, Credentials("test-key-0123456789"))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("flux-1-dev-fp8", "/workflows/accounts/fireworks/models/flux-1-dev-fp8/text_to_image"),
        ("accounts/me/models/flux-9", "/workflows/accounts/me/models/flux-9/text_to_image"),
        ("flux-kontext-max", "/workflows/accounts/fireworks/models/flux-kontext-max"),
        ("SSD-1B", "/image_generation/accounts/fireworks/models/SSD-1B"),
        ("accounts/me/models/mine", "/image_generation/accounts/me/models/mine"),
    ],
)
def test_a_short_name_is_completed_and_the_family_says_the_path(model: str, path: str) -> None:
    assert ADAPTER.build_request(call(model)).path == path


@pytest.mark.parametrize("model", ["", "../../other", "a?b", "a//b", "accounts/../x"])
def test_a_name_that_would_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam) as caught:
        ADAPTER.build_request(call(model))
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("asked", "accept"),
    [
        ({}, "image/png"),
        ({"output_format": "jpeg"}, "image/jpeg"),
        ({"output_format": "webp"}, "image/png"),
    ],
)
def test_a_image_is_asked_for_in_the_nearest_format(asked: dict[str, str], accept: str) -> None:
    assert ADAPTER.build_request(call(**asked)).headers["accept"] == accept


def test_what_is_a_header_is_not_in_the_body() -> None:
    request = ADAPTER.build_request(call(output_format="jpeg", output_compression=80, seed=1))
    assert request.headers == {"accept": "image/jpeg", "jpeg-quality": "80"}
    assert request.json == {"prompt": "a cube", "seed": 1}


def test_bytes_that_are_no_image_are_no_image() -> None:
    with pytest.raises(ProviderError):
        ADAPTER.parse_answer(call(), ProviderReply(200, {"content-type": "text/html"}, b"<html>"))


@pytest.mark.parametrize(
    ("finish", "kind"), [("CONTENT_FILTERED", Refusal), ("ERROR", ProviderError)]
)
def test_the_header_says_how_a_image_ended(finish: str, kind: type[ImageError]) -> None:
    with pytest.raises(kind):
        ADAPTER.parse_answer(call(), ProviderReply(200, {**PNG, "finish-reason": finish}, b"png"))


def waiting() -> Any:
    flow = ADAPTER.flow(call("flux-kontext-pro"))
    next(flow)
    question = flow.send(ProviderReply(body=b'{"request_id": "job-1"}'))
    assert question.json == {"id": "job-1"}
    return flow


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("Request Moderated", Refusal),
        ("Content Moderated", Refusal),
        ("Task not found", ProviderError),
        ("Error", ProviderError),
        ("Failed", ProviderError),
        ("Ready", ProviderError),
    ],
)
def test_a_job_without_a_image_ends_in_words(status: str, kind: type[ImageError]) -> None:
    with pytest.raises(kind) as caught:
        waiting().send(ProviderReply(body=f'{{"status": "{status}"}}'.encode()))
    assert isinstance(caught.value, Refusal) is (kind is Refusal)


def test_a_job_is_given_up_after_two_minutes() -> None:
    flow, pending = waiting(), ProviderReply(body=b'{"status": "Pending"}')
    waits = [0.5, *(flow.send(pending).delay for _ in range(239))]
    assert sum(waits) == 120
    with pytest.raises(ProviderError) as caught:
        flow.send(pending)
    assert caught.value.status == 504


def test_a_job_without_an_id_is_no_job() -> None:
    flow = ADAPTER.flow(call("flux-kontext-pro"))
    next(flow)
    with pytest.raises(ProviderError):
        flow.send(ProviderReply(body=b"{}"))


def test_a_model_that_is_gone_is_said_to_be_gone() -> None:
    error = ADAPTER.provider_error(ProviderReply(404, body=b""))
    assert (error.status, error.code) == (404, "model_not_found")
    assert "not available" in error.message


@pytest.mark.parametrize("model", ["flux-1-dev-fp8", "flux-kontext-pro", "SSD-1B"])
def test_no_client_writes_a_header(model: str) -> None:
    made = ADAPTER.table_for(model).translate({"headers": {"x-evil": "1"}}, UnsupportedPolicy.PASS)
    request = ADAPTER.build_request(ImageCall({"model": model}, made.fields))
    assert "x-evil" not in request.headers
    assert str(made.receipt).startswith("dropped headers")
