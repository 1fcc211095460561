"""Novita AI: a path for each model, tasks, failures that are known by their reason."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.novita_ai import ADAPTER

CHECKPOINT = "sd_xl_base_1.0.safetensors"


def requested(model: str, **params: Any) -> ProviderRequest:
    fields = ADAPTER.table_for(model).translate({"prompt": "a cube", **params}).fields
    return ADAPTER.build_request(ImageCall({"model": model}, fields))


def make_reply(**tree: Any) -> ProviderReply:
    return ProviderReply(200, {}, orjson.dumps(tree))


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), make_reply(**tree))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("flux-1-schnell", "/v3beta/flux-1-schnell"),
        ("z-image-turbo", "/v3/async/z-image-turbo"),
        ("seedream-4.0", "/v3/seedream-4.0"),
        ("never-heard-of-it", "/v3/async/never-heard-of-it"),
        (CHECKPOINT, "/v3/async/txt2img"),
    ],
)
def test_every_model_has_its_path(model: str, path: str) -> None:
    assert requested(model).path == path


@pytest.mark.parametrize("model", ["", "../v3/user", "a?b"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        requested(model)


def test_a_checkpoint_is_named_in_the_body() -> None:
    body = requested(CHECKPOINT, size="512x768", n=3).json
    assert body["request"]["model_name"] == CHECKPOINT
    assert (body["request"]["width"], body["request"]["height"]) == (512, 768)
    assert requested("z-image-turbo").json == {"prompt": "a cube"}


def test_what_the_api_requires_is_said_though_the_client_did_not() -> None:
    asked = requested(CHECKPOINT).json["request"]
    assert {"image_num", "steps", "guidance_scale", "sampler_name", "seed"} <= asked.keys()


@pytest.mark.parametrize("tree", [{"task_id": "a&b"}, {"task": {"task_id": "a&b"}, "images": []}])
def test_a_task_is_asked_for_wherever_its_id_stands(tree: dict[str, Any]) -> None:
    question = ADAPTER.build_poll_request(ImageCall({}, {}), make_reply(**tree))
    assert question
    assert question.path == "/v3/async/task-result?task_id=a%26b"


def test_images_that_are_there_are_not_asked_for() -> None:
    tree = {"task": {"task_id": "a"}, "images": [{"image_url": "https://p.test/1"}]}
    assert ADAPTER.build_poll_request(ImageCall({}, {}), make_reply(**tree)) is None


def test_a_plain_list_of_urls_is_read_too() -> None:
    assert [image.url for image in parse_answer(image_urls=["u", None]).images] == ["u"]


@pytest.mark.parametrize("reason", ["ILLEGAL_PROMPT", "NSFW content was found"])
def test_a_task_can_end_in_a_refusal(reason: str) -> None:
    with pytest.raises(Refusal):
        parse_answer(task={"status": "TASK_STATUS_FAILED", "reason": reason}, images=[])


def test_a_task_that_gives_no_reason_is_named_by_its_state() -> None:
    with pytest.raises(ProviderError, match="FAILED"):
        parse_answer(task={"status": "TASK_STATUS_FAILED", "reason": ""}, images=[])
