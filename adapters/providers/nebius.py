"""Nebius Token Factory: OpenAI's endpoint, one image per call, width and height.

    POST {base}/images/generations[?ai_project_id=…]      {"model", "prompt", …} -> {"data": […]}

Nebius ignores `size` and `n`. Without width and height the image is 512x512.

>>> from adapters.contract import ImageCall
>>> params = {"model": "black-forest-labs/flux-dev", "prompt": "a cube", "output_format": "jpeg"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'black-forest-labs/flux-dev', 'prompt': 'a cube', 'response_extension': 'jpg', \
'width': 1024, 'height': 1024}
"""

from __future__ import annotations

from typing import ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.contract import ImageCall, Option
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes

_TABLE = Table(
    (
        Param("prompt", high=2000),
        Param("size", convert=sizes.pixels(low=64, high=2048), default="1024x1024"),
        Param("response_format", choices=("url", "b64_json")),
        Param(
            "output_format",
            "response_extension",
            convert={"png": "png", "jpeg": "jpg", "webp": "webp"},
            default="png",
        ),
        Param("negative_prompt"),
        Param("seed", kind=int, low=-1, note="-1 is random"),
        Param("num_inference_steps", kind=int, low=1, high=80),
        Param("guidance_scale", kind=float),
        Param("loras", kind=list, low=1, high=10, note="objects with `url` and `scale`"),
    )
)


class Nebius(OpenAICompatible):
    """Image models on Nebius Token Factory, earlier Nebius AI Studio."""

    id = "nebius"
    name = "Nebius Token Factory"
    base_url = "https://api.tokenfactory.nebius.com/v1"
    docs = "https://docs.tokenfactory.nebius.com/api-reference/inference/generate"
    tables_by_model = (("", _TABLE),)
    models = (
        "black-forest-labs/flux-schnell",
        "black-forest-labs/flux-dev",
        "stability-ai/sdxl",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option("nebius_ai_project_id", "the project to bill", pattern=r"[A-Za-z0-9_-]{1,128}"),
    )
    url_lifetime = 600
    confidence = "medium"
    experimental = True
    refusal_pattern = errors.REFUSAL_WORDS
    unconfirmed = (
        "whether image models are still offered; how long URLs last; the range of guidance_scale; "
        "the wording of refusals; Retry-After on a 429"
    )

    def request_path(self, call: ImageCall) -> str:
        """Return the URL path, with the project if one is set."""
        project = call.credentials["nebius_ai_project_id"]
        return super().request_path(call) + (f"?ai_project_id={project}" if project else "")


ADAPTER = Nebius()
