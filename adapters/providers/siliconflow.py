"""SiliconFlow: `image_size` for sizes, several images from Kolors only, URLs for an hour.

    POST {base}/images/generations      JSON -> JSON

The international custom host has its own keys and models:
https://api.siliconflow.com/v1

>>> from adapters.contract import ImageCall
>>> params = {"model": "Qwen/Qwen-Image", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for("Qwen/Qwen-Image").translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'Qwen/Qwen-Image', 'prompt': 'a cube', 'image_size': '1584x1056'}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.contract import Answer, ImageCall
from adapters.http import ProviderReply
from adapters.table.param import Conversion, Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_typed, without_none

_KOLORS_SIZES = "1024x1024 960x1280 768x1024 720x1440 720x1280"
_QWEN_SIZES = "1328x1328 1664x928 928x1664 1472x1140 1140x1472 1584x1056 1056x1584"
_FOR_LEGAL_REASONS = 451

_COMMON = (
    Param("prompt"),
    Param("negative_prompt"),
    Param("num_inference_steps", kind=int, low=1, high=100),
    Param("seed", kind=int, low=0, high=9_999_999_999),
)
_INPUT_IMAGES = (Param("image", note="an input image"), Param("image2"), Param("image3"))


def _size(convert: Conversion) -> tuple[Param, Param]:
    """Return the rows for a size, which is required."""
    return (
        Param("size", convert=convert, default="1024x1024", default_unless=("image_size",)),
        Param(
            "image_size", pattern=r"[0-9]{2,5}x[0-9]{2,5}", note="instead of size, sent unchanged"
        ),
    )


_KOLORS = Table(
    (
        *_COMMON,
        *_size(sizes.nearest_size(_KOLORS_SIZES.split(), field="image_size")),
        Param("n", "batch_size", high=4, default=1),
        Param("guidance_scale", kind=float, low=0, high=20),
        Param("image", note="an input image"),
    )
)
_CFG = Param("cfg", kind=float, low=0.1, high=20)
_QWEN = Table((*_COMMON, *_size(sizes.nearest_size(_QWEN_SIZES.split(), field="image_size")), _CFG))
_EDIT = Table((*_COMMON, *_INPUT_IMAGES, _CFG))
_OTHERS = Table(
    (
        *_COMMON,
        *_size(sizes.pixels(low=1, high=99_999, combined="image_size")),
        Param("prompt_enhancement", kind=bool),
        *_INPUT_IMAGES,
    )
)


class SiliconFlow(OpenAICompatible):
    """SiliconFlow's image API. It ignores unknown parameters, so they are not sent."""

    id = "siliconflow"
    name = "SiliconFlow"
    base_url = "https://api.siliconflow.cn/v1"
    docs = "https://docs.siliconflow.cn/cn/api-reference/images/images-generations"
    tables_by_model = (
        ("Kwai-Kolors/", _KOLORS),
        ("Qwen/Qwen-Image-Edit", _EDIT),
        ("Qwen/", _QWEN),
        ("", _OTHERS),
    )
    models = (
        "Kwai-Kolors/Kolors",
        "Qwen/Qwen-Image",
        "Qwen/Qwen-Image-Edit-2509",
        "Qwen/Qwen-Image-Edit",
        "black-forest-labs/FLUX.1-schnell",
    )
    url_lifetime = 3600
    images_path = ("images",)
    other_images_paths = (("data",),)
    confidence = "medium"
    # Sent with a 400 and the code of an invalid parameter.
    status_by_phrase: ClassVar[Mapping[str, int]] = {"model does not exist": 404}
    refusal_pattern = re.compile(r"sensitive|content policy|moderation", re.IGNORECASE)
    unconfirmed = (
        "sizes of FLUX models; the format of errors; whether a refusal is a status 451 or only a "
        "message; the error of an empty account; the models of the international host"
    )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images; the seed is beside their list."""
        seed = dig_typed(reply.json(), "seed", kind=int)
        return replace(super().parse_answer(call, reply), extra=without_none(seed=seed))

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Recognise a refusal by its status, too."""
        if reply.status == _FOR_LEGAL_REASONS:
            return self.refusal(reply)
        return super().provider_error(reply)


ADAPTER = SiliconFlow()
