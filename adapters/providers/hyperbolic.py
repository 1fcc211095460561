"""Hyperbolic: a JSON request, base64 in the response, one image per call.

    POST {base}/image/generation      {"model_name", "prompt", …} -> {"images": [{"image", "seed"}]}

>>> from adapters.contract import ImageCall
>>> params = {"model": "SDXL1.0-base", "prompt": "a cube", "size": "1792x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model_name': 'SDXL1.0-base', 'prompt': 'a cube', 'width': 1792, 'height': 1024}
"""

from __future__ import annotations

from adapters import errors
from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list, dig_str, dig_typed, without_none
from adapters.tools.url_paths import require_model

_TABLE = Table(
    (
        Param("prompt"),
        Param("negative_prompt"),
        Param("size", convert=sizes.pixels(low=64, high=2048)),
        Param("steps", kind=int, low=1, high=100),
        Param("cfg_scale", kind=float, low=1, high=20),
        Param("seed", kind=int),
        Param("backend", choices=("auto", "tvm", "torch")),
        Param("enable_refiner", kind=bool),
        Param("lora", kind=dict),
        Param("controlnet_name"),
        Param("image", note="base64, for ControlNet models"),
    )
)


class Hyperbolic(Adapter):
    """Image models on Hyperbolic's serverless inference."""

    id = "hyperbolic"
    name = "Hyperbolic"
    base_url = "https://api.hyperbolic.xyz/v1"
    docs = "https://docs.hyperbolic.ai"
    tables_by_model = (("", _TABLE),)
    models = ("SDXL1.0-base", "SD3.5", "SDXL-turbo", "SD1.5", "SD2", "SSD", "FLUX.1-dev")
    confidence = "low"
    experimental = True
    refusal_pattern = errors.REFUSAL_WORDS
    unconfirmed = (
        "whether image models are still offered; several images per call; the list of models; "
        "the wording of refusals; Retry-After on a 429"
    )

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request, with the model as `model_name`."""
        model = require_model(call.model, example=self.models[0])
        return ProviderRequest("/image/generation", json={"model_name": model, **call.fields})

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images, each with its seed."""
        del call
        made = (
            Image(b64=b64, extra=without_none(seed=dig_typed(entry, "seed", kind=int)))
            for entry in dig_list(reply.json(), "images")
            if (b64 := dig_str(entry, "image"))
        )
        if images := tuple(made):
            return Answer(images)
        raise errors.no_image_error(reply.status)


ADAPTER = Hyperbolic()
