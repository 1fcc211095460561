"""Krea: models of many vendors, each at its own path, by polling.

    POST {base}/generate/image/{vendor}/{model}   JSON -> {"job_id", "status"}
    GET  {base}/jobs/{job_id}                     {"status", "result": {"urls"}}

>>> from adapters.contract import ImageCall
>>> params = {"prompt": "a cube", "size": "1792x1024"}
>>> made = ADAPTER.table_for("krea/krea-2-large").translate(params)
>>> sent = ADAPTER.build_request(ImageCall({"model": "krea/krea-2-large"}, made.fields))
>>> sent.path, sent.json
('/generate/image/krea/krea-2-large', \
{'prompt': 'a cube', 'aspect_ratio': '16:9', 'resolution': '1K'})
"""

from __future__ import annotations

import re

from adapters.bases.polling import PollingAdapter
from adapters.contract import ImageCall
from adapters.errors import BadParam
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.url_paths import quote_model

_RATIOS = ("1:1", "4:3", "3:2", "16:9", "2.35:1", "4:5", "2:3", "9:16")
_ANY = (
    Param("prompt"),
    Param("seed", kind=int),
    Param("styles", kind=list, note='[{"id", "strength"}], -2 to 2'),
)
_ASPECT = Param("aspect_ratio", choices=_RATIOS)
_KREA_2 = Table(
    (
        *_ANY,
        # Krea 2 requires a ratio and a resolution.
        Param(
            "size",
            convert=sizes.ratio(_RATIOS),
            default="1024x1024",
            default_unless=("aspect_ratio",),
        ),
        _ASPECT,
        Param("resolution", choices=("1K",), default="1K"),
        Param("creativity", choices=("raw", "low", "medium", "high")),
        Param("image_style_references", kind=list, note='[{"url", "strength"}], -2 to 2'),
        Param("moodboards", kind=list, high=1, note="strength -0.5 to 1.5"),
    )
)
_FLUX = Table(
    (
        *_ANY,
        Param("size", convert=sizes.pixels(low=512, high=2368), default="1024x1024"),
        Param("steps", kind=int, low=1),
        Param("guidance_scale_flux", kind=float, low=0),
    )
)
_OTHER = Table((*_ANY, Param("size", convert=sizes.ratio(_RATIOS)), _ASPECT))


class Krea(PollingAdapter):
    """Krea's API. Its webhook is a header, which no parameter sets."""

    id = "krea"
    name = "Krea"
    base_url = "https://api.krea.ai"
    docs = "https://docs.krea.ai"
    tables_by_model = (("krea/krea-2", _KREA_2), ("bfl/", _FLUX), ("", _OTHER))
    models = (
        "krea/krea-2-medium",
        "krea/krea-2-large",
        "bfl/flux-1-dev",
        "bfl/flux-1-kontext-dev",
        "ideogram/ideogram-3",
    )
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "the format of errors and the wording of refusals; the limits of width and height of "
        "bfl/*; ratios of models other than krea-2; how long URLs last (one hour is assumed); "
        "whether deleting a job stops it"
    )
    refusal_pattern = re.compile("moderat|nsfw|content policy", re.IGNORECASE)

    id_path = ("job_id",)
    poll_path = "/jobs/{}"
    success_state, failed_states = "completed", frozenset({"failed", "cancelled"})
    images_path = ("result", "urls")
    poll_interval = 2.0

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that submits the job at the model's path."""
        path = quote_model(call.model, safe="/", example=self.models[0])
        if path.count("/") != 1:
            raise BadParam(
                "model", f"'model' must have the form vendor/model, such as {self.models[0]}."
            )
        return ProviderRequest(f"/generate/image/{path}", json=call.fields)

    def build_cancel_request(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest:
        """Return the request that deletes the job."""
        del call
        return ProviderRequest(self.poll_path.format(self.parse_job_id(submitted)), method="DELETE")


ADAPTER = Krea()
