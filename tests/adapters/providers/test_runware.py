"""Runware: lists of tasks, an identity for each, images and errors side by side."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.runware import ADAPTER

MODEL = "runware:101@1"


def translate(model: str = MODEL, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def task(chance: int = 0, **params: Any) -> dict[str, Any]:
    call = ImageCall({"model": MODEL}, translate(prompt="a cube", **params), nonce=chance)
    [asked] = ADAPTER.build_request(call).json
    assert isinstance(asked, dict)
    return asked


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, orjson.dumps(tree)))


def test_every_call_is_a_task_of_its_own() -> None:
    names = {task(chance)["taskUUID"] for chance in (0, 1, 2**128 - 1)}
    assert len(names) == 3
    assert {UUID(name).version for name in names} == {4}


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({}, {}))


@pytest.mark.parametrize(
    ("model", "size", "sides"),
    [
        (MODEL, "1000x1000", (1024, 1024)),
        ("civitai:133005@357609", "64x64", (128, 128)),
        (MODEL, "auto", (1024, 1024)),
        ("bytedance:5@0", "2560x1440", (2560, 1440)),
        ("google:4@1", "auto", (None, None)),
    ],
)
def test_a_size_is_held_to_what_runware_itself_runs(
    model: str, size: str, sides: tuple[int | None, int | None]
) -> None:
    fields = translate(model, size=size)
    assert (fields.get("width"), fields.get("height")) == sides


@pytest.mark.parametrize("name", ["webhookURL", "uploadEndpoint"])
def test_runware_is_told_of_no_address_to_call(name: str) -> None:
    assert name not in task(0, **{name: "https://client.test"})


@pytest.mark.parametrize(("moderation", "checked"), [("auto", True), ("low", False)])
def test_moderation_is_a_check_of_the_image(moderation: str, *, checked: bool) -> None:
    assert translate(moderation=moderation)["safety"] == {"checkContent": checked}


@pytest.mark.parametrize(
    ("told", "held"),
    [
        ({"imageURL": "https://p.test/1"}, "https://p.test/1"),
        ({"imageBase64Data": "aGk="}, "aGk="),
        ({"imageDataURI": "data:image/png;base64,aGk="}, "aGk="),
    ],
)
def test_a_image_comes_in_three_forms(told: dict[str, Any], held: str) -> None:
    [image] = parse_answer(data=[told]).images
    assert (image.url or image.b64) == held


def test_what_came_is_kept_beside_an_error() -> None:
    answer = parse_answer(data=[{"imageURL": "u"}], errors=[{"code": "timeoutProvider"}])
    assert [image.url for image in answer.images] == ["u"]


def test_a_refusal_is_known_by_its_words() -> None:
    with pytest.raises(Refusal):
        parse_answer(
            errors=[{"code": "odd", "message": "Content moderation failed", "parameter": "p"}]
        )


def test_a_refusal_is_known_by_its_code_alone() -> None:
    with pytest.raises(Refusal):
        parse_answer(errors=[{"code": "contentModerationFailed", "message": "no"}])


def test_a_parameter_named_in_words_of_safety_is_no_refusal() -> None:
    told = {"code": "invalidCheckNSFW", "message": "checkNSFW is odd", "parameter": "checkNSFW"}
    with pytest.raises(ProviderError) as caught:
        parse_answer(errors=[told])
    assert (type(caught.value), caught.value.status) == (ProviderError, 400)


def test_an_error_without_a_parameter_under_a_200_is_the_providers_own() -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(errors=[{"code": "odd", "message": "no"}])
    assert caught.value.status == 502
