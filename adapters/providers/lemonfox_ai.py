"""Lemonfox: OpenAI's endpoint with one SDXL model, so no model is sent.

    POST {base}/images/generations      JSON -> JSON

>>> from adapters.contract import ImageCall
>>> params = {"model": "stable-diffusion-xl", "prompt": "a cube", "n": 2, "quality": "high"}
>>> made = ADAPTER.table_for("").translate(params, n=2)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
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


class Lemonfox(OpenAICompatible):
    """Lemonfox's image API."""

    id = "lemonfox-ai"
    name = "Lemonfox"
    base_url = "https://api.lemonfox.ai/v1"
    docs = "https://www.lemonfox.ai"
    tables_by_model = (
        (
            "",
            Table(
                (
                    Param("prompt"),
                    Param("negative_prompt"),
                    Param("n", high=8),
                    Param("size", convert=sizes.pixels(low=256, high=1792, combined="size")),
                    Param("response_format"),
                )
            ),
        ),
    )
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
