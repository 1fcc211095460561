"""Replicate: the path by the model's form, the input by its family, outputs of every form."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.replicate import ADAPTER
from tests.support.transcripts import translated

HASH = "5599ed30703defd1d160a25a63321b4dec97101d98b4674bcc56e41f62f35637"
RECRAFTS = "realistic_image"
URL = "https://replicate.delivery/out-0.png"


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def requested(model: str, **params: Any) -> ProviderRequest:
    return ADAPTER.build_request(ImageCall({"model": model, **params}, translate(model, **params)))


def parse_answer(**tree: Any) -> Answer:
    reply = ProviderReply(201, {}, orjson.dumps({"status": "succeeded", **tree}))
    return ADAPTER.parse_answer(ImageCall({}, {}), reply)


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("luma/photon", "/models/luma/photon/predictions", None),
        (f"owner/name:{HASH}", "/predictions", f"owner/name:{HASH}"),
        (HASH, "/predictions", HASH),
        ("deployments/owner/name", "/deployments/owner/name/predictions", None),
    ],
)
def test_the_models_form_chooses_the_path(model: str, path: str, version: str | None) -> None:
    request = requested(model, prompt="a cube")
    assert request.path == path
    assert request.json.get("version") == version


@pytest.mark.parametrize(
    "model", ["", "flux-schnell", "a/b/c", "a/b/c/d", "../b", "a/b?x", HASH[1:]]
)
def test_a_model_of_another_form_is_refused_with_an_example(model: str) -> None:
    with pytest.raises(BadParam, match="black-forest-labs/flux-schnell"):
        requested(model)


def test_what_the_clients_input_says_otherwise_is_dropped_by_name() -> None:
    own = {"aspect_ratio": "2:1", "seed": 1, "input": "x"}
    asked = {"model": "luma/photon", "prompt": "a", "size": "1024x1024", "seed": 7, "input": own}
    call, receipt = translated(ADAPTER, asked, Credentials("k"))
    assert str(receipt) == "dropped size=1024x1024, dropped seed=7"
    assert call.fields["input"] == own


def test_the_caller_is_kept_waiting() -> None:
    assert requested("luma/photon").headers == {"prefer": "wait"}


def test_the_clients_input_is_laid_over_what_the_table_made() -> None:
    own = {"aspect_ratio": "2:1", "scheduler": "K_EULER", "a.b": 1}
    request = requested("someone/model", prompt="a cube", size="1024x1024", input=own)
    assert request.json == {"input": {"prompt": "a cube", **own}}


@pytest.mark.parametrize("name", ["webhook", "webhook_events_filter", "webhook_url"])
def test_a_clients_webhook_never_leaves(name: str) -> None:
    for model in (*ADAPTER.models, "someone/model", HASH):
        assert requested(model, **{name: "https://evil.test"}).json["input"] == {}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("black-forest-labs/flux-schnell", {"aspect_ratio": "16:9"}),
        (
            "black-forest-labs/flux-1.1-pro",
            {"aspect_ratio": "custom", "width": 1440, "height": 832},
        ),
        ("black-forest-labs/flux-1.1-pro-ultra", {"aspect_ratio": "16:9"}),
        ("black-forest-labs/flux-2-pro", {"aspect_ratio": "custom", "width": 1792, "height": 1024}),
        ("bytedance/seedream-4.5", {"size": "2K", "aspect_ratio": "16:9"}),
        ("recraft-ai/recraft-v3", {"size": "1820x1024"}),
        ("recraft-ai/recraft-v3-svg", {"size": "1820x1024"}),
        ("ideogram-ai/ideogram-v4-turbo", {}),
        ("someone/model", {"aspect_ratio": "16:9"}),
    ],
)
def test_each_family_has_its_own_words_for_a_size(model: str, fields: dict[str, Any]) -> None:
    assert translate(model, size="1792x1024") == fields


def test_seedream_takes_a_large_size_in_pixels() -> None:
    exact = {"size": "custom", "width": 2560, "height": 1440}
    assert translate("bytedance/seedream-4.5", size="2560x1440") == exact
    assert translate("bytedance/seedream-4.5", size="auto") == {}


def test_no_size_is_left_to_the_model() -> None:
    for model in (*ADAPTER.models, "someone/model"):
        assert translate(model, size="auto") == {}


def test_only_two_families_make_several_images_a_call() -> None:
    several = [it for it in ADAPTER.models if ADAPTER.table_for(it).images_per_call > 1]
    assert several == ["black-forest-labs/flux-schnell", "black-forest-labs/flux-dev"]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("black-forest-labs/flux-dev", {"disable_safety_checker": True}),
        ("black-forest-labs/flux-1.1-pro", {"safety_tolerance": 6}),
        ("black-forest-labs/flux-2-pro", {"safety_tolerance": 5}),
        ("someone/model", {}),
    ],
)
def test_low_moderation_is_said_as_the_family_says_it(model: str, fields: dict[str, Any]) -> None:
    assert translate(model, moderation="low") == fields


@pytest.mark.parametrize(
    ("model", "own", "fields"),
    [
        ("recraft-ai/recraft-v3", {"recraft_style": "realistic_image"}, {"style": RECRAFTS}),
        ("recraft-ai/recraft-v3", {"style": "vivid"}, {}),
        ("ideogram-ai/ideogram-v4-turbo", {"resolution": "1024x1024"}, None),
        ("bytedance/seedream-4.5", {"max_images": 4}, None),
        ("black-forest-labs/flux-2-pro", {"aspect_ratio": "match_input_image"}, None),
    ],
)
def test_a_familys_own_parameter_goes_by_its_name(
    model: str, own: dict[str, Any], fields: dict[str, Any] | None
) -> None:
    assert translate(model, **own) == (own if fields is None else fields)


@pytest.mark.parametrize(
    "output",
    [
        URL,
        [URL],
        {"image": URL},
        {"images": [URL], "seed": 7, "text": "a cube"},
        [None, [[URL]], "odd"],
    ],
)
def test_a_image_is_found_in_every_form_of_output(output: Any) -> None:
    assert [image.url for image in parse_answer(output=output).images] == [URL]


def test_images_keep_their_order() -> None:
    places = [f"https://replicate.delivery/{it}.png" for it in range(4)]
    assert [image.url for image in parse_answer(output=places).images] == places


@pytest.mark.parametrize("output", [None, [], {}, "", "a text", 7, ["ftp://a.test/1"]])
def test_an_output_without_a_image_is_an_error(output: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(output=output)
    assert caught.value.code == "no_picture"


def test_a_deeply_nested_output_does_not_matter() -> None:
    deep = b'{"status":"succeeded","output":' + b"[" * 1000 + b"]" * 1000 + b"}"
    with pytest.raises(ProviderError, match="without an image"):
        ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(201, {}, deep))


@pytest.mark.parametrize("status", ["failed", "canceled", "aborted"])
def test_a_prediction_that_came_to_nothing_is_the_providers_failure(status: str) -> None:
    with pytest.raises(ProviderError, match=status) as caught:
        parse_answer(status=status, error=None)
    assert (caught.value.status, isinstance(caught.value, Refusal)) == (502, False)


@pytest.mark.parametrize(
    "words",
    [
        "NSFW content detected in all outputs",
        "The input or output was flagged as sensitive. (E005)",
        "Output blocked by safety filter",
    ],
)
def test_a_failure_in_the_words_of_moderation_is_a_refusal(words: str) -> None:
    with pytest.raises(Refusal, match="refused"):
        parse_answer(status="failed", error=words)


def test_a_prediction_that_says_no_place_is_read_as_it_is() -> None:
    flow = ADAPTER.flow(ImageCall({"model": "luma/photon"}, {}))
    next(flow)
    with pytest.raises(ProviderError, match="starting"):
        flow.send(ProviderReply(202, {}, b'{"status":"starting","output":null}'))


def test_the_problems_own_words_are_passed_on() -> None:
    tree = {"title": "Invalid input", "detail": "width is too odd", "status": 422}
    error = ADAPTER.provider_error(ProviderReply(422, {}, orjson.dumps(tree)))
    assert error.message.endswith("width is too odd")


def test_a_field_that_is_named_after_safety_makes_no_refusal() -> None:
    tree = {"detail": "- input.safety_tolerance: Must be less than or equal to 5", "status": 422}
    error = ADAPTER.provider_error(ProviderReply(422, {}, orjson.dumps(tree)))
    assert (error.status, isinstance(error, Refusal)) == (400, False)
