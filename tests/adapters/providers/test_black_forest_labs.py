"""Black Forest Labs: families and their sizes, the states of a task, where the key goes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.black_forest_labs import ADAPTER

PLACE = "https://api.eu1.bfl.ai/v1/get_result?id=1"
SUBMITTED = {"id": "1", "polling_url": PLACE}
READY = {"status": "Ready", "result": {"sample": "https://delivery-eu1.bfl.ai/1.png"}}
LOST = {"status": "Task not found"}


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def reply(tree: Any, status: int = 200) -> ProviderReply:
    return ProviderReply(status, {}, orjson.dumps(tree))


def converse(*trees: Any) -> Answer:
    """Converse, with these replies after the submission's."""
    fields = {"model": "flux-2-pro", "prompt": "a cube"}
    flow = ADAPTER.flow(ImageCall(fields, {"prompt": "a cube"}))
    next(flow)
    try:
        for tree in (SUBMITTED, *trees):
            flow.send(tree if isinstance(tree, ProviderReply) else reply(tree))
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    raise AssertionError("asks for more")


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("flux-2-pro", {"width": 1792, "height": 1024}),
        ("flux-2-klein-4b", {"width": 1792, "height": 1024}),
        ("flux-pro-1.1", {"width": 1440, "height": 832}),
        ("flux-dev", {"width": 1440, "height": 832}),
        ("flux-pro-1.1-ultra", {"aspect_ratio": "16:9"}),
        ("flux-kontext-max", {"aspect_ratio": "16:9"}),
        ("flux-9-someday", {"width": 1792, "height": 1024}),
    ],
)
def test_each_family_has_its_own_words_for_a_size(model: str, fields: dict[str, Any]) -> None:
    assert translate(model, size="1792x1024") == fields


@pytest.mark.parametrize(
    ("model", "asked", "fields"),
    [
        ("flux-pro-1.1", {}, {"width": 1024, "height": 1024}),
        ("flux-dev", {"size": "auto"}, {"width": 1024, "height": 1024}),
        ("flux-pro-1.1-ultra", {}, {"aspect_ratio": "1:1"}),
        ("flux-pro-1.1-ultra", {"aspect_ratio": "2:1"}, {"aspect_ratio": "2:1"}),
        ("flux-2-pro", {}, {}),
    ],
)
def test_a_image_is_square_where_nobody_says_otherwise(
    model: str, asked: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert translate(model, **asked) == fields


def test_only_flux_2_is_asked_for_webp() -> None:
    assert translate("flux-2-max", output_format="webp") == {"output_format": "webp"}
    assert translate("flux-kontext-pro", output_format="webp") == {}


def test_flux_2_makes_four_megapixels_and_no_more() -> None:
    assert translate("flux-2-max", size="2048x2048") == {"width": 2048, "height": 2048}
    huge = translate("flux-2-max", size="9000x6000")
    assert huge["width"] * huge["height"] <= 2048 * 2048


@pytest.mark.parametrize(("model", "most"), [("flux-2-pro", 5), ("flux-pro-1.1", 6)])
def test_low_moderation_is_the_most_that_a_family_tolerates(model: str, most: int) -> None:
    assert translate(model, moderation="low")["safety_tolerance"] == most
    assert "safety_tolerance" not in translate(model, moderation="auto")


@pytest.mark.parametrize("model", ADAPTER.models)
def test_a_clients_webhook_never_leaves(model: str) -> None:
    assert translate(model, webhook_url="https://evil.test", webhook_secret="x") == translate(model)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("flux-2-flex", "guidance", 9.5),
        ("flux-dev", "guidance", 4.5),
        ("flux-dev", "steps", 28),
        ("flux-pro-1.1-ultra", "image_prompt_strength", 0.5),
        ("flux-kontext-pro", "input_image_4", "aGk="),
        ("flux-2-pro", "input_image_8", "aGk="),
    ],
)
def test_a_familys_own_parameter_goes_through(model: str, name: str, value: Any) -> None:
    assert translate(model, **{name: value}) == {name: value, **translate(model)}


@pytest.mark.parametrize(
    ("model", "name"), [("flux-2-pro", "steps"), ("flux-2-klein-4b", "input_image_5")]
)
def test_another_familys_parameter_is_left_out(model: str, name: str) -> None:
    assert translate(model, **{name: "x"}) == {}


def test_the_key_goes_into_its_own_header_and_no_other() -> None:
    assert ADAPTER.sign(SignableRequest("GET", PLACE, {}, b"", 0), Credentials("k")) == {
        "x-key": "k"
    }


def test_a_submission_that_names_no_place_is_an_error() -> None:
    flow = ADAPTER.flow(ImageCall({"model": "flux-2-pro"}, {}))
    next(flow)
    with pytest.raises(ProviderError):
        flow.send(reply({"id": "1"}))


def test_a_task_may_be_unknown_for_a_while() -> None:
    assert converse(LOST, reply(LOST, 404), LOST, {"status": "Pending"}, READY).images


def test_a_task_that_stays_unknown_is_given_up() -> None:
    with pytest.raises(ProviderError, match="Task not found") as caught:
        converse(*[LOST] * 5)
    assert caught.value.status == 502


@pytest.mark.parametrize("state", ["Request Moderated", "Content Moderated"])
@pytest.mark.parametrize("details", [None, "unsafe", {"Moderation Reasons": ["Safety Filter"]}])
def test_a_moderated_task_is_a_refusal_that_says_why(state: str, details: Any) -> None:
    with pytest.raises(Refusal, match=state) as caught:
        converse({"status": state, "details": details})
    assert caught.value.message.endswith((state, "unsafe", "Safety Filter"))


@pytest.mark.parametrize("state", ["Error", "Failed"])
def test_any_other_end_is_the_providers_failure(state: str) -> None:
    with pytest.raises(ProviderError) as caught:
        converse({"status": state})
    assert (caught.value.status, isinstance(caught.value, Refusal)) == (502, False)


def test_a_poll_that_fails_ends_the_conversation() -> None:
    with pytest.raises(ProviderError) as caught:
        converse({"status": "Pending"}, reply({"detail": "no"}, 402))
    assert caught.value.status == 429


def test_what_is_forbidden_is_the_key() -> None:
    assert ADAPTER.provider_error(reply({"detail": "no"}, 403)).code == "invalid_api_key"


def test_a_prompt_is_called_revised_only_if_it_was() -> None:
    sample = READY["result"]
    assert isinstance(sample, dict)
    same = converse({"status": "Ready", "result": {**sample, "prompt": "a cube"}})
    other = converse({"status": "Ready", "result": {**sample, "prompt": "a glass cube"}})
    assert same.images[0].extra == {}
    assert other.images[0].extra == {"revised_prompt": "a glass cube"}


def test_a_message_says_more_than_the_code_beside_it() -> None:
    error = ADAPTER.provider_error(
        reply({"error": "rate_limit_exceeded", "message": "Slow down."}, 429)
    )
    assert error.message.endswith("Slow down.")
