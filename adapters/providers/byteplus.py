"""BytePlus ModelArk (Volcengine Ark in China): Seedream, in OpenAI's format with its own sizes.

    POST {base}/images/generations      JSON -> JSON, or one event per finished image

The custom host for China is https://ark.cn-beijing.volces.com/api/v3

>>> from adapters.contract import ImageCall
>>> params = {"model": "seedream-4-5-251128", "prompt": "a cube", "size": "1024x1024"}
>>> made = ADAPTER.table_for("seedream-4-5-251128").translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'seedream-4-5-251128', 'prompt': 'a cube', 'size': '1920x1920', 'watermark': False}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import Any, ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.contract import Answer, ImageCall
from adapters.http import ProviderReply
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str

_UNSAFE = re.compile(r"SensitiveContent|RiskDetection|PolicyViolation")
_MAX_RATIO = 16


def _sizes(min_pixels: int, max_pixels: int, levels: str) -> tuple[Param, Param]:
    """Return the rows for a size: in pixels within the model's bounds, or a resolution tier."""
    bounds = sizes.pixels(
        low=isqrt(min_pixels // _MAX_RATIO),
        high=isqrt(max_pixels * _MAX_RATIO),
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        max_ratio=_MAX_RATIO,
        combined="size",
    )
    return (
        Param("size", convert=bounds, default="1024x1024", default_unless=("resolution",)),
        Param("resolution", "size", choices=tuple(levels.split()), note="instead of size"),
    )


_COMMON = (
    Param("prompt"),
    Param("response_format"),
    Param("watermark", kind=bool, default=False),
    Param("image", note="an input image, as a URL or a data: URL"),
    Param("optimize_prompt_options", kind=dict),
)
_UP_TO_10 = Param("images", "image", kind=list, low=1, high=10, note="several input images")
_UP_TO_14 = replace(_UP_TO_10, high=14)
_FORMAT = Param("output_format", choices=("png", "jpeg"))
_GROUPS = (
    Param("sequential_image_generation", choices=("auto", "disabled")),
    Param("sequential_image_generation_options", kind=dict),
    Param("stream", kind=bool),
)
_PRO = Table((*_COMMON, _UP_TO_10, _FORMAT, *_sizes(921_600, 4_624_220, "1K 1.5K 2K")))
_5_0 = Table(
    (
        *_COMMON,
        _UP_TO_14,
        _FORMAT,
        *_GROUPS,
        *_sizes(3_686_400, 16_777_216, "2K 3K 4K"),
        Param("tools", kind=list),
    )
)
_4_5 = Table((*_COMMON, _UP_TO_14, *_GROUPS, *_sizes(3_686_400, 16_777_216, "2K 4K")))
_4_0 = Table((*_COMMON, _UP_TO_14, *_GROUPS, *_sizes(921_600, 16_777_216, "1K 2K 4K")))
# An endpoint's id, ep-…, does not show the model: the parameters that all models have.
_ANY = Table((*_COMMON, _UP_TO_14, *_sizes(3_686_400, 4_624_220, "2K")))


def _named(version: str) -> tuple[str, ...]:
    return tuple(f"{maker}seedream-{version}" for maker in ("", "dola-", "doubao-"))


class BytePlus(OpenAICompatible):
    """Seedream on Ark, which adds a watermark unless the request says otherwise."""

    id = "byteplus"
    name = "BytePlus ModelArk"
    base_url = "https://ark.ap-southeast.bytepluses.com/api/v3"
    docs = "https://docs.byteplus.com/en/docs/ModelArk/1541523"
    tables_by_model = (
        ((*_named("5-0-pro"), *_named("5-0-flash")), _PRO),
        (_named("5-0"), _5_0),
        (_named("4-5"), _4_5),
        (_named("4-0"), _4_0),
        ("", _ANY),
    )
    models = (
        "seedream-5-0-lite-260128",
        "dola-seedream-5-0-pro-260628",
        "dola-seedream-5-0-flash-260915",
        "seedream-5-0-260128",
        "seedream-4-5-251128",
        "seedream-4-0-250828",
    )
    url_lifetime = 86_400
    status_by_code: ClassVar[Mapping[str, int]] = {
        "AuthenticationError": 401,
        **dict.fromkeys(("AccessDenied", "PermissionDenied", "InvalidAccountStatus"), 403),
        **dict.fromkeys(("UnsupportedModel", "InvalidEndpoint", "ModelNotOpen"), 404),
        "ServiceNotOpen": 404,
        **dict.fromkeys(("AccountOverdueError", "ServiceOverdue"), 402),
        **dict.fromkeys(("QuotaExceeded", "SetLimitExceeded"), 402),
        **dict.fromkeys(("RateLimitExceeded", "AccountRateLimitExceeded"), 429),
        **dict.fromkeys(("RequestBurstTooFast", "InflightBatchsizeExceeded"), 429),
        "ServerOverloaded": 429,
        "InternalServiceError": 502,
    }
    unconfirmed = (
        "the maximum number of pixels of 5.0 lite, 4.5 and 4.0, and the minimum of 4.0; streaming "
        "on 5.0 flash; the status of some error codes; Retry-After on a 429"
    )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images. If all failed, raises the error of the first."""
        entries = dig_list(reply.json(), "data")
        if entries and all(errors.says_something(dig(it, "error")) for it in entries):
            raise self.provider_error(ProviderReply(reply.status, tree=entries[0]))
        return super().parse_answer(call, reply)

    def parse_event(self, call: ImageCall, data: Any) -> Answer:
        """Parse an event; the failure of one image of a group does not fail the others."""
        grouped = call.fields.get("sequential_image_generation") == "auto"
        if grouped and dig_str(data, "type") == "image_generation.partial_failed":
            return Answer(())
        return super().parse_event(call, data)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Recognise a refusal by a word anywhere in its code."""
        if _UNSAFE.search(dig_str(reply.json(), "error", "code")):
            return self.refusal(reply)
        return super().provider_error(reply)


ADAPTER = BytePlus()
