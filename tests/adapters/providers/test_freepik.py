"""Freepik: a path by the model's name, a header by the host, and two forms of images."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError
from adapters.http import ProviderReply
from adapters.providers.freepik import ADAPTER

URL = "https://ai-statics.freepik.com/a.jpg"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def make_reply(wire: int = 200, **tree: Any) -> ProviderReply:
    return ProviderReply(wire, {}, orjson.dumps(tree))


def parse_answer(data: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), make_reply(data=data))


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://api.magnific.com/v1/ai/mystic", "x-magnific-api-key"),
        ("https://api.freepik.com/v1/ai/mystic", "x-freepik-api-key"),
        ("https://notfreepik.com/v1/ai/mystic", "x-magnific-api-key"),
        ("", "x-magnific-api-key"),
    ],
)
def test_the_host_chooses_the_header(url: str, header: str) -> None:
    sent = ADAPTER.sign(SignableRequest("GET", url, {}, b"", 0), Credentials("secret"))
    assert sent == {header: "secret"}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("mystic", "/ai/mystic"),
        ("classic-fast", "/ai/text-to-image"),
        ("flux-dev", "/ai/text-to-image/flux-dev"),
        ("ai/flux-2-pro", "/ai/flux-2-pro"),
        ("text-to-image/hyperflux", "/ai/text-to-image/hyperflux"),
    ],
)
def test_the_models_name_chooses_the_path(model: str, path: str) -> None:
    call = ImageCall({"model": model}, {})
    assert ADAPTER.build_request(call).path == path
    question = ADAPTER.build_poll_request(
        call, make_reply(data={"task_id": "7", "status": "CREATED"})
    )
    assert question
    assert question.path == f"{path}/7"


@pytest.mark.parametrize("model", ["", "ai/../resources", "ai//mystic", "mystic?x"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


@pytest.mark.parametrize(
    ("size", "word"),
    [
        ("1024x1024", "square_1_1"),
        ("1536x1024", "standard_3_2"),
        ("1024x1536", "portrait_2_3"),
        ("1792x1024", "widescreen_16_9"),
        ("1024x1792", "social_story_9_16"),
    ],
)
def test_a_ratio_is_a_word(size: str, word: str) -> None:
    assert translate("flux-dev", size=size) == {"aspect_ratio": word}
    assert translate("mystic", size=size) == {"aspect_ratio": word, "resolution": "1k"}


def test_mystic_draws_nothing_larger_than_asked_for() -> None:
    assert translate("mystic", prompt="x")["resolution"] == "1k"
    assert translate("mystic", size="4096x4096")["resolution"] == "4k"
    assert translate("mystic", resolution="2k") == {"resolution": "2k"}


def test_mystics_own_models_go_under_another_name() -> None:
    assert translate("mystic", mystic_model="zen", resolution="1k")["model"] == "zen"


def test_no_client_has_freepik_call_an_address() -> None:
    assert translate("flux-dev", prompt="x", webhook_url="https://a.test") == {"prompt": "x"}


def test_an_empty_list_is_no_end_of_a_task() -> None:
    assert not ADAPTER.is_finished(make_reply(data={"status": "CREATED", "generated": []}))


def test_a_mark_goes_to_the_image_it_is_about() -> None:
    task = {"status": "COMPLETED", "generated": [URL, URL], "has_nsfw": [False, True]}
    assert [it.extra for it in parse_answer(task).images] == [{}, {"nsfw": True}]


def test_images_can_come_at_once_as_base64() -> None:
    reply = make_reply(data=[{"base64": "aGk=", "has_nsfw": True}])
    assert ADAPTER.build_poll_request(ImageCall({"model": "classic-fast"}, {}), reply) is None
    image = ADAPTER.parse_answer(ImageCall({}, {}), reply).images[0]
    assert (image.b64, image.extra) == ("aGk=", {"nsfw": True})


@pytest.mark.parametrize("data", [[{"odd": 1}], {"status": "COMPLETED"}, {"status": "FAILED"}, []])
def test_anything_else_is_an_error(data: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(data)
    assert caught.value.status == 502


def test_a_complaint_names_its_field() -> None:
    problem = {"message": "no", "invalid_params": [{"name": "engine", "reason": "odd"}]}
    error = ADAPTER.provider_error(make_reply(400, problem=problem))
    assert (error.status, error.param, error.message) == (
        400,
        "engine",
        "The provider answered: no",
    )
