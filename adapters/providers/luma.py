"""Luma: Photon images by polling.

    POST {base}/generations/image     JSON -> 201 {"id", "state"}
    GET  {base}/generations/{id}      {"state", "failure_reason", "assets": {"image"}}

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("photon-1").translate({"prompt": "a cube", "size": "1536x1024"})
>>> ADAPTER.build_request(ImageCall({"model": "photon-1"}, made.fields)).json
{'model': 'photon-1', 'prompt': 'a cube', 'aspect_ratio': '4:3'}
"""

from __future__ import annotations

import re

from adapters.bases.polling import PollingAdapter
from adapters.contract import ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, format_or_png
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_str
from adapters.tools.url_paths import require_model

_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")


_PHOTON = Table(
    (
        Param("prompt"),
        # Luma's own default is 16:9.
        Param(
            "size",
            convert=sizes.ratio(_RATIOS),
            default="1024x1024",
            default_unless=("aspect_ratio",),
        ),
        Param("aspect_ratio", choices=_RATIOS),
        Param(
            "output_format",
            "format",
            convert=format_or_png("format", jpeg="jpg", png="png"),
            note="jpeg or png; other formats become png",
        ),
        Param("format", choices=("jpg", "png")),
        Param("image_ref", kind=list, note='[{"url", "weight"}], URLs only'),
        Param("style_ref", kind=list, note='[{"url", "weight"}]'),
        Param("character_ref", kind=dict, note='{"identity0": {"images": ["url"]}}'),
        Param("modify_image_ref", kind=dict, note='{"url", "weight"}'),
    )
)


class Luma(PollingAdapter):
    """Luma's Dream Machine API. `callback_url` is in no table, so it is never sent."""

    id = "luma"
    name = "Luma"
    base_url = "https://api.lumalabs.ai/dream-machine/v1"
    docs = "https://docs.lumalabs.ai/docs/image-generation"
    tables_by_model = (("", _PHOTON),)
    models = ("photon-1", "photon-flash-1")
    url_lifetime = 3600
    unconfirmed = (
        "how long URLs last (one hour is assumed); the wording of refusals and of a 403 for "
        "missing credits; Retry-After on a 429; whether deleting a job stops it"
    )
    refusal_pattern = re.compile("moderat|nsfw|content policy", re.IGNORECASE)
    status_by_phrase = {"credits": 402}

    state_path = ("state",)
    poll_path = "/generations/{}"
    success_state, failed_states = "completed", frozenset({"failed"})
    images_path = ("assets", "image")

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that submits the job."""
        model = require_model(call.model, example=self.models[0])
        return ProviderRequest("/generations/image", json={"model": model, **call.fields})

    def build_cancel_request(self, call: ImageCall, submitted: ProviderReply) -> ProviderRequest:
        """Return the request that deletes the job."""
        del call
        return ProviderRequest(self.poll_path.format(self.parse_job_id(submitted)), method="DELETE")

    def error_message(self, reply: ProviderReply) -> str:
        """Return the reason of a failed job, or an error's message."""
        return dig_str(reply.json(), "failure_reason") or super().error_message(reply)


ADAPTER = Luma()
