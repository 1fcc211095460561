"""Google's Gemini image models, which the Gemini API and Vertex AI offer with the same body.

    POST …/models/{model}:generateContent      JSON -> {"candidates": [{"content": {"parts": [
                                               {"inlineData": {"mimeType", "data"}}]}}]}

What is refused comes with an HTTP 200: without a candidate, and `promptFeedback` says why, or with
a candidate without a picture, whose `finishReason` says why.

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
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed

MODELS = (
    "gemini-3.1-flash-image",
    "gemini-nano-banana-2.1",
    "gemini-3-pro-image",
    "gemini-3.1-flash-lite-image",
    "gemini-2.5-flash-image",
)
CODES = {"API_KEY_INVALID": HTTPStatus.UNAUTHORIZED}
"""A wrong key is a 400 on the wire; whatever else has a code has the status that fits."""
UNCONFIRMED = (
    "imageSize and the widest ratios of gemini-nano-banana-2.1 and gemini-3.1-flash-lite-image; "
    "whether a 429 has a Retry-After"
)

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_WIDE_RATIOS = (*_RATIOS, "1:4", "4:1", "1:8", "8:1")
_PRO_TIERS = {"1K": 1024, "2K": 2048, "4K": 4096}
_FLASH_TIERS = {"512": 512, **_PRO_TIERS}

_CONFIG = "generationConfig"
IMAGE = f"{_CONFIG}.imageConfig"
"""Where what is said of the picture stands in a body."""

_HARMS = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")

_COUNTED = ("prompt", "candidates", "thoughts", "total")

# Reasons that are those of safety or rights; any other (NO_IMAGE, OTHER) may end well next time.
_REFUSALS = frozenset(
    {
        *("SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST"),
        *("SPII", "RECITATION", "IMAGE_RECITATION", "MODEL_ARMOR", "JAILBREAK"),
    }
)


def build_tables(*more: Param) -> TablesByModel:
    """Give the tables of the families, each with the rows that one of the two services adds."""
    return (
        ("gemini-2.5-flash-image", _table(_RATIOS, {}, more)),
        (("gemini-3-pro-image", "nano-banana-pro"), _table(_RATIOS, _PRO_TIERS, more)),
        ("gemini-3.1-flash-lite-image", _table(_RATIOS, {}, more)),
        ("gemini-3.1-flash-image", _table(_WIDE_RATIOS, _FLASH_TIERS, more)),
        ("", _table(_RATIOS, {}, (_image_size(_FLASH_TIERS), *more))),
    )


def _table(ratios: tuple[str, ...], tiers: dict[str, int], more: tuple[Param, ...]) -> Table:
    """Give the table of a family; without `tiers`, a size does not say how many pixels."""
    size = sizes.ratio(ratios, field=f"{IMAGE}.aspectRatio")
    if tiers:
        size = sizes.tiers(size, tiers, field=f"{IMAGE}.imageSize")
        more = (_image_size(tiers), *more)
    return Table(
        (
            Param("prompt", convert=lambda text: {"contents": _user_turn(text)}),
            Param("size", convert=size),
            Param(
                "moderation", convert=_relax_safety, note="low: every category at BLOCK_ONLY_HIGH"
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
    """Say of each category by itself that less of it is to be moderated."""
    if level != "low":
        return {}
    named = (f"HARM_CATEGORY_{it}" for it in _HARMS)
    return {"safetySettings": [{"category": it, "threshold": "BLOCK_ONLY_HIGH"} for it in named]}


def _user_turn(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": [{"text": text}]}]


def parse_answer(reply: ProviderReply) -> Answer:
    """Read the pictures that are no mere thoughts; when there is none, say why."""
    tree = reply.json()
    if images := tuple(_parse_images(tree)):
        return Answer(images, usage=_parse_usage(tree))
    blocked = dig_str(tree, "promptFeedback", "blockReason")
    finish = dig_str(tree, "candidates", 0, "finishReason")
    said = (
        dig_str(tree, "promptFeedback", "blockReasonMessage")
        or dig_str(tree, "candidates", 0, "finishMessage")
        or " ".join(text for part in _parts(tree) if (text := dig_str(part, "text")))
    )
    why = ": ".join(filter(None, (blocked or finish, said)))
    if blocked or finish in _REFUSALS:
        raise errors.refusal(why, provider_status=reply.status)
    raise errors.no_image_error(reply.status, why)


def _parts(tree: Any) -> Iterator[Any]:
    for candidate in dig_list(tree, "candidates"):
        yield from dig_list(candidate, "content", "parts")


def _parse_images(tree: Any) -> Iterator[Image]:
    """Give the pictures; a model that thinks shows drafts too, each marked as a thought."""
    for part in _parts(tree):
        media_type = dig_str(part, "inlineData", "mimeType")
        b64 = dig_str(part, "inlineData", "data")
        if b64 and media_type.startswith("image/") and dig(part, "thought") is not True:
            yield Image(b64=b64, media_type=media_type)


def _parse_usage(tree: Any) -> dict[str, Any] | None:
    """Read the count of tokens; those of thoughts are counted and paid for as output."""
    told = dig_typed(tree, "usageMetadata", kind=dict)
    if not told:
        return None
    count = {name: dig_typed(told, f"{name}TokenCount", kind=int) or 0 for name in _COUNTED}
    made = count["candidates"] + count["thoughts"]
    given = {dig_str(it, "modality"): it for it in dig_list(told, "promptTokensDetails")}
    pictures = dig_typed(given.get("IMAGE"), "tokenCount", kind=int) or 0
    return {
        "input_tokens": count["prompt"],
        "output_tokens": made,
        "total_tokens": count["total"] or count["prompt"] + made,
        "input_tokens_details": {
            "text_tokens": count["prompt"] - pictures,
            "image_tokens": pictures,
        },
    }
