"""AI/ML API: models of many vendors behind one endpoint; each family has its own parameters.

    POST {base}/images/generations      JSON -> JSON, 201 as well as 200

>>> from adapters.contract import ImageCall
>>> params = {"model": "flux/dev", "prompt": "a cube", "size": "1792x1024", "n": 2}
>>> made = ADAPTER.table_for("flux/dev").translate(params, n=2)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'flux/dev', 'prompt': 'a cube', 'image_size': {'width': 1536, 'height': 864}, \
'num_images': 2}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.bases.openai_passthrough import MODERATION_CODES
from adapters.http import ProviderReply
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list

_RATIOS = ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")
_FORBIDDEN, _NO_CREDIT = 403, 402
_PAY = re.compile(r"credit|balance|funds", re.IGNORECASE)
_OPENAI_SIZES = ("1024x1024", "1024x1536", "1536x1024")
_QUALITIES = {it: it for it in ("low", "medium", "high")} | {"standard": "medium"}
_QUALITIES |= dict.fromkeys(("hd", "xhigh", "max"), "high")
_NAMED_SIZES = "square_hd square portrait_4_3 portrait_16_9 landscape_4_3 landscape_16_9"


def _sides(
    low: int, high: int, *names: str, step: int = 32, most: int | None = None
) -> tuple[Param, Param]:
    """Return the rows for a size: width and height in an object, or a named size."""
    width, height = "image_size.width", "image_size.height"
    bounds = sizes.pixels(
        low=low, high=high, step=step, max_pixels=most, width=width, height=height
    )
    return (
        Param("size", convert=bounds, default="1024x1024", default_unless=("image_size",)),
        Param("image_size", choices=names or tuple(_NAMED_SIZES.split()), note="instead of size"),
    )


_N = Param("n", "num_images", high=4)
_PROMPT, _SEED = Param("prompt", high=4000), Param("seed", kind=int, low=1)
_CHECKER = Param("enable_safety_checker", kind=bool)
_FORMAT = Param("output_format", choices=("jpeg", "png"))
_STEPS = Param("num_inference_steps", kind=int, low=1, high=50)
_GUIDANCE = Param("guidance_scale", kind=float, low=1, high=20)
_SAFETY = (
    Param("moderation", "safety_tolerance", convert={"low": "6"}),
    Param("safety_tolerance", choices=("1", "2", "3", "4", "5", "6")),
)
_URL_OR_TEXT = Param("response_format")

_OPENAI = Table(
    (
        Param("prompt"),
        Param("size", convert=sizes.nearest_size(_OPENAI_SIZES)),
        Param("quality", convert=_QUALITIES),
        Param("output_format", choices=("png", "jpeg", "webp")),
        Param("background"),
        Param("moderation"),
        Param("output_compression", kind=int),
        _URL_OR_TEXT,
    )
)
_FLUX = (_PROMPT, _SEED, _N, _CHECKER)
_ULTRA = Table(
    (
        *_FLUX,
        *_SAFETY,
        _FORMAT,
        Param(
            "size",
            convert=sizes.ratio(_RATIOS),
            default="1024x1024",
            default_unless=("aspect_ratio",),
        ),
        Param("aspect_ratio", choices=_RATIOS),
    )
)
_KONTEXT = Table((*_ULTRA.rows, _GUIDANCE, Param("image_url", note="an input image")))
_PRO_1_1 = Table((*_FLUX, *_SAFETY, _FORMAT, *_sides(256, 1440)))
_PRO = Table((*_PRO_1_1.rows, _STEPS, _GUIDANCE))
_FEW_STEPS = Param("num_inference_steps", kind=int, low=1, high=12)
_SCHNELL = Table((*_FLUX, _FEW_STEPS, *_sides(64, 1536)))
_DEV = Table((*_FLUX, _STEPS, _GUIDANCE, *_sides(512, 1536)))
_IMAGE_TO_IMAGE = Table(
    (*_FLUX, _STEPS, _GUIDANCE, Param("image_url"), Param("strength", kind=float))
)
_FLUX_2 = Table(
    (
        _PROMPT,
        _SEED,
        _CHECKER,
        *_SAFETY,
        Param("output_format", choices=("jpeg", "png", "webp")),
        *_sides(512, 2048),
    )
)
_SEEDREAM = (
    Param("prompt"),
    _URL_OR_TEXT,
    Param("seed", kind=int),
    Param("watermark", kind=bool),
)
_SEEDREAM_3 = Table(
    (
        *_SEEDREAM,
        Param("size", convert=sizes.pixels(low=512, high=2048, combined="size")),
        Param("guidance_scale", kind=float, low=1, high=10),
    )
)


def _image_urls(maximum: int) -> Param:
    return Param("image_urls", kind=list, low=1, high=maximum, note="input images")


_SEEDREAM_5 = Table(
    (
        *(*_SEEDREAM, _image_urls(14)),
        *_sides(1024, 2752, "1.5K", "2K", step=1, most=4_624_220),
    )
)
_SEEDREAM_4_5 = Table((*_SEEDREAM, _image_urls(14), *_sides(1440, 4096, "2K", "4K", step=1)))
_ALIBABA = (
    Param("negative_prompt", high=500),
    Param("seed", kind=int, low=0, high=2_147_483_647),
)
_QWEN_3 = Table(
    (
        *(Param("prompt", high=800), *_ALIBABA, _N, _CHECKER, *_sides(384, 2048)),
        Param("output_format", choices=("jpeg", "png", "webp")),
        Param("enable_prompt_expansion", kind=bool),
    )
)
_QWEN_2_AND_WAN = Table(
    (
        *(Param("prompt", high=2000), *_ALIBABA, _image_urls(3), *_sides(512, 1440)),
        Param("enhance_prompt", kind=bool),
        Param("watermark", kind=bool),
    )
)
_NANO_RATIOS = ("1:1", "9:16", "16:9", "3:4", "4:3")
_TIERS = {"1K": 1024, "2K": 2048, "4K": 4096}
_NANO_BANANA = Table(
    (
        Param("prompt"),
        Param("size", convert=sizes.tiers(sizes.ratio(_NANO_RATIOS), _TIERS)),
        # AI/ML API's own default is 16:9.
        Param(
            "aspect_ratio",
            choices=_NANO_RATIOS,
            default="1:1",
            default_unless=("size", "image_urls"),
        ),
        Param("resolution", choices=tuple(_TIERS)),
        Param("image_urls", kind=list, high=5, note="input images"),
        Param("enable_web_search", kind=bool),
    )
)
_RECRAFT = Table(
    (
        *(_PROMPT, *_sides(64, 1536)),
        Param("style_preset", "style", note="e.g. realistic_image; vector_illustration gives SVG"),
        Param("colors", kind=list),
    )
)
_MINIMAX = Table(
    (
        Param("prompt", high=1500),
        Param("n", high=9),
        Param("size", convert=sizes.ratio(_RATIOS[:-1])),
        Param("aspect_ratio", choices=_RATIOS[:-1]),
        Param("prompt_optimizer", kind=bool),
        Param("subject_reference", kind=list),
    )
)


class AIMLAPI(OpenAICompatible):
    """AI/ML API. For a model of an unknown family only the prompt is sent."""

    id = "aimlapi"
    name = "AI/ML API"
    base_url = "https://api.aimlapi.com/v1"
    docs = "https://docs.aimlapi.com/api-references/image-models"
    tables_by_model = (
        ("openai/", _OPENAI),
        ("flux-pro/v1.1-ultra", _ULTRA),
        ("flux-pro/v1.1", _PRO_1_1),
        ("flux-pro", _PRO),
        ("flux/kontext", _KONTEXT),
        ("flux/schnell", _SCHNELL),
        ("flux/dev/image-to-image", _IMAGE_TO_IMAGE),
        ("flux/", _DEV),
        ("blackforestlabs/flux-2", _FLUX_2),
        ("minimax/image-01", _MINIMAX),
        ("bytedance/seedream-3.0", _SEEDREAM_3),
        (("bytedance/dola-seedream-5-0-pro", "bytedance/seedream-5-0-pro"), _SEEDREAM_5),
        (("bytedance/seedream-4-5", "bytedance/seedream-5-0-lite"), _SEEDREAM_4_5),
        ("alibaba/qwen-image-3", _QWEN_3),
        (("alibaba/qwen-image-2-0", "alibaba/wan-2-7-", "alibaba/wan2.7-"), _QWEN_2_AND_WAN),
        ("google/gemini-nano-banana-2.1", _NANO_BANANA),
        ("recraft-v3", _RECRAFT),
        ("", Table((Param("prompt"),))),
    )
    models = (
        "openai/gpt-image-2",
        "blackforestlabs/flux-2-pro",
        "bytedance/dola-seedream-5-0-pro",
        "flux-pro/v1.1",
        "flux-pro/v1.1-ultra",
        "flux/dev",
        "flux/schnell",
        "flux/kontext-pro/text-to-image",
        "flux/kontext-max/text-to-image",
        "minimax/image-01",
        "bytedance/seedream-3.0",
        "bytedance/seedream-4-5",
        "bytedance/seedream-5-0-lite-preview",
        "alibaba/qwen-image-3",
        "alibaba/qwen-image-2-0",
        "alibaba/wan-2-7-image-pro",
        "google/gemini-nano-banana-2.1",
        "recraft-v3",
    )
    url_lifetime = 600
    other_images_paths = (("images",), ("output", "choices"))
    confidence = "medium"
    status_by_code: ClassVar[Mapping[str, int]] = dict.fromkeys(MODERATION_CODES, errors.REFUSED)
    refusal_pattern = re.compile(r"moderation|content policy|safety system|nsfw", re.IGNORECASE)
    unconfirmed = (
        "parameters of minimax/image-01; vector images of recraft-v3; the format of errors and "
        "refusals; how long URLs last"
    )

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message; if several fields are invalid, it is a list."""
        messages = [it for it in dig_list(reply.json(), "message") if isinstance(it, str)]
        return "; ".join(messages) or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Recognise an empty account, which gets a 403, by the message."""
        message = self.error_message(reply)
        if reply.status == _FORBIDDEN and _PAY.search(message):
            return errors.error_from_reply(reply, message=message, status=_NO_CREDIT)
        return super().provider_error(reply)


ADAPTER = AIMLAPI()
