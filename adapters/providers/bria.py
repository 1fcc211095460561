"""Bria: FIBO images by polling; the model's name is part of the path.

    POST {base}/image/generate[/lite]   JSON -> 202 {"request_id", "status_url"}
    GET  {base}/status/{request_id}     {"status", "result": {"image_url"}, "error"}

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("fibo").translate({"prompt": "a cube", "size": "2048x2048"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "fibo-lite"}, made.fields))
>>> sent.path, sent.json
('/image/generate/lite', {'prompt': 'a cube', 'aspect_ratio': '1:1', 'resolution': '4MP'})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from adapters import errors
from adapters.bases.polling import PollingAdapter
from adapters.contract import Credentials, Image, ImageCall, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, format_or_png
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_str, dig_typed, without_none
from adapters.tools.url_paths import quote_model

_UNPROCESSABLE = 422
_FIBO = "fibo"

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9")
_SIZE = sizes.tiers(sizes.ratio(_RATIOS), {"1MP": 1024, "4MP": 2048})
_TABLE = Table(
    (
        Param("prompt"),
        Param("size", convert=_SIZE),
        Param("aspect_ratio", choices=_RATIOS),
        Param("resolution", choices=("1MP", "4MP")),
        Param(
            "output_format",
            "output_type",
            convert=format_or_png("output_type", png="png", jpeg="jpeg"),
            note="jpeg or png; other formats become png",
        ),
        Param("output_type", choices=("png", "jpeg")),
        Param("steps_num", kind=int, low=35, high=50),
        Param("guidance_scale", kind=float),
        Param("negative_prompt"),
        Param("seed", kind=int),
        Param("structured_prompt", note="JSON as a string, instead of a prompt or with it"),
        Param("images", kind=list, high=1),
        Param("model_version"),
        Param("ip_signal", kind=bool),
        Param("prompt_content_moderation", kind=bool),
        Param("visual_input_content_moderation", kind=bool),
        Param("visual_output_content_moderation", kind=bool),
    )
)


class Bria(PollingAdapter):
    """Bria's API, version 2. `webhook_url` is in no table, so it is never sent."""

    id = "bria"
    name = "Bria"
    base_url = "https://engine.prod.bria-api.com/v2"
    docs = "https://docs.bria.ai"
    tables_by_model = (("", _TABLE),)
    models = (_FIBO, "fibo-lite")
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "how long URLs last (one hour is assumed); whether every 422 is a refusal, as this adapter "
        "assumes; the state UNKNOWN, which this adapter takes for a failure; Retry-After on a 429"
    )
    status_by_code = {str(_UNPROCESSABLE): errors.REFUSED}

    id_path = ("request_id",)
    poll_path = "/status/{}"
    success_state, failed_states = "COMPLETED", frozenset({"ERROR", "UNKNOWN"})

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as `api_token`."""
        del request
        return {"api_token": credentials.api_key}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Submit the job at the model's endpoint."""
        path = quote_model(call.model, example=_FIBO)
        below = "" if path == _FIBO else "/" + path.removeprefix(f"{_FIBO}-")
        return ProviderRequest(f"/image/generate{below}", json=call.fields)

    def parse_images(self, reply: ProviderReply) -> Iterator[Image]:
        """Yield the image with its seed."""
        if url := dig_str(reply.json(), "result", "image_url"):
            yield Image.from_url(
                url, **without_none(seed=dig_typed(reply.json(), "result", "seed", kind=int))
            )

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return a refusal for a 422, which Bria documents as moderation."""
        if reply.status == _UNPROCESSABLE:
            return self.refusal(reply)
        return super().provider_error(reply)


ADAPTER = Bria()
