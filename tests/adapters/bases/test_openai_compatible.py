"""Who nearly speaks OpenAI's API: what is sent, what is read."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
import pytest

from adapters import errors
from adapters.bases.openai_compatible import STANDARD_OR_HD, OpenAICompatible
from adapters.contract import Answer, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import Table


class Acme(OpenAICompatible):
    id = "acme"
    name = "Acme"
    base_url = "https://api.acme.test/v1"
    models = ("one",)
    tables_by_model = (("", Table((Param("prompt"), Param("stream", kind=bool)))),)
    other_images_paths = (("output", "images"),)
    status_by_code: ClassVar[dict[str, int]] = {"unsafe": errors.REFUSED, "no_money": 402}


ACME = Acme()


def call(**params: Any) -> ImageCall:
    return ImageCall(params, ACME.table_for("").translate(params).fields)


def parse_answer(status: int = 200, **tree: Any) -> Answer:
    reply = ProviderReply(status, {}, orjson.dumps(tree))
    return ACME.parse_answer(call(model="one"), ACME.raise_for_status(reply))


def test_the_request_names_the_model_beside_what_the_table_made() -> None:
    request = ACME.build_request(call(model="one", prompt="a cube", style="vivid"))
    assert (request.path, request.json) == (
        "/images/generations",
        {"model": "one", "prompt": "a cube"},
    )
    assert not request.may_stream


def test_events_are_expected_where_the_table_lets_stream_through() -> None:
    assert ACME.build_request(call(model="one", prompt="a cube", stream=True)).may_stream


def test_a_call_without_a_model_is_told_of_one() -> None:
    with pytest.raises(BadParam, match="such as one") as caught:
        ACME.build_request(call(prompt="a cube"))
    assert caught.value.code == "model_needed"


def test_images_come_in_either_form_with_what_is_kept_of_their_entries() -> None:
    made = parse_answer(
        data=[
            {"b64_json": "iVBO", "seed": 7, "index": 0},
            {"b64_json": "data:image/png;base64,iVBO"},
            {"url": "https://a.test/b.png", "b64_json": None},
            {"image_base64": "iVBO"},
            {},
        ],
        usage={"prompt_tokens": 2},
    )
    assert [(it.b64, it.url) for it in made.images] == [
        ("iVBO", ""),
        ("iVBO", ""),
        ("", "https://a.test/b.png"),
        ("iVBO", ""),
    ]
    assert made.images[0].extra == {"seed": 7}
    assert made.usage
    assert made.usage["input_tokens"] == 2


def test_an_answer_without_a_image_is_none_and_may_say_why() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(data=[])
    with pytest.raises(Refusal, match="no such thing"):
        parse_answer(error={"code": "unsafe_prompt", "message": "no such thing"})


def test_an_error_means_what_its_code_says_whatever_its_status() -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(500, error={"code": "no_money", "message": "empty"})
    assert (caught.value.status, caught.value.code) == (429, "insufficient_quota")
    assert caught.value.provider_status == 500


@pytest.mark.parametrize(
    "code", ["content_policy_violation", "moderation_blocked", "ContentFilter"]
)
def test_openais_codes_of_a_refusal_are_known_everywhere(code: str) -> None:
    with pytest.raises(Refusal, match="no such thing"):
        parse_answer(400, error={"code": code, "message": "no such thing"})


def test_the_list_can_stand_in_other_places_too() -> None:
    assert parse_answer(output={"images": [{"b64_json": "iVBO"}]}).images[0].b64 == "iVBO"


def parse_event(**data: Any) -> Answer:
    return ACME.parse_event(call(model="one", stream=True), data)


def test_an_event_is_a_image_a_preview_or_a_count() -> None:
    finished = parse_event(b64_json="iVBO", seed=7).images[0]
    assert (finished.b64, finished.partial_index, finished.extra) == ("iVBO", None, {"seed": 7})
    preview = parse_event(b64_json="iVBO", partial_image_index=0).images[0]
    assert (preview.b64, preview.partial_index) == ("iVBO", 0)
    counted = parse_event(usage={"output_tokens": 4})
    assert counted.images == ()
    assert counted.usage
    assert counted.usage["output_tokens"] == 4


@pytest.mark.parametrize("data", [None, [], "[DONE]", {}, {"type": "text"}])
def test_an_event_may_tell_nothing(data: Any) -> None:
    assert ACME.parse_event(call(model="one"), data) == Answer(())


@pytest.mark.parametrize(("code", "status"), [(429, 429), (700, 502), (None, 502), ("429", 502)])
def test_an_event_of_failure_means_what_it_would_have_as_a_reply(code: Any, status: int) -> None:
    with pytest.raises(ProviderError, match="too much") as caught:
        parse_event(error={"message": "too much", "http_code": code})
    assert caught.value.status == status


def test_an_event_can_tell_of_a_refusal() -> None:
    with pytest.raises(Refusal):
        parse_event(error={"code": "unsafe_prompt", "message": "no such thing"})


def test_every_quality_but_auto_is_one_of_two() -> None:
    assert STANDARD_OR_HD.keys() == {*STANDARD_PARAMS["quality"].choices} - {"auto"}
    assert set(STANDARD_OR_HD.values()) == {"standard", "hd"}
