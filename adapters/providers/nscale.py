"""Nscale: OpenAI's endpoint with its own parameters; images are always base64.

    POST {base}/images/generations      {"model", "prompt", "n", "size"} -> {"data": [{"b64_json"}]}

Everything else is the same as in OpenAI's API, so this adapter consists of a table.

>>> from adapters.contract import ImageCall
>>> params = {"model": "black-forest-labs/FLUX.1-schnell", "prompt": "a cube", "size": "auto"}
>>> fields = ADAPTER.table_for(params["model"]).translate(params).fields
>>> ADAPTER.build_request(ImageCall(params, fields)).json
{'model': 'black-forest-labs/FLUX.1-schnell', 'prompt': 'a cube', 'response_format': 'b64_json'}
"""

from __future__ import annotations

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

# Nscale refuses `steps`, so there is no row for it.
_TABLE = Table(
    (
        Param("prompt"),
        Param("n", high=4),  # for more images the gateway makes several calls
        Param("size", convert=sizes.pixels(low=1, high=99_999, combined="size")),
        Param("seed", kind=int),
        Param("negative_prompt"),
        Param("guidance_scale", kind=float),
    ),
    constant={"response_format": "b64_json"},  # URLs are not documented
)


class Nscale(OpenAICompatible):
    """Image models on Nscale's serverless inference."""

    id = "nscale"
    name = "Nscale"
    base_url = "https://inference.api.nscale.com/v1"
    docs = "https://docs.nscale.com"
    tables_by_model = (("", _TABLE),)
    models = (
        "black-forest-labs/FLUX.1-schnell",
        "stabilityai/stable-diffusion-xl-base-1.0",
    )
    confidence = "medium"
    refusal_pattern = errors.REFUSAL_WORDS
    unconfirmed = (
        "more than 4 images per call; seed, negative_prompt and guidance_scale; the supported "
        "sizes; the wording of refusals; Retry-After on a 429"
    )


ADAPTER = Nscale()
