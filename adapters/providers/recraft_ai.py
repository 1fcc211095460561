"""Recraft: OpenAI's endpoint; sizes by family, raster or vector images (SVG) by model.

    POST {base}/images/generations      {"model", "prompt", "size", …} -> {"data": […], "credits"}

Recraft refuses sizes that a model does not have, so the nearest of the family's list is sent.
Models with the suffix `_vector` generate SVG and support ratios only.

>>> from adapters.contract import ImageCall
>>> params = {"model": "recraftv4_1", "prompt": "a cube", "size": "1536x1024", "style": "vivid"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'recraftv4_1', 'prompt': 'a cube', 'size': '1280x832'}
"""

from __future__ import annotations

from typing import ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.table.param import Param, format_or_png
from adapters.table.table import Table
from adapters.tools import sizes

# https://www.recraft.ai/docs/api-reference/appendix
_V4_SIZES = (
    "1024x1024 1536x768 768x1536 1280x832 832x1280 1216x896 896x1216 1152x896 896x1152 "
    "832x1344 1280x896 896x1280 1344x768 768x1344"
)
_PRO_SIZES = (
    "2048x2048 3072x1536 1536x3072 2560x1664 1664x2560 2432x1792 1792x2432 2304x1792 1792x2304 "
    "1664x2688 2560x1792 1792x2560 2688x1536 1536x2688"
)
_V3_SIZES = (
    "1024x1024 2048x1024 1024x2048 1536x1024 1024x1536 1365x1024 1024x1365 1280x1024 1024x1280 "
    "1024x1707 1707x1024 1434x1024 1024x1434 1820x1024 1024x1820"
)
_RATIOS = "1:1 2:1 1:2 3:2 2:3 4:3 3:4 5:4 4:5 6:10 14:10 10:14 16:9 9:16"
_SEED = 2**32 - 1

_COMMON = (
    Param("n", high=6),
    Param("response_format", choices=("url", "b64_json")),
    Param("moderation", "block_nsfw", convert={"auto": True, "low": False}),
    Param("block_nsfw", kind=bool),
    Param("seed", "random_seed", kind=int, low=0, high=_SEED),
    Param("random_seed", kind=int, low=0, high=_SEED),
    Param("style_id", note="a UUID"),
    Param("style_match", choices=("regular", "precise", "flexible")),
    Param("style_reference_urls", kind=list),
    Param("creativity", choices=("simple", "standard", "eccentric")),
    Param("upscale", choices=("upscale4mp", "upscale16mp")),
    Param("controls", kind=dict, note="artistic_level, colors, background_color, no_text"),
    Param("expire", kind=bool),
    Param("calculate_features", kind=bool),
)
_LONG, _SHORT = Param("prompt", high=10_000), Param("prompt", high=1000)
_ANY_RATIO = r"\d{1,2}:\d{1,2}"
_RATIO = Param("size", convert=sizes.ratio(_RATIOS.split(), field="size"), own=_ANY_RATIO)


_FORMAT = Param(
    "output_format",
    "image_format",
    convert=format_or_png("image_format", png="png", webp="webp"),
    note="png or webp; other formats become png",
)
_SVG = Param("output_format", choices=("svg",), implied=("svg",), note="always svg")


def _vector(*rows: Param) -> Table:
    """Return the table of a vector model: ratios only, and always SVG."""
    return Table((*rows, *_COMMON, _RATIO, _SVG))


def _raster(listed: str, *rows: Param) -> Table:
    """Return the table of a raster model with a list of sizes."""
    size = Param("size", convert=sizes.nearest_size(listed.split()), own=_ANY_RATIO)
    return Table((*rows, *_COMMON, size, _FORMAT))


def _style(*names: str) -> Param:
    """Return the row of a style of V2 and V3; `style` itself has OpenAI's values."""
    styles = ("any", "realistic_image", "digital_illustration", "vector_illustration", *names)
    return Param("style_preset", "style", choices=styles)


_EARLY = (_SHORT, Param("negative_prompt"), Param("substyle"))
_V2 = (*_EARLY, _style("icon"))
_V3 = (*_EARLY, _style("logo_raster"), Param("text_layout", kind=list))

_V4_NAMES = (
    *("recraftv4", "recraftv4_1", "recraftv4_1_flash", "recraftv4_1_utility"),
    "recraftv4_styles",
)
_FAMILIES = (
    (tuple(f"{name}{pro}_vector" for name in _V4_NAMES for pro in ("", "_pro")), _vector(_LONG)),
    (tuple(f"{name}_pro" for name in _V4_NAMES), _raster(_PRO_SIZES, _LONG)),
    ("recraftv4", _raster(_V4_SIZES, _LONG)),
    ("recraftv3_vector", _vector(*_V3)),
    ("recraftv3", _raster(_V3_SIZES, *_V3)),
    ("recraftv2_vector", _vector(*_V2)),
    ("recraftv2", _raster(_V3_SIZES, *_V2)),
    ("", Table((Param("prompt"), *_COMMON, _RATIO, _FORMAT))),
)


class Recraft(OpenAICompatible):
    """Recraft's own models, and those it hosts."""

    id = "recraft-ai"
    name = "Recraft"
    base_url = "https://external.api.recraft.ai/v1"
    docs = "https://www.recraft.ai/docs/api-reference/agents"
    tables_by_model = _FAMILIES
    models = (
        "recraftv4_1",
        "recraftv4_1_flash",
        "recraftv4_1_pro",
        "recraftv4_1_vector",
        "recraftv4_1_pro_vector",
        "recraftv4_1_utility",
        "recraftv4_styles",
        "recraftv4",
        "recraftv4_pro",
        "recraftv3",
        "recraftv3_vector",
        "recraftv2",
        "recraftv2_vector",
    )
    url_lifetime = 24 * 3600
    status_by_code: ClassVar[dict[str, int]] = {"invalid_model": 404, "not_enough_credits": 402}
    status_by_phrase: ClassVar[dict[str, int]] = {"credits": 402, "balance": 402}
    refusal_pattern = errors.REFUSAL_WORDS
    extra_fields = frozenset({"revised_prompt", "image_id", "features"})
    unconfirmed = (
        "the hosted models that a key may use; the format of errors and the wording of refusals; "
        "the error of an empty account; which models support creativity, upscale and style_match; "
        "Retry-After on a 429"
    )


ADAPTER = Recraft()
