"""Google's Gemini image models, which have the same body in the Gemini API and in Vertex AI.

    POST …/models/{model}:generateContent      JSON -> {"candidates": [{"content": {"parts": [
                                               {"inlineData": {"mimeType", "data"}}]}}]}

A refusal is an HTTP 200: either there is no candidate and `promptFeedback` has the reason, or the
candidate has no image and `finishReason` has it.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from adapters import errors
from adapters.contract import Answer, Image
from adapters.http import ProviderReply
from adapters.table.param import Param
from adapters.table.table import Table, TablesByModel
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_count, dig_list, dig_str, dig_typed

MODELS = (
    "gemini-3.1-flash-image",
    "gemini-nano-banana-2.1",
    "gemini-3-pro-image",
    "gemini-3.1-flash-lite-image",
    "gemini-2.5-flash-image",
)
CODES = {"API_KEY_INVALID": HTTPStatus.UNAUTHORIZED}
"""A wrong key gets a 400; all other errors have a fitting status."""
UNCONFIRMED = (
    "imageSize and the most extreme ratios of gemini-nano-banana-2.1 and "
    "gemini-3.1-flash-lite-image; Retry-After on a 429"
)

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_WIDE_RATIOS = (*_RATIOS, "1:4", "4:1", "1:8", "8:1")
_PRO_TIERS = {"1K": 1024, "2K": 2048, "4K": 4096}
_FLASH_TIERS = {"512": 512, **_PRO_TIERS}

_CONFIG = "generationConfig"
IMAGE = f"{_CONFIG}.imageConfig"
"""Dotted path of the image's settings in a request body."""

_HARMS = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")

_TOKEN_COUNTS = ("prompt", "candidates", "thoughts", "total")

# Reasons of safety or copyright. Others (NO_IMAGE, OTHER) may succeed on a retry.
_REFUSALS = frozenset(
    {
        *("SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST"),
        *("SPII", "RECITATION", "IMAGE_RECITATION", "MODEL_ARMOR", "JAILBREAK"),
    }
)


def build_tables(*more: Param) -> TablesByModel:
    """Return the tables of all families, with the rows `more` that one of the services adds."""
    return (
        ("gemini-2.5-flash-image", _table(_RATIOS, {}, more)),
        (("gemini-3-pro-image", "nano-banana-pro"), _table(_RATIOS, _PRO_TIERS, more)),
        ("gemini-3.1-flash-lite-image", _table(_RATIOS, {}, more)),
        ("gemini-3.1-flash-image", _table(_WIDE_RATIOS, _FLASH_TIERS, more)),
        ("", _table(_RATIOS, {}, (_image_size(_FLASH_TIERS), *more))),
    )


def _table(ratios: tuple[str, ...], tiers: dict[str, int], more: tuple[Param, ...]) -> Table:
    """Return the table of a family; without `tiers`, only the ratio of a size is used."""
    size = sizes.ratio(ratios, field=f"{IMAGE}.aspectRatio")
    if tiers:
        size = sizes.tiers(size, tiers, field=f"{IMAGE}.imageSize")
        more = (_image_size(tiers), *more)
    return Table(
        (
            Param("prompt", convert=lambda text: {"contents": _user_turn(text)}),
            Param("size", convert=size),
            Param(
                "moderation", convert=_relax_safety, note="low: all categories at BLOCK_ONLY_HIGH"
            ),
            Param("aspectRatio", f"{IMAGE}.aspectRatio", choices=ratios),
            Param("seed", f"{_CONFIG}.seed", kind=int),
            Param("temperature", f"{_CONFIG}.temperature", kind=float, low=0, high=2),
            Param("topP", f"{_CONFIG}.topP", kind=float, low=0, high=1),
            Param("thinkingConfig", f"{_CONFIG}.thinkingConfig", kind=dict),
            Param("safetySettings", kind=list),
            Param("tools", kind=list, note='such as [{"google_search": {}}]'),
            *more,
        ),
        constant={f"{_CONFIG}.responseModalities": ["IMAGE"]},
    )


def _image_size(tiers: dict[str, int]) -> Param:
    return Param("imageSize", f"{IMAGE}.imageSize", choices=tuple(tiers))


def _relax_safety(level: str) -> dict[str, Any]:
    """Return the least strict safety settings, per category, for `moderation: low`."""
    if level != "low":
        return {}
    return {
        "safetySettings": [
            {"category": f"HARM_CATEGORY_{name}", "threshold": "BLOCK_ONLY_HIGH"} for name in _HARMS
        ]
    }


def _user_turn(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": [{"text": text}]}]


def parse_answer(reply: ProviderReply) -> Answer:
    """Return the images of a reply. Raises `Refusal` or `ProviderError` if there are none."""
    tree = reply.json()
    if images := tuple(_parse_images(tree)):
        return Answer(images, usage=_parse_usage(tree))
    blocked = dig_str(tree, "promptFeedback", "blockReason")
    finish = dig_str(tree, "candidates", 0, "finishReason")
    message = (
        dig_str(tree, "promptFeedback", "blockReasonMessage")
        or dig_str(tree, "candidates", 0, "finishMessage")
        or " ".join(text for part in _parts(tree) if (text := dig_str(part, "text")))
    )
    reason = ": ".join(filter(None, (blocked or finish, message)))
    if blocked or finish in _REFUSALS:
        raise errors.refusal(reason, provider_status=reply.status)
    raise errors.no_image_error(reply.status, reason)


def _parts(tree: Any) -> Iterator[Any]:
    for candidate in dig_list(tree, "candidates"):
        yield from dig_list(candidate, "content", "parts")


def _parse_images(tree: Any) -> Iterator[Image]:
    """Yield the images, without the drafts of a thinking model (marked as thoughts)."""
    for part in _parts(tree):
        media_type = dig_str(part, "inlineData", "mimeType")
        b64 = dig_str(part, "inlineData", "data")
        if b64 and media_type.startswith("image/") and dig(part, "thought") is not True:
            yield Image(b64=b64, media_type=media_type)


def _parse_usage(tree: Any) -> dict[str, Any] | None:
    """Return OpenAI's usage object; thinking tokens count as output, as they are billed."""
    metadata = dig_typed(tree, "usageMetadata", kind=dict)
    if not metadata:
        return None
    count = {name: dig_count(metadata, f"{name}TokenCount") for name in _TOKEN_COUNTS}
    output = count["candidates"] + count["thoughts"]
    details = {dig_str(it, "modality"): it for it in dig_list(metadata, "promptTokensDetails")}
    image_tokens = dig_count(details.get("IMAGE"), "tokenCount")
    return {
        "input_tokens": count["prompt"],
        "output_tokens": output,
        "total_tokens": count["total"] or count["prompt"] + output,
        "input_tokens_details": {
            "text_tokens": count["prompt"] - image_tokens,
            "image_tokens": image_tokens,
        },
    }
