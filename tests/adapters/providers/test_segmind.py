"""Segmind: two versions, sizes by family, jobs whose failure is a 422, errors known by words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.providers.segmind import ADAPTER


def requested(model: str, version: str = "", **params: Any) -> ProviderRequest:
    fields = ADAPTER.table_for(model).translate({"prompt": "a cube", **params}).fields
    options = {"segmind_api": version} if version else {}
    return ADAPTER.build_request(ImageCall({"model": model}, fields, Credentials("k", options)))


def make_reply(wire: int = 200, **tree: Any) -> ProviderReply:
    return ProviderReply(wire, {"content-type": "application/json"}, orjson.dumps(tree))


@pytest.mark.parametrize(("version", "path"), [("", "/v2/m"), ("v2", "/v2/m"), ("v1", "/v1/m")])
def test_the_version_is_an_option(version: str, path: str) -> None:
    assert requested("m", version).path == path


@pytest.mark.parametrize("model", ["", "../x", "a?b", "requests/../x"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        requested(model)


def test_the_key_is_no_bearer() -> None:
    signed = ADAPTER.sign(
        SignableRequest("POST", "https://api.segmind.com/v2/m", {}, b"", 0), Credentials("SG_0")
    )
    assert signed == {"x-api-key": "SG_0"}


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("sdxl1.0-txt2img", {"img_width": 768, "img_height": 1024}),
        ("flux-2-pro", {"width": 768, "height": 1024}),
        ("seedream-5.0", {"aspect_ratio": "3:4"}),
        ("never-heard-of-it", {}),
    ],
)
def test_a_family_has_its_own_words_for_a_size(model: str, sent: dict[str, Any]) -> None:
    assert requested(model, size="768x1024").json == {"prompt": "a cube", **sent}


def test_quality_in_words_is_not_the_quality_of_a_file() -> None:
    assert requested("m", quality="high").json == {"prompt": "a cube"}
    assert requested("m", image_quality=90).json == {"prompt": "a cube", "quality": 90}


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("https://p.test/1", ["https://p.test/1"]),
        ('{"images": ["https://p.test/1"]}', ["https://p.test/1"]),
        (
            [{"url": "https://p.test/1"}, "https://p.test/2"],
            ["https://p.test/1", "https://p.test/2"],
        ),
    ],
)
def test_an_output_comes_in_many_forms(output: Any, found: list[str]) -> None:
    answer = ADAPTER.parse_answer(ImageCall({}, {}), make_reply(status="COMPLETED", output=output))
    assert [image.url for image in answer.images] == found


@pytest.mark.parametrize("output", ["[not json", "", None, 7, "no place"])
def test_an_output_without_a_place_is_no_image(output: Any) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        ADAPTER.parse_answer(ImageCall({}, {}), make_reply(status="COMPLETED", output=output))


@pytest.mark.parametrize(
    ("status", "state", "settled"),
    [
        (422, "FAILED", True),
        (200, "COMPLETED", True),
        (200, "QUEUED", False),
        (503, "", False),
    ],
)
def test_the_state_says_that_a_job_is_over(status: int, state: str, *, settled: bool) -> None:
    assert ADAPTER.is_finished(make_reply(status, status=state)) is settled


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (406, "Spend limit reached", "insufficient_quota"),
        (406, "steps is not allowed", None),
        (410, "gone", "model_not_found"),
    ],
)
def test_words_tell_where_a_status_does_not(status: int, told: str, code: str | None) -> None:
    assert ADAPTER.provider_error(make_reply(status, error=told)).code == code


def test_a_refusal_is_known_by_its_words() -> None:
    assert isinstance(ADAPTER.provider_error(make_reply(400, error="NSFW content")), Refusal)


def test_the_page_of_a_wrong_method_is_an_error_too() -> None:
    error = ADAPTER.provider_error(ProviderReply(405, {"content-type": "text/html"}, b"<html>"))
    assert error.status == 400
