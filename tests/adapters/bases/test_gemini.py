"""Gemini's body and answer: what of a size can be said, what is a image, what is a refusal."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.bases import gemini
from adapters.errors import ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.table.param import Param

TABLES = dict(gemini.build_tables())
FLASH, PLAIN = TABLES["gemini-3.1-flash-image"], TABLES["gemini-2.5-flash-image"]


def config(table: Any, **params: Any) -> dict[str, Any]:
    made = table.translate(params).fields["generationConfig"]
    return dict(made.get("imageConfig", {}))


def make_reply(**tree: Any) -> ProviderReply:
    return ProviderReply(200, {"content-type": "application/json"}, orjson.dumps(tree))


def finished(reason: str, *parts: Any) -> ProviderReply:
    return make_reply(candidates=[{"content": {"parts": parts}, "finishReason": reason}])


def image(b64: str = "aGk=", media_type: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": b64}, **more}


@pytest.mark.parametrize(
    ("size", "ratio", "tier"),
    [
        ("512x512", "1:1", "512"),
        ("1024x1024", "1:1", "1K"),
        ("1536x1024", "3:2", "1K"),
        ("2048x1152", "16:9", "2K"),
        ("4096x4096", "1:1", "4K"),
        ("512x4096", "1:8", "1K"),
    ],
)
def test_a_size_is_a_ratio_and_a_tier(size: str, ratio: str, tier: str) -> None:
    assert config(FLASH, size=size) == {"aspectRatio": ratio, "imageSize": tier}


def test_a_size_of_auto_is_the_models_to_choose() -> None:
    assert config(FLASH, size="auto") == {}


def test_what_has_no_tiers_is_asked_for_none() -> None:
    sent = config(PLAIN, size="512x4096", imageSize="4K")
    assert sent == {"aspectRatio": "9:16"}


def test_a_model_nobody_knows_is_sent_a_tier_only_if_the_client_names_one() -> None:
    assert config(TABLES[""], size="2048x2048") == {"aspectRatio": "1:1"}
    assert config(TABLES[""], imageSize="4K") == {"imageSize": "4K"}


def test_every_family_gets_the_rows_of_its_service() -> None:
    tables = dict(gemini.build_tables(Param("labels", kind=dict)))
    assert all(table.row("labels") for table in tables.values())


def test_less_moderation_is_said_of_every_category_unless_the_client_says_it_itself() -> None:
    sent = FLASH.translate({"moderation": "low"}).fields
    assert {it["threshold"] for it in sent["safetySettings"]} == {"BLOCK_ONLY_HIGH"}
    assert len(sent["safetySettings"]) == 4
    own = FLASH.translate({"moderation": "low", "safetySettings": [{"category": "x"}]}).fields
    assert own["safetySettings"] == [{"category": "x"}]


def test_a_thought_or_a_sound_is_no_image() -> None:
    parts = (image("ZHJhZnQ=", thought=True), image("c28=", "audio/wav"), image())
    images = gemini.parse_answer(finished("STOP", *parts)).images
    assert [(image.b64, image.media_type) for image in images] == [("aGk=", "image/png")]


@pytest.mark.parametrize("reason", ["SAFETY", "IMAGE_PROHIBITED_CONTENT", "RECITATION", "SPII"])
def test_a_finish_for_safety_or_rights_is_a_refusal(reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        gemini.parse_answer(finished(reason))


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "JAILBREAK", "a new one"])
def test_whatever_blocks_a_prompt_is_a_refusal(reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        gemini.parse_answer(make_reply(promptFeedback={"blockReason": reason}))


@pytest.mark.parametrize("reason", ["NO_IMAGE", "IMAGE_OTHER", "OTHER", "STOP", "MAX_TOKENS"])
def test_any_other_finish_without_a_image_is_a_fault_in_the_models_words(reason: str) -> None:
    with pytest.raises(ProviderError, match="I would rather not") as caught:
        gemini.parse_answer(finished(reason, {"text": "I would"}, {"text": "rather not"}))
    assert (caught.value.status, caught.value.code) == (502, "no_picture")


def test_images_that_came_count_whatever_else_is_said() -> None:
    assert len(gemini.parse_answer(finished("IMAGE_SAFETY", image())).images) == 1


def test_tokens_of_images_that_were_sent_are_told_apart() -> None:
    told = {
        "promptTokenCount": 1300,
        "candidatesTokenCount": 1120,
        "thoughtsTokenCount": 80,
        "totalTokenCount": 2500,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "IMAGE", "tokenCount": 1290},
        ],
    }
    reply = make_reply(candidates=[{"content": {"parts": [image()]}}], usageMetadata=told)
    assert gemini.parse_answer(reply).usage == {
        "input_tokens": 1300,
        "output_tokens": 1200,
        "total_tokens": 2500,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 1290},
    }
