"""Together AI: OpenAI's endpoint, with sizes by family and its own `response_format`.

    POST {base}/images/generations      {"model", "prompt", "width", "height", …} -> {"data": […]}

Together ignores `size`. FLUX.1 schnell and Kontext take `aspect_ratio`, all others `width` and
`height`. Base64 is requested as `base64` and returned as `b64_json`.

>>> from adapters.contract import ImageCall
>>> params = {"model": "black-forest-labs/FLUX.2-pro", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'black-forest-labs/FLUX.2-pro', 'prompt': 'a cube', 'width': 1536, 'height': 1024}
"""

from __future__ import annotations

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

_RATIOS = ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16")
_COMMON = (
    Param("prompt"),
    Param("n", high=4),
    Param("response_format", convert={"url": "url", "b64_json": "base64"}),
    Param("output_format", choices=("jpeg", "png")),
    Param("seed", kind=int),
    Param("negative_prompt"),
    Param("guidance_scale", kind=float),
    Param("image_loras", kind=list, note="objects with `path` and `scale`"),
    Param("disable_safety_checker", kind=bool, note="not on FLUX.1-schnell-Free and pro models"),
)
_BY_RATIO = (
    *_COMMON,
    Param("size", convert=sizes.ratio(_RATIOS)),
    Param("aspect_ratio", pattern=r"[1-9]\d?:[1-9]\d?"),
)
_BY_PIXELS = (*_COMMON, Param("size", convert=sizes.pixels(low=8, high=99_999, step=8)))


def _steps(maximum: int) -> Param:
    return Param("steps", kind=int, low=1, high=maximum)


_FAMILIES = (
    ("black-forest-labs/FLUX.1-schnell-Free", Table((*_BY_RATIO, _steps(4)))),
    ("black-forest-labs/FLUX.1-schnell", Table((*_BY_RATIO, _steps(50)))),
    (
        "black-forest-labs/FLUX.1-kontext",
        Table((*_BY_RATIO, _steps(50), Param("image_url"))),
    ),
    ("", Table((*_BY_PIXELS, _steps(50), Param("reference_images", kind=list)))),
)


class TogetherAI(OpenAICompatible):
    """Image models on Together AI."""

    id = "together-ai"
    name = "Together AI"
    base_url = "https://api.together.ai/v1"
    docs = "https://docs.together.ai/docs/images-overview"
    tables_by_model = _FAMILIES
    models = (
        "black-forest-labs/FLUX.2-pro",
        "black-forest-labs/FLUX.2-dev",
        "black-forest-labs/FLUX.2-flex",
        "black-forest-labs/FLUX.2-max",
        "black-forest-labs/FLUX.1.1-pro",
        "black-forest-labs/FLUX.1-schnell",
        "black-forest-labs/FLUX.1-kontext-pro",
        "black-forest-labs/FLUX.1-kontext-max",
    )
    url_lifetime = 600
    refusal_pattern = errors.REFUSAL_WORDS
    unconfirmed = (
        "the current list of models; the supported ratios; the wording of refusals; how long URLs "
        "last; Retry-After on a 429"
    )


ADAPTER = TogetherAI()
