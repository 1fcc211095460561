"""Recraft: sizes, formats and styles by family, drawings as SVG, errors in plain text."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest

from adapters.contract import ImageCall
from adapters.errors import BadParam, Refusal
from adapters.http import ProviderReply
from adapters.providers.recraft_ai import ADAPTER
from adapters.table.table import UnsupportedPolicy

SVG = b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"/>').decode()


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("recraftv4_1", "1344x768"),
        ("recraftv4_1_flash", "1344x768"),
        ("recraftv4_styles_vector", "16:9"),
        ("recraftv4_1_utility_pro", "2688x1536"),
        ("recraftv4_1_utility_pro_vector", "16:9"),
        ("recraftv3", "1820x1024"),
        ("recraftv2", "1820x1024"),
        ("recraftv2_vector", "16:9"),
        ("ideogram_v4_turbo", "16:9"),
        ("recraftv9", "16:9"),
    ],
)
def test_a_size_is_the_nearest_that_the_family_has(model: str, sent: str) -> None:
    assert translate(model, size="1792x1024") == {"size": sent}


@pytest.mark.parametrize("size", ["1024x1024", "768x1536", "896x1280"])
def test_a_size_of_the_list_goes_as_it_is(size: str) -> None:
    assert translate("recraftv4", size=size) == {"size": size}


@pytest.mark.parametrize(
    "model", ["recraftv4_1", "recraftv4_1_raster", "recraftv4_1_pro", "recraftv3", "recraftv2"]
)
def test_a_image_has_a_format(model: str) -> None:
    assert translate(model, output_format="webp") == {"image_format": "webp"}
    assert translate(model, output_format="jpeg") == {"image_format": "png"}


@pytest.mark.parametrize(
    "model",
    [
        "recraftv4_1_vector",
        "recraftv4_1_flash_vector",
        "recraftv4_1_pro_vector",
        "recraftv3_vector",
    ],
)
def test_a_drawing_is_svg_without_being_asked_for(model: str) -> None:
    assert translate(model, output_format="png") == {}
    asked = ADAPTER.table_for(model).translate({"output_format": "svg"}, UnsupportedPolicy.STRICT)
    assert (asked.fields, str(asked.receipt)) == ({}, "")


def test_the_styles_of_the_first_generations_have_a_name_beside_openais() -> None:
    assert translate("recraftv3", style="vivid", style_preset="logo_raster") == {
        "style": "logo_raster"
    }
    assert translate("recraftv4_1", style_preset="logo_raster") == {}
    assert translate("recraftv2", style_preset="any") == {"style": "any"}
    with pytest.raises(BadParam):
        translate("recraftv2", style_preset="logo_raster")


def test_only_early_models_take_what_later_ones_ignore() -> None:
    asked = {"negative_prompt": "people", "text_layout": [{"text": "HI", "bbox": [[0, 0]]}]}
    assert translate("recraftv3", **asked) == asked
    assert translate("recraftv2", **asked) == {"negative_prompt": "people"}
    assert translate("recraftv4_1", **asked) == {}


def test_moderation_says_whether_to_block() -> None:
    assert [translate("recraftv4", moderation=it)["block_nsfw"] for it in ("auto", "low")] == [
        True,
        False,
    ]


def test_both_names_for_a_seed_are_understood() -> None:
    assert (
        translate("recraftv4", seed=7)
        == translate("recraftv4", random_seed=7)
        == {"random_seed": 7}
    )


@pytest.mark.parametrize(("model", "most"), [("recraftv4_1_flash", 10_000), ("recraftv3", 1000)])
def test_a_prompt_has_the_familys_bound(model: str, most: int) -> None:
    assert translate(model, prompt="x" * most)
    with pytest.raises(BadParam):
        translate(model, prompt="x" * (most + 1))


def test_a_drawing_is_passed_on_as_it_is() -> None:
    body = orjson.dumps({"credits": 80, "data": [{"image_id": "i", "b64_json": SVG}]})
    image = ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(200, {}, body)).images[0]
    assert (image.b64, image.extra) == (SVG, {"image_id": "i"})


def test_a_plain_text_is_the_sentence_of_an_error() -> None:
    plain = {"content-type": "text/plain; charset=utf-8"}
    error = ADAPTER.provider_error(ProviderReply(401, plain, b"request unauthorized\n"))
    assert (error.status, error.message) == (401, "The provider answered: request unauthorized")


def test_an_unknown_model_is_known_by_its_code() -> None:
    error = ADAPTER.provider_error(
        ProviderReply(400, {}, b'{"code":"invalid_model","message":"no"}')
    )
    assert (error.status, error.code) == (404, "model_not_found")


@pytest.mark.parametrize("told", [{"code": "not_enough_credits"}, {"message": "Low balance"}])
def test_an_empty_account_is_known_whatever_the_status(told: dict[str, str]) -> None:
    error = ADAPTER.provider_error(ProviderReply(400, {}, orjson.dumps(told)))
    assert error.code == "insufficient_quota"


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[]"])
def test_a_web_page_is_no_sentence(body: bytes) -> None:
    error = ADAPTER.provider_error(ProviderReply(502, {"content-type": "text/html"}, body))
    assert "no reason given" in error.message


def test_a_refusal_in_plain_text_is_one() -> None:
    plain = {"content-type": "text/plain"}
    assert isinstance(ADAPTER.provider_error(ProviderReply(400, plain, b"NSFW content")), Refusal)
