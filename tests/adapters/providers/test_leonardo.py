"""Leonardo: two versions told apart by the model's name, one image unless asked for more."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.leonardo import ADAPTER

UUID = "7b592283-e8a7-4c5a-9ba6-d18c31f258b9"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def requested(model: str, **params: Any) -> ProviderRequest:
    return ADAPTER.build_request(ImageCall({"model": model, **params}, translate(model, **params)))


def make_reply(wire: int = 200, *, tree: Any) -> ProviderReply:
    return ProviderReply(wire, {}, orjson.dumps(tree))


@pytest.mark.parametrize("model", [UUID, UUID.upper()])
def test_a_uuid_is_a_model_of_version_1(model: str) -> None:
    request = requested(model, prompt="a cube")
    assert (request.path, request.json["modelId"]) == ("/v1/generations", model)


@pytest.mark.parametrize(
    "model", ["nano-banana-2", "google/nano-banana-2.1", UUID[:-1], UUID + "0"]
)
def test_any_other_name_is_one_of_version_2(model: str) -> None:
    request = requested(model, prompt="a cube")
    assert (request.path, request.json["model"]) == ("/v2/generations", model)
    assert request.json["parameters"]["prompt"] == "a cube"


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({}, {}))


def test_how_many_images_is_always_said() -> None:
    assert translate(UUID)["num_images"] == translate("recraft-v4")["parameters"]["quantity"] == 1


def test_a_image_is_public_only_on_demand() -> None:
    assert translate(UUID)["public"] is translate("recraft-v4")["public"] is False
    assert translate(UUID, public=True)["public"] is True


@pytest.mark.parametrize(
    ("size", "width", "height"),
    [("1792x1024", 1536, 880), ("2048x2048", 1536, 1536), ("1000x1000", 1000, 1000)],
)
def test_a_size_is_brought_within_version_1s_bounds(size: str, width: int, height: int) -> None:
    sent = translate(UUID, size=size)
    assert (sent["width"], sent["height"]) == (width, height)


def test_only_a_model_with_qualities_is_sent_one() -> None:
    assert translate("gpt-image-2", quality="low")["parameters"]["quality"] == "low"
    assert "quality" not in translate("nano-banana-2", quality="low")["parameters"]


@pytest.mark.parametrize(
    "tree",
    [
        {"sdGenerationJob": {"generationId": "7"}},
        {"generate": {"generationId": "7"}},
        {"data": [{"job": {"generationId": "7"}}]},
    ],
)
def test_the_job_is_found_wherever_its_name_stands(tree: Any) -> None:
    question = ADAPTER.build_poll_request(ImageCall({}, {}), make_reply(tree=tree))
    assert question
    assert question.path == "/v1/generations/7"


def test_a_success_without_a_job_may_be_a_list_of_errors() -> None:
    with pytest.raises(ProviderError, match="odd"):
        ADAPTER.build_poll_request(ImageCall({}, {}), make_reply(tree=[{"message": "odd"}]))


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Not enough API tokens", 429),
        ("Max concurrency reached", 429),
        ("Authentication hook unauthorized this request", 401),
        ("Unauthorized", 401),
        ("odd", 400),
    ],
)
def test_the_words_of_an_error_count(message: str, status: int) -> None:
    assert (
        ADAPTER.provider_error(
            make_reply(400, tree={"error": message, "code": "unexpected"})
        ).status
        == status
    )


@pytest.mark.parametrize("words", ["Content moderation", "NSFW prompt", "Against content policy"])
def test_a_refusal_is_known_by_its_words(words: str) -> None:
    assert isinstance(ADAPTER.provider_error(make_reply(400, tree={"error": words})), Refusal)
