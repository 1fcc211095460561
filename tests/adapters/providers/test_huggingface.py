"""Hugging Face: who is asked for which model, in whose words, and what comes back."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, Flow, ImageCall
from adapters.errors import BadParam, ImageError, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.huggingface import ADAPTER

ENDPOINT = "https://a1b2.us-east-1.aws.endpoints.huggingface.cloud"
PATTERN = ADAPTER.options[0].pattern
DEDICATED = Credentials("k", {"huggingface_base_url": f"{ENDPOINT}/"})


def begun(model: str, credentials: Credentials | None = None, **params: Any) -> Flow:
    found = credentials or Credentials("k")
    table = ADAPTER.table_for(ADAPTER.effective_model(model, found))
    return ADAPTER.flow(
        ImageCall({"model": model, **params}, table.translate(params).fields, found)
    )


def make_reply(tree: Any, status: int = 200) -> ProviderReply:
    return ProviderReply(status, {"content-type": "application/json"}, orjson.dumps(tree))


def mapped(provider: str, **mapping: Any) -> ProviderReply:
    return make_reply({"inferenceProviderMapping": {provider: mapping}})


def build_request(provider: str, name: str, **params: Any) -> ProviderRequest:
    """Give the request to a provider that knows the model by `name`."""
    flow = begun(f"some/model:{provider}", **params)
    next(flow)
    return flow.send(mapped(provider, providerId=name))


def parse_answer(reply: ProviderReply) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), reply)


def test_without_a_provider_it_is_hugging_faces_own() -> None:
    for model in ("some/model", "some/model:hf-inference"):
        assert next(begun(model, prompt="a")).path == "/hf-inference/models/some/model"


def test_another_providers_name_of_the_model_is_asked_for_first() -> None:
    request = next(begun("some/model:together", prompt="a"))
    assert (request.method, request.authenticated) == ("GET", True)
    place = "https://huggingface.co/api/models/some/model?expand=inferenceProviderMapping"
    assert request.url == place


@pytest.mark.parametrize(
    ("provider", "path", "body"),
    [
        (
            "together",
            "/together/v1/images/generations",
            {
                "model": "their/name",
                "prompt": "a",
                "width": 512,
                "height": 512,
                "steps": 4,
                "guidance_scale": 3.5,
                "response_format": "base64",
            },
        ),
        (
            "nscale",
            "/nscale/v1/images/generations",
            {
                "model": "their/name",
                "prompt": "a",
                "size": "512x512",
                "guidance_scale": 3.5,
                "response_format": "b64_json",
            },
        ),
        (
            "replicate",
            "/replicate/v1/models/their/name/predictions",
            {
                "input": {
                    "prompt": "a",
                    "width": 512,
                    "height": 512,
                    "num_inference_steps": 4,
                    "guidance_scale": 3.5,
                },
            },
        ),
        (
            "fal-ai",
            "/fal-ai/their/name",
            {
                "prompt": "a",
                "image_size": {"width": 512, "height": 512},
                "num_inference_steps": 4,
                "guidance_scale": 3.5,
            },
        ),
    ],
)
def test_a_provider_is_asked_in_its_own_words(provider: str, path: str, body: Any) -> None:
    wishes = {"size": "512x512", "num_inference_steps": 4, "guidance_scale": 3.5}
    request = build_request(provider, "their/name", prompt="a", **wishes)
    assert (request.path, request.json) == (path, body)


def test_a_version_is_named_in_the_body_for_replicate() -> None:
    request = build_request("replicate", "their/name:abc", prompt="a")
    assert request.path == "/replicate/v1/predictions"
    assert request.json == {"version": "abc", "input": {"prompt": "a"}}


@pytest.mark.parametrize(
    ("named", "path"),
    [
        ("https://api.wavespeed.ai/api/v3/predictions/1/result", "/api/v3/predictions/1/result"),
        ("https://evil.test/api/v3/1?x=y#z", "/api/v3/1"),
        ("https://evil.test@h/api/%2e%2e/1", "/api/%252e%252e/1"),
        ("https://evil.test/api/../../x", ""),
        ("https://evil.test/api/", ""),
        ("https://evil.test", ""),
        ("", ""),
    ],
)
def test_a_job_is_asked_for_on_the_router_and_nowhere_else(named: str, path: str) -> None:
    flow = begun("some/model:wavespeed", prompt="a")
    next(flow)
    flow.send(mapped("wavespeed", providerId="their/name"))
    submitted = make_reply({"data": {"urls": {"get": named}}})
    if path:
        request = flow.send(submitted)
        assert (request.url, request.path) == ("", f"/wavespeed{path}")
    else:
        with pytest.raises(ProviderError, match="without an image"):
            flow.send(submitted)


def test_a_task_that_is_done_at_once_is_not_asked_for() -> None:
    flow = begun("some/model:zai-org", prompt="a")
    next(flow)
    flow.send(mapped("zai-org", providerId="glm-image"))
    done = {"id": "1", "task_status": "SUCCESS", "image_result": [{"url": "https://a.test/1"}]}
    with pytest.raises(StopIteration) as caught:
        flow.send(make_reply(done))
    assert caught.value.value.images[0].url == "https://a.test/1"


def test_what_failed_in_words_of_safety_is_a_refusal() -> None:
    for tree in (
        {"status": "failed", "error": "NSFW content was found."},
        {"data": {"status": "failed", "error": "Flagged by the safety checker."}},
        {"error": {"code": "1301", "message": "no"}},
    ):
        with pytest.raises(Refusal):
            parse_answer(make_reply(tree))


def test_a_mapping_may_be_a_list() -> None:
    flow = begun("some/model:fal-ai", prompt="a")
    next(flow)
    others = ({"provider": "together", "providerId": "x"}, 7)
    listed = [*others, {"provider": "fal-ai", "providerId": "their/name"}]
    request = flow.send(make_reply({"inferenceProviderMapping": listed}))
    assert request.path == "/fal-ai/their/name"


@pytest.mark.parametrize("name", ["../x", "a/../b", "a?b", "a//b", "https://evil.test/x"])
def test_a_name_from_the_hub_cannot_leave_its_place(name: str) -> None:
    with pytest.raises(ImageError):
        build_request("fal-ai", name, prompt="a")


@pytest.mark.parametrize("model", ["", ":together", "../x", "a?b:together", "a/../b"])
def test_a_name_of_the_clients_cannot_either(model: str) -> None:
    with pytest.raises(BadParam):
        next(begun(model, prompt="a"))


def test_a_provider_that_is_not_reached_is_named_with_those_that_are() -> None:
    with pytest.raises(BadParam, match=":hf-inference, :fal-ai"):
        next(begun("some/model:novita", prompt="a"))


@pytest.mark.parametrize("tree", [{}, {"inferenceProviderMapping": []}, {"error": 7}, []])
def test_a_model_that_a_provider_does_not_offer_is_not_found(tree: Any) -> None:
    flow = begun("some/model:nscale", prompt="a")
    next(flow)
    with pytest.raises(ProviderError, match="nscale does not offer some/model") as caught:
        flow.send(make_reply(tree))
    assert caught.value.status == 404


def test_an_endpoint_is_the_whole_address_and_needs_no_model() -> None:
    assert ADAPTER.resolve_base_url(DEDICATED) == ENDPOINT
    for model in ("", "some/model:together"):
        request = next(begun(model, DEDICATED, prompt="a"))
        assert (request.path, request.url, request.json) == ("", "", {"inputs": "a"})


@pytest.mark.parametrize(
    "url",
    [
        "http://a.endpoints.huggingface.cloud",
        "https://endpoints.huggingface.cloud",
        "https://a.endpoints.huggingface.cloud.evil.test",
        "https://evil.test/.endpoints.huggingface.cloud",
        "https://evil.test#.endpoints.huggingface.cloud",
        "https://a.endpoints.huggingface.cloud@evil.test",
        "https://a.endpoints.huggingface.cloud/../x",
        "https://a.endpoints.huggingface.cloud:8443",
    ],
)
def test_an_endpoint_is_on_hugging_faces_cloud(url: str) -> None:
    assert re.fullmatch(PATTERN, ENDPOINT)
    assert not re.fullmatch(PATTERN, url)


def test_a_image_that_fal_blacked_out_is_left_out() -> None:
    images = [{"url": "https://a.test/1"}, {"url": "https://a.test/2"}]
    answer = parse_answer(make_reply({"images": images, "has_nsfw_concepts": [True, False]}))
    assert [image.url for image in answer.images] == ["https://a.test/2"]
    with pytest.raises(Refusal):
        parse_answer(make_reply({"images": images, "has_nsfw_concepts": [True, True]}))


def test_an_error_may_call_itself_a_success() -> None:
    with pytest.raises(ProviderError, match="still loading") as caught:
        parse_answer(make_reply({"error": "still loading"}))
    assert caught.value.status == 502
