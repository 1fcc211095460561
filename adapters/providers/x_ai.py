"""xAI: OpenAI's endpoint, with a ratio and a tier for the size; refusals are a 200.

    POST {base}/images/generations      {"model", "prompt", "aspect_ratio", "resolution", …}
                                        -> {"data": […], "block_reason", "usage"}

xAI ignores `size` and `style`. A blocked prompt has a `block_reason`; the entry of a withheld image
has no image and `respect_moderation` false.

>>> from adapters.contract import ImageCall
>>> params = {"model": "grok-imagine-image-2.0", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'grok-imagine-image-2.0', 'prompt': 'a cube', 'aspect_ratio': '3:2', 'resolution': '1k'}
"""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.contract import Answer, ImageCall
from adapters.http import ProviderReply
from adapters.table.param import Approximation, Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed

_RATIOS = (
    *("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2"),
    *("9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1"),
)
_TIERS = {"1k": 1024, "2k": 2048}


def _quality(name: str) -> dict[str, Any]:
    """Return one of the two qualities that have a price; above medium, medium."""
    if name == "auto":
        return {}
    same = {"low": "low", "medium": "medium", "standard": "medium"}
    return {"quality": same[name]} if name in same else Approximation(quality="medium")


_TABLE = Table(
    (
        Param("prompt"),
        Param("n", high=10),
        Param("size", convert=sizes.tiers(sizes.ratio(_RATIOS), _TIERS)),
        Param("aspect_ratio", choices=(*_RATIOS, "auto")),
        Param("resolution", choices=tuple(_TIERS)),
        Param("response_format", choices=("url", "b64_json")),
        Param("user"),
        Param("storage_options", kind=dict, note="stores the image in xAI's Files API"),
    )
)
_FAMILIES = (
    ("grok-imagine-image-2.0", Table((*_TABLE.rows, Param("quality", convert=_quality)))),
    ("", _TABLE),
)

_TICKS = 10_000_000_000
"""Number of `cost_in_usd_ticks` in a dollar."""
_WRONG_KEY = re.compile(r"\bAPI key\b", re.IGNORECASE)


class XAI(OpenAICompatible):
    """The Grok Imagine models of xAI."""

    id = "x-ai"
    otel_provider_name = "x_ai"
    name = "xAI"
    base_url = "https://api.x.ai/v1"
    docs = "https://docs.x.ai/developers/model-capabilities/images/generation"
    tables_by_model = _FAMILIES
    models = (
        "grok-imagine-image-2.0",
        "grok-imagine-image",
        "grok-imagine-image-2026-03-02",
    )
    url_lifetime = 600
    confidence = "medium"
    refusal_pattern = errors.REFUSAL_WORDS
    # xAI no longer sets `revised_prompt`, and images have no seed.
    extra_fields = frozenset()
    unconfirmed = (
        "quality `high` (sent as medium); storage_options; how long URLs last; the format of "
        "errors by status; Retry-After on a 429"
    )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images that were not withheld, and the cost, which is in ticks."""
        tree = reply.json()
        entries = dig_list(tree, "data")
        if not any(dig_str(it, "url") or dig_str(it, "b64_json") for it in entries):
            is_withheld = any(dig(it, "respect_moderation") is False for it in entries)
            default = "the image was withheld by moderation" if is_withheld else ""
            if reason := dig_str(tree, "block_reason") or default:
                raise errors.refusal(reason, provider_status=reply.status)
        answer = super().parse_answer(call, reply)
        ticks = dig_typed(answer.usage, "cost_in_usd_ticks", kind=int)
        if answer.usage is None or ticks is None:
            return answer
        return replace(answer, usage={**answer.usage, "cost": ticks / _TICKS})

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return a 401 for a wrong key, which is a bad request at xAI."""
        if reply.status == HTTPStatus.BAD_REQUEST and _WRONG_KEY.search(self.error_message(reply)):
            return errors.error_from_reply(reply, status=HTTPStatus.UNAUTHORIZED)
        return super().provider_error(reply)


ADAPTER = XAI()
