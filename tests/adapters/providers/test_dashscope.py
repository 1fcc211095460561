"""DashScope: regions, sizes with an asterisk, two protocols, failures under a 200."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.dashscope import ADAPTER


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate({"model": model, **params}).fields


def requested(model: str, **params: Any) -> ProviderRequest:
    fields = translate(model, prompt="a cube", **params)
    return ADAPTER.build_request(ImageCall({"model": model}, fields))


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, orjson.dumps(tree)))


def content(*places: str) -> dict[str, Any]:
    return {"message": {"content": [{"text": "done"}, *({"image": place} for place in places)]}}


@pytest.mark.parametrize(
    ("region", "host"), [("", "dashscope-intl"), ("cn", "dashscope"), ("us", "dashscope-us")]
)
def test_a_region_has_its_own_host(region: str, host: str) -> None:
    base = ADAPTER.resolve_base_url(
        Credentials("k", {"dashscope_region": region} if region else {})
    )
    assert base == f"https://{host}.aliyuncs.com/api/v1"


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        ("qwen-image-3.0", "256x256", "512*512"),
        ("qwen-image-2.0-pro", "9000x1000", "4096*512"),
        ("qwen-image", "1792x1024", "1664*928"),
        ("qwen-image-max", "1024x1024", "1328*1328"),
        ("wan2.7-image", "3840x2160", "2730*1536"),
        ("wan2.7-image-pro", "3840x2160", "3840*2160"),
        ("wan2.6-t2i", "1024x1536", "1045*1568"),
        ("wan2.5-t2i-preview", "auto", "1280*1280"),
        ("wanx2.1-t2i-turbo", "256x256", "512*512"),
        ("z-image-turbo", "1024x1024", "1024*1024"),
    ],
)
def test_a_size_is_brought_within_the_models_bounds(model: str, size: str, sent: str) -> None:
    assert translate(model, size=size)["parameters"]["size"] == sent


@pytest.mark.parametrize("model", ["qwen-image-2.0", "wan2.7-image", "wan2.2-t2i-plus", "new"])
def test_one_image_is_asked_for_in_so_many_words(model: str) -> None:
    assert translate(model)["parameters"]["n"] == 1


def test_z_image_is_not_asked_for_a_number() -> None:
    assert "n" not in translate("z-image-turbo", n=1)["parameters"]


@pytest.mark.parametrize(
    ("model", "name"),
    [("wan2.5-t2i-preview", "image-synthesis"), ("wan2.6-t2i", "generation"), ("x", "generation")],
)
def test_only_older_models_are_asked_for_a_task(model: str, name: str) -> None:
    request = requested(model)
    assert request.path.rpartition("/")[2] == name
    assert ("x-dashscope-async" in request.headers) is (name == "image-synthesis")


@pytest.mark.parametrize(("task", "asked"), [("a/b", "/tasks/a%2Fb"), ("..", "")])
def test_a_tasks_name_cannot_leave_its_place(task: str, asked: str) -> None:
    output = {"task_id": task, "task_status": "PENDING"}
    reply = ProviderReply(body=orjson.dumps({"output": output}))
    question = ADAPTER.build_poll_request(ImageCall({}, {}), reply)
    assert (question.path if question else "") == asked


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(BadParam):
        requested("")


def test_what_shall_not_be_seen_stands_where_the_protocol_has_it() -> None:
    assert (
        translate("qwen-image-2.0", negative_prompt="fog")["parameters"]["negative_prompt"] == "fog"
    )
    assert translate("wan2.2-t2i-flash", negative_prompt="fog")["input"] == {
        "negative_prompt": "fog"
    }


@pytest.mark.parametrize("choices", [[content("u", "v")], [content("u"), content("v")]])
def test_images_are_found_in_one_choice_or_in_many(choices: list[Any]) -> None:
    answer = parse_answer(output={"choices": choices})
    assert [image.url for image in answer.images] == ["u", "v"]


def test_what_came_of_a_task_that_failed_in_part_is_kept() -> None:
    lost = {"code": "DataInspectionFailed", "message": "no"}
    answer = parse_answer(output={"results": [lost, {"b64_image": "aGk="}]})
    assert [image.b64 for image in answer.images] == ["aGk="]


def test_a_task_whose_only_image_was_refused_is_a_refusal() -> None:
    lost = {"code": "DataInspectionFailed", "message": "no"}
    with pytest.raises(Refusal):
        parse_answer(output={"task_status": "SUCCEEDED", "results": [lost]})


@pytest.mark.parametrize("state", ["CANCELED", "UNKNOWN", "odd"])
def test_a_state_that_is_no_success_is_named(state: str) -> None:
    with pytest.raises(ProviderError, match=state):
        parse_answer(output={"task_status": state})


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InvalidApiKey", 401),
        ("InvalidParameter", 400),
        ("AccessDenied.Unpurchased", 403),
        ("Throttling.AllocationQuota", 429),
        ("InternalError.Timeout", 504),
        ("SystemError", 502),
        ("NobodyKnows", 502),
    ],
)
def test_a_code_says_more_than_a_success_status(code: str, status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(code=code, message="no")
    assert caught.value.status == status
