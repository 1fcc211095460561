"""MiniMax: image-01 with MiniMax's own parameters and failures in a 200; H3 close to OpenAI's.

    POST {base}/image_generation        image-01: JSON -> JSON with `base_resp`
    POST {base}/images/generations      MiniMax-H3-Image: JSON -> JSON, or one event per image

The custom host for mainland China, with its own keys, is https://api.minimaxi.com/v1

>>> from adapters.contract import ImageCall
>>> params = {"model": "image-01", "prompt": "a cube", "size": "1600x1024", "n": 2}
>>> made = ADAPTER.table_for("image-01").translate(params, n=2)
>>> sent = ADAPTER.build_request(ImageCall(params, made.fields))
>>> sent.path, sent.json
('/image_generation', \
{'model': 'image-01', 'prompt': 'a cube', 'width': 1600, 'height': 1024, 'n': 2})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.contract import Answer, Image, ImageCall
from adapters.http import ProviderReply
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list

_RATIOS = ("1:1", "16:9", "4:3", "3:2", "2:3", "3:4", "9:16")

_OLD = (
    Param("prompt", high=1500),
    Param("n", high=9),
    Param("response_format", convert={"url": "url", "b64_json": "base64"}),
    Param("seed", kind=int),
    Param("prompt_optimizer", kind=bool),
    Param("aigc_watermark", kind=bool, note="in mainland China only"),
    Param("subject_reference", kind=list, low=1, high=1, note="a face to preserve"),
)
_OPENAIS_SIZES = ((1024, 1024), (1536, 1024), (1024, 1536), (1792, 1024), (1024, 1792))
_WIDE, _TALL = ((1280, 720), (1152, 864), (1248, 832), (1344, 576)), ((720, 1280), (864, 1152))
_LISTED = frozenset((*_OPENAIS_SIZES, *_WIDE, *_TALL, (832, 1248)))
"""OpenAI's sizes, and those that the ratios produce: image-01 draws ratios best."""
_PIXELS, _RATIO = sizes.pixels(low=512, high=2048, step=8), sizes.ratio((*_RATIOS, "21:9"))


def _ratio_or_pixels(width: int, height: int) -> dict[str, Any]:
    return (_RATIO if (width, height) in _LISTED else _PIXELS).convert(width, height)


_IMAGE_01 = Table(
    (
        *_OLD,
        Param(
            "size",
            convert=sizes.Converter(
                f"the ratio of OpenAI's sizes and MiniMax's own; else {_PIXELS.description}",
                _ratio_or_pixels,
            ),
        ),
        Param("aspect_ratio", choices=(*_RATIOS, "21:9"), note="takes precedence over size"),
    )
)
_LIVE = Table(
    (
        *_OLD,
        Param("size", convert=sizes.ratio(_RATIOS)),
        Param("aspect_ratio", choices=_RATIOS),
        Param("style_preset", "style", kind=dict, note="style_type and style_weight"),
    )
)
_H3_SIZE = sizes.pixels(
    low=468, high=7745, min_pixels=655_360, max_pixels=20_000_000, max_ratio=3, combined="size"
)
_H3 = Table(
    (
        Param("prompt"),
        Param("n", high=10),
        Param(
            "size", convert=_H3_SIZE, default="1024x1024", default_unless=("aspect_ratio", "area")
        ),
        Param("aspect_ratio", pattern=r"auto|[0-9]{1,4}:[0-9]{1,4}", note="not with size"),
        Param("area", choices=("1K", "2K", "4K"), note="not with size; 1K by default with a ratio"),
        Param("response_format"),
        Param("output_format", choices=("png", "jpeg", "webp"), own="jpg"),
        Param("output_compression", kind=int),
        Param("disable_prompt_enhanced", kind=bool),
        Param("images", kind=list, low=1, high=16, note="input images"),
        Param("stream", kind=bool),
    )
)
_NATIVE = (_IMAGE_01, _LIVE)
_AREAS = frozenset({"size", "area"})
"""The fields that set the size of an H3 image."""


class MiniMax(OpenAICompatible):
    """MiniMax's two model families; an unknown model is treated as one of the newer family."""

    id = "minimax"
    name = "MiniMax"
    base_url = "https://api.minimax.io/v1"
    docs = "https://platform.minimax.io/docs/api-reference/image-generation-t2i"
    tables_by_model = (("image-01-live", _LIVE), ("image-01", _IMAGE_01), ("", _H3))
    models = ("MiniMax-H3-Image", "MiniMax-H3-Image-Highspeed", "image-01", "image-01-live")
    url_lifetime = 86_400
    confidence = "medium"
    # https://platform.minimax.io/docs/api-reference/errorcode
    status_by_code: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(("1002", "1039", "1041", "2045"), 429),
        **dict.fromkeys(("1004", "2049"), 401),
        **dict.fromkeys(("1008", "2056"), 402),
        **dict.fromkeys(("1026", "1027"), errors.REFUSED),
        **dict.fromkeys(("1042", "2013"), 400),
        **dict.fromkeys(("1000", "1013", "1024", "1033"), 502),
        "1001": 504,
        "2061": 403,
    }
    refusal_pattern = re.compile(r"sensitive|" + errors.REFUSAL_WORDS.pattern, re.IGNORECASE)
    unconfirmed = (
        "image-01-live without an input image on the global host; the format of H3's errors, "
        "refusals and usage, and the names of its events; the name output_compression"
    )

    def request_path(self, call: ImageCall) -> str:
        """Return the URL path of the family."""
        return "/image_generation" if self._is_native(call) else "/images/generations"

    def build_body(self, call: ImageCall) -> dict[str, Any]:
        """Return the body.

        A stream requires URLs. With a ratio alone, MiniMax would generate and bill 4K.
        """
        body = super().build_body(call)
        if "aspect_ratio" in body and not self._is_native(call) and not body.keys() & _AREAS:
            body["area"] = "1K"
        return {**body, "response_format": "url"} if body.get("stream") else body

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images; unsafe ones may be missing. Raises `Refusal` if all are."""
        if not self._is_native(call):
            return super().parse_answer(call, reply)
        tree = reply.json()
        if dig(tree, "base_resp", "status_code"):
            raise self.provider_error(reply)
        urls = (Image.from_url(it) for it in dig_list(tree, "data", "image_urls") if _is_str(it))
        texts = (Image(b64=it) for it in dig_list(tree, "data", "image_base64") if _is_str(it))
        if images := (*urls, *texts):
            return Answer(images)
        if _blocked(tree):
            raise errors.refusal("no image passed the content check")
        raise errors.no_image_error(reply.status)

    def _is_native(self, call: ImageCall) -> bool:
        return self.table_for(call.model) in _NATIVE


def _is_str(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _blocked(tree: Any) -> bool:
    """Whether images were withheld. The count is documented as a number but sent as a string."""
    count = str(dig(tree, "metadata", "failed_count"))
    return count.isdecimal() and count.strip("0") != ""


ADAPTER = MiniMax()
