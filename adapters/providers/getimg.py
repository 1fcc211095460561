"""getimg.ai: one path for each pipeline, JSON request and response.

    POST {base}/{pipeline}/text-to-image      -> {"image" or "url", "seed", "cost"}

The client's model is a pipeline, or `pipeline/model` if the pipeline has several models.

>>> from adapters.contract import ImageCall
>>> params = {"model": "stable-diffusion-xl/realvis-xl-v4", "prompt": "a cube", "size": "1792x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = ADAPTER.build_request(ImageCall(params, made.fields))
>>> request.path, request.json
('/stable-diffusion-xl/text-to-image', \
{'model': 'realvis-xl-v4', 'prompt': 'a cube', 'width': 1536, 'height': 896})
"""

from __future__ import annotations

import re

from adapters import errors
from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, format_or_png
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_str, dig_typed, without_none
from adapters.tools.url_paths import quote_model

_RATIOS = ("1:1", "4:5", "5:4", "2:3", "3:2", "4:7", "7:4")
_COMMON = (
    Param("prompt", high=2048),
    Param(
        "output_format",
        convert=format_or_png("output_format", jpeg="jpeg", png="png"),
        note="jpeg or png; other formats become png",
    ),
    Param("response_format", convert={"url": "url", "b64_json": "b64"}),
    Param("seed", kind=int, low=0),
)
_STEPS = Param("steps", kind=int, low=1)
_STYLE = Param("style_preset", "style")
_DIFFUSION = (
    *_COMMON,
    _STEPS,
    Param("negative_prompt"),
    Param("guidance", kind=float, low=0),
    Param("scheduler"),
)


def _size(high: int, step: int = 64) -> Param:
    return Param("size", convert=sizes.pixels(low=256, high=high, step=step))


_ESSENTIAL_V2 = Table(
    (
        *_COMMON,
        Param("size", convert=sizes.ratio(_RATIOS)),
        Param("aspect_ratio", choices=_RATIOS),
        _STYLE,
    )
)
_FAMILIES = (
    ("flux-schnell", Table((*_COMMON, _size(1280, 16), _STEPS))),
    ("essential-v2", _ESSENTIAL_V2),
    ("essential", Table((*_COMMON, _size(1024), _STYLE, Param("negative_prompt")))),
    ("stable-diffusion-xl", Table((*_DIFFUSION, _size(1536)))),
    ("", Table((*_DIFFUSION, _size(1024)))),
)


class GetImg(Adapter):
    """getimg.ai's API, version 1."""

    id = "getimg"
    name = "getimg.ai"
    base_url = "https://api.getimg.ai/v1"
    docs = "https://docs.getimg.ai/reference"
    tables_by_model = _FAMILIES
    models = (
        "flux-schnell",
        "essential-v2",
        "stable-diffusion-xl/realvis-xl-v4",
        "stable-diffusion-xl/stable-diffusion-xl-v1-0",
        "stable-diffusion",
        "latent-consistency",
        "essential",
    )
    url_lifetime = 3600
    status_by_code = {"quota_exceeded": 402}
    refusal_pattern = re.compile(r"nsfw|safety|moderat", re.IGNORECASE)
    confidence = "low"
    experimental = True
    unconfirmed = (
        "whether a newer API has replaced this one; the maximum prompt length, the steps of sizes, "
        "the ratios of essential-v2; the format of errors and refusals; how long URLs last"
    )

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request to the pipeline, with the model in it if the client names one."""
        pipeline, _, model = call.model.partition("/")
        path = f"/{quote_model(pipeline, example=self.models[0])}/text-to-image"
        body = {"model": model} if model else {}
        return ProviderRequest(path, json={**body, **call.fields})

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the image, which is base64 or a URL."""
        del call
        tree = reply.json()
        extra = without_none(seed=dig_typed(tree, "seed", kind=int))
        if b64 := dig_str(tree, "image"):
            return Answer((Image(b64=b64, extra=extra),))
        if url := dig_str(tree, "url"):
            return Answer((Image.from_url(url, **extra),))
        raise errors.no_image_error(reply.status)


ADAPTER = GetImg()
