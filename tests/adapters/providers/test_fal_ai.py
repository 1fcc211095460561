"""fal: the queue's two URLs, sizes in three families, and what is not a image in a success."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.fal_ai import ADAPTER

KONTEXT = "fal-ai/flux-pro/kontext/max/text-to-image"
SEEDREAM = "fal-ai/bytedance/seedream/"
IMAGE = {"url": "https://v3.fal.media/a.png"}
QUEUED: dict[str, Any] = {
    "status_url": "https://queue.fal.run/s",
    "response_url": "https://queue.fal.run/r",
}


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def make_reply(wire: int = 200, **tree: Any) -> ProviderReply:
    return ProviderReply(wire, {}, orjson.dumps(tree))


def parse_answer(**tree: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {"prompt": "a cube"}), make_reply(**tree))


def test_the_key_stands_behind_a_word_of_its_own() -> None:
    headers = ADAPTER.sign(SignableRequest("GET", "", {}, b"", 0), Credentials("id:secret"))
    assert headers == {"authorization": "Key id:secret"}


@pytest.mark.parametrize("model", ["", "fal-ai/../x", "fal-ai//x", "fal-ai/x?fal_webhook=y"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({"model": model}, {}))


def test_a_host_that_replies_at_once_is_asked_nothing_more() -> None:
    flow = ADAPTER.flow(ImageCall({"model": "fal-ai/flux/dev"}, {}))
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(make_reply(images=[IMAGE]))
    assert done.value.value.images[0].url == IMAGE["url"]


def test_a_job_that_is_done_is_fetched_from_where_the_submission_said() -> None:
    flow = ADAPTER.flow(ImageCall({"model": "fal-ai/flux/dev"}, {}))
    next(flow)
    asked = flow.send(make_reply(**QUEUED, status="IN_QUEUE"))
    assert (asked.url, asked.method, asked.delay) == (QUEUED["status_url"], "GET", 1.0)
    assert flow.send(make_reply(202, status="IN_PROGRESS")) == asked
    fetched = flow.send(make_reply(status="COMPLETED", response_url="https://elsewhere.test"))
    assert (fetched.url, fetched.method, fetched.delay) == (QUEUED["response_url"], "GET", 0.0)


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        ("fal-ai/flux/dev", "1080x1920", (1080, 1920)),
        ("fal-ai/flux-2", "256x256", (512, 512)),
        ("fal-ai/flux-pro/v1.1", "2048x2048", (1440, 1440)),
        ("openai/gpt-image-2", "3840x2160", (3840, 2160)),
        ("openai/gpt-image-2", "256x256", (816, 816)),
        (SEEDREAM + "v4/text-to-image", "1024x1024", (1024, 1024)),
        (SEEDREAM + "v4/text-to-image", "512x512", (960, 960)),
        (SEEDREAM + "v4.5/text-to-image", "1024x1024", (1920, 1920)),
        ("someone/new-model", "1536x1024", (1536, 1024)),
    ],
)
def test_a_size_in_pixels_is_an_object(model: str, size: str, sent: tuple[int, int]) -> None:
    assert translate(model, size=size)["image_size"] == {"width": sent[0], "height": sent[1]}


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("fal-ai/flux-pro/v1.1-ultra", {"aspect_ratio": "16:9"}),
        (KONTEXT, {"aspect_ratio": "16:9"}),
        ("fal-ai/nano-banana", {"aspect_ratio": "16:9"}),
        ("fal-ai/nano-banana-pro", {"aspect_ratio": "16:9", "resolution": "1K"}),
        ("fal-ai/luma-photon/flash", {"aspect_ratio": "16:9"}),
    ],
)
def test_other_models_take_a_ratio(model: str, sent: dict[str, str]) -> None:
    assert translate(model, size="1792x1024") == sent


@pytest.mark.parametrize(
    ("model", "own"),
    [("fal-ai/flux/dev", {"image_size": "portrait_4_3"}), (KONTEXT, {"aspect_ratio": "3:4"})],
)
def test_a_square_is_asked_for_unless_the_client_says_otherwise(
    model: str, own: dict[str, str]
) -> None:
    assert translate(model, prompt="a cube").keys() == {"prompt", *own}
    assert translate(model, **own) == own


def test_a_tolerance_is_a_text() -> None:
    assert translate(KONTEXT, aspect_ratio="1:1", moderation="low")["safety_tolerance"] == "6"
    with pytest.raises(BadParam):
        translate(KONTEXT, safety_tolerance=6)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("low", "low"), ("standard", "medium"), ("hd", "high"), ("xhigh", "high"), ("max", "high")],
)
def test_every_quality_has_the_nearest_that_there_is(asked: str, sent: str) -> None:
    assert translate("openai/gpt-image-2", quality=asked)["quality"] == sent
    assert translate("openai/gpt-image-2.5/flare/text-to-image", quality="max")["quality"] == "max"


def test_recraft_is_asked_for_one_image_and_takes_no_long_prompt() -> None:
    table = ADAPTER.table_for("fal-ai/recraft/v3/text-to-image")
    assert table.images_per_call == 1
    with pytest.raises(BadParam):
        table.translate({"prompt": "x" * 1001})


def test_a_clients_style_is_not_taken_for_a_models() -> None:
    assert "style" not in translate("fal-ai/recraft/v3/text-to-image", style="vivid")


@pytest.mark.parametrize("name", ["fal_webhook", "webhook_url", "sync_mode"])
def test_no_client_has_a_result_sent_or_lost(name: str) -> None:
    assert all(table.row(name) is None for _, table in ADAPTER.tables_by_model)


def test_a_single_image_is_a_image_too() -> None:
    assert parse_answer(image=IMAGE).images[0].url == IMAGE["url"]


def test_a_data_uri_is_opened() -> None:
    assert parse_answer(images=[{"url": "data:image/png;base64,aGk="}]).images[0].b64 == "aGk="


@pytest.mark.parametrize("marks", ["has_nsfw_concepts", "nsfw_content_detected"])
def test_a_image_that_is_marked_is_left_out(marks: str) -> None:
    second = {"url": "https://v3.fal.media/b.png"}
    assert [it.url for it in parse_answer(images=[IMAGE, second], **{marks: [True]}).images] == [
        second["url"]
    ]
    with pytest.raises(Refusal):
        parse_answer(images=[IMAGE], **{marks: [True]})


def test_a_prompt_is_revised_only_if_it_is_another() -> None:
    assert parse_answer(images=[IMAGE], prompt="a cube").images[0].extra == {}
    revised = parse_answer(images=[IMAGE], prompt="a red cube", seed=7).images[0].extra
    assert revised == {"seed": 7, "revised_prompt": "a red cube"}


@pytest.mark.parametrize(
    ("wire", "kind", "status"),
    [
        (422, "missing", 400),
        (422, "generation_timeout", 504),
        (422, "internal_server_error", 502),
        (503, "runner_disconnected", 503),
        (500, "runner_server_error", 502),
        (401, "auth_error", 401),
        (200, "runner_scheduling_failure", 503),
    ],
)
def test_the_type_says_more_than_the_status(wire: int, kind: str, status: int) -> None:
    listed = make_reply(wire, detail=[{"loc": ["body", "seed"], "msg": "no", "type": kind}])
    assert ADAPTER.provider_error(listed).status == status
    assert ADAPTER.provider_error(make_reply(wire, detail="no", error_type=kind)).status == status


def test_a_403_is_an_empty_balance_only_where_it_says_so() -> None:
    locked = make_reply(403, detail="User is locked. Reason: Exhausted balance.")
    assert ADAPTER.provider_error(locked).code == "insufficient_quota"
    assert ADAPTER.provider_error(make_reply(403, detail="Forbidden")).status == 403


def test_a_completed_job_without_a_place_for_its_reply_is_an_error() -> None:
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer(status="COMPLETED")
