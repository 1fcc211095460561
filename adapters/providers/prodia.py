"""Prodia: one endpoint for every type of job; the response is the image's bytes.

    POST {base}/job      {"type", "config"}; `Accept` has the image format

>>> from adapters.contract import ImageCall
>>> params = {"model": "inference.flux.dev.txt2img.v2", "prompt": "a cube", "output_format": "webp"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = ADAPTER.build_request(ImageCall(params, made.fields))
>>> request.json, request.headers
({'type': 'inference.flux.dev.txt2img.v2', 'config': {'prompt': 'a cube'}}, \
{'accept': 'image/webp'})
"""

from __future__ import annotations

import re

from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.url_paths import require_model

# Internal field of `output_format`, which `build_request` moves to a header.
_ACCEPT = "accept"
_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def _config(steps: int | None, *more: Param) -> Table:
    """Return the table of a job type with a maximum of `steps`."""
    return Table(
        (
            Param("prompt", "config.prompt"),
            Param("output_format", _ACCEPT, convert=_MEDIA_TYPES, default="png"),
            Param(
                "size",
                convert=sizes.pixels(
                    low=256, high=1920, step=16, width="config.width", height="config.height"
                ),
            ),
            *nested_under(
                "config",
                Param("steps", kind=int, low=1, high=steps),
                Param("seed", kind=int, low=0),
                Param("style_preset"),
                Param("loras", kind=list, high=3),
                Param("progressive", kind=bool, note="jpeg only"),
                *more,
            ),
        ),
        unknown_under="config",
        reserved=frozenset({_ACCEPT, "type"}),
    )


_SCHNELL = _config(4)
_SDXL = _config(
    None,
    Param("negative_prompt"),
    Param("guidance", kind=float, low=0),
)


class Prodia(Adapter):
    """Prodia's API, version 2; a model is a job type."""

    id = "prodia"
    name = "Prodia"
    base_url = "https://inference.prodia.com/v2"
    docs = "https://docs.prodia.com/reference/getting-started"
    tables_by_model = (
        (("inference.flux-fast.schnell", "inference.flux.schnell"), _SCHNELL),
        ("inference.flux", _config(None)),
        ("", _SDXL),
    )
    models = (
        "inference.flux-fast.schnell.txt2img.v2",
        "inference.flux.schnell.txt2img.v2",
        "inference.flux.dev.txt2img.v2",
        "v2.job.sdxl.txt2img",
    )
    refusal_pattern = re.compile(r"nsfw|safety|moderat|content policy", re.IGNORECASE)
    confidence = "medium"
    unconfirmed = (
        "webp; the steps of sizes; the names of styles; the format of refusals; "
        "Retry-After on a 429"
    )

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request, with the job type in the body and the image format in a header."""
        fields = dict(call.fields)
        headers = {"accept": str(fields.pop(_ACCEPT, _MEDIA_TYPES["png"]))}
        body = {"type": require_model(call.model, example=self.models[0]), **fields}
        return ProviderRequest("/job", json=body, headers=headers)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the image bytes. Raises `ProviderError` if the reply is not an image."""
        del call
        if image := Image.from_reply(reply):
            return Answer((image,))
        raise self.no_image_error(reply)


ADAPTER = Prodia()
