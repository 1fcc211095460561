"""Lemonfox: OpenAI's endpoint with one SDXL model, so the body has no model.

    POST {base}/images/generations      {"prompt", "n", "size", …} -> {"data": [{"url"}]}

>>> from adapters.contract import ImageCall
>>> params = {"model": "stable-diffusion-xl", "prompt": "a cube", "n": 2, "quality": "high"}
>>> fields = ADAPTER.table_for(params["model"]).translate(params, n=2).fields
>>> ADAPTER.build_request(ImageCall(params, fields)).json
{'prompt': 'a cube', 'n': 2}
"""

from __future__ import annotations

from typing import Any

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.contract import ImageCall
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

# There is no row for `quality`: Lemonfox has no such parameter, so the receipt says `dropped`.
_TABLE = Table(
    (
        Param("prompt"),
        Param("negative_prompt"),
        Param("n", high=8),
        Param("size", convert=sizes.pixels(low=256, high=1792, combined="size")),
        Param("response_format"),
    )
)


class Lemonfox(OpenAICompatible):
    """Stable Diffusion XL on Lemonfox."""

    id = "lemonfox-ai"
    name = "Lemonfox"
    base_url = "https://api.lemonfox.ai/v1"
    docs = "https://www.lemonfox.ai"
    tables_by_model = (("", _TABLE),)
    models = ("stable-diffusion-xl",)
    url_lifetime = 600
    confidence = "low"
    experimental = True
    refusal_pattern = errors.REFUSAL_WORDS
    unconfirmed = "the supported sizes; the format of errors and refusals; how long URLs last"

    def build_body(self, call: ImageCall) -> dict[str, Any]:
        """Return the translated fields without a model."""
        return dict(call.fields)


ADAPTER = Lemonfox()
