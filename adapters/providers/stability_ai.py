"""Stability AI: multipart requests and image bytes; one older engine with JSON.

    POST {base}/v2beta/stable-image/generate/{ultra|core|sd3}     multipart -> bytes
    POST {base}/v1/generation/{engine}/text-to-image              JSON -> JSON

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("sd3.5-large").translate({"prompt": "a cube", "size": "1536x1024"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "sd3.5-large"}, made.fields))
>>> sent.path, dict(sent.form)["aspect_ratio"], dict(sent.form)["model"]
('/v2beta/stable-image/generate/sd3', '3:2', 'sd3.5-large')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from adapters import errors
from adapters.bases import stability_style
from adapters.contract import Adapter, Answer, Credentials, ImageCall, Option, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list
from adapters.tools.url_paths import quote_model

_RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
_STYLES = (
    "3d-model analog-film anime cinematic comic-book digital-art enhance fantasy-art isometric "
    "line-art low-poly modeling-compound neon-punk origami photographic pixel-art tile-texture"
)
_GUIDANCE = "FAST_BLUE FAST_GREEN NONE SIMPLE SLOW SLOWER SLOWEST"
_SAMPLERS = (
    "DDIM DDPM K_DPMPP_2M K_DPMPP_2S_ANCESTRAL K_DPM_2 K_DPM_2_ANCESTRAL "
    "K_EULER K_EULER_ANCESTRAL K_HEUN K_LMS"
)
_SDXL_SIZES = "1024x1024 1152x896 896x1152 1216x832 832x1216 1344x768 768x1344 1536x640 640x1536"

_STYLE = Param("style_preset", choices=tuple(_STYLES.split()))
_NEGATIVE = Param("negative_prompt", high=10_000)
_FORMAT = Param("output_format", choices=("png", "jpeg"))
_COMMON = (
    Param("prompt", high=10_000),
    Param("size", convert=sizes.ratio(_RATIOS)),
    Param("aspect_ratio", choices=_RATIOS),
    Param("seed", kind=int, low=0, high=4_294_967_294, note="0 is random"),
)
_IMAGE = Table(
    (*_COMMON, Param("output_format", choices=("png", "jpeg", "webp")), _NEGATIVE, _STYLE)
)
_SD3 = Table((*_COMMON, _FORMAT, _NEGATIVE))
_TURBO = Table((*_COMMON, _FORMAT, _STYLE, Param("cfg_scale", kind=float, low=1, high=10)))
_SD35 = Table((*_TURBO.rows, _NEGATIVE))
_V1 = Table(
    (
        Param("prompt", high=2000, convert=lambda text: {"text_prompts": [{"text": text}]}),
        Param("negative_prompt", high=2000, note="sent as a text prompt of weight -1"),
        Param("n", "samples", high=10),
        Param("size", convert=sizes.nearest_sides(_SDXL_SIZES.split())),
        Param("seed", kind=int, low=0),
        Param("steps", kind=int, low=1),
        Param("cfg_scale", kind=float, low=0),
        Param("clip_guidance_preset", choices=tuple(_GUIDANCE.split())),
        Param("sampler", choices=tuple(_SAMPLERS.split())),
        _STYLE,
    )
)
_FAMILIES = (
    ("stable-diffusion-", _V1),
    ("sd3.5-large-turbo", _TURBO),
    ("sd3-large-turbo", Table((*_COMMON, _FORMAT))),
    ("sd3.5", _SD35),
    ("sd3", _SD3),
    ("", _IMAGE),
)


class StabilityAI(Adapter):
    """Stability AI's developer platform."""

    id = "stability-ai"
    name = "Stability AI"
    base_url = "https://api.stability.ai"
    docs = "https://platform.stability.ai/docs/api-reference"
    tables_by_model = _FAMILIES
    models = (
        "stable-image-core",
        "stable-image-ultra",
        "sd3.5-large",
        "sd3.5-large-turbo",
        "sd3.5-medium",
        "sd3.5-flash",
        "stable-diffusion-xl-1024-v1-0",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option("stability_client_id", "your app's name", pattern=r"[!-~][ -~]{0,255}"),
        Option("stability_client_user_id", "your user's id", pattern=r"[!-~][ -~]{0,255}"),
        Option("stability_client_version", "your app's version", pattern=r"[!-~][ -~]{0,255}"),
    )
    status_by_code: ClassVar[Mapping[str, int]] = {"content_moderation": errors.REFUSED}
    unconfirmed = "sd3.5-flash and sd3-*; cfg_scale on sd3.5; webp on sd3; Retry-After on a 429"

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as a bearer token, and one header for each option."""
        app = {name.replace("_", "-"): value for name, value in credentials.options.items()}
        return {**super().sign(request, credentials), **app}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request: multipart for image bytes, or JSON for a v1 engine."""
        path = quote_model(call.model, example="stable-image-core")
        if self.table_for(call.model) is _V1:
            headers = {"accept": "application/json"}
            path = f"/v1/generation/{path}/text-to-image"
            return ProviderRequest(path, headers=headers, json=_weighted(call.fields))
        form = call.multipart_fields
        if path.startswith("sd3"):
            # "sd3" is the endpoint's name, not a model.
            form |= {"model": call.model} if path != "sd3" else {}
            path = "sd3"
        path = f"/v2beta/stable-image/generate/{path.removeprefix('stable-image-')}"
        return ProviderRequest(path, headers={"accept": "image/*"}, form=form)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse image bytes, or the `artifacts` of v1; a blurred image is a refusal."""
        del call
        if in_bytes := stability_style.image_from_bytes(reply):
            return stability_style.answer_from([in_bytes], reply)
        return stability_style.answer_from(
            map(stability_style.image_from_json, dig_list(reply.json(), "artifacts")), reply
        )

    def error_message(self, reply: ProviderReply) -> str:
        """Return all messages, joined."""
        message = "; ".join(it for it in dig_list(reply.json(), "errors") if isinstance(it, str))
        return message or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error, with the field that its message begins with as `param`."""
        error = super().provider_error(reply)
        field, colon, _ = self.error_message(reply).partition(": ")
        error.param = error.param or (field if colon and " " not in field else None)
        return error


def _weighted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return v1's fields; the negative prompt is a text prompt of weight -1."""
    made = dict(fields)
    if negative := made.pop("negative_prompt", None):
        prompts = made.get("text_prompts", [])
        made["text_prompts"] = [*prompts, {"text": negative, "weight": -1}]
    return made


ADAPTER = StabilityAI()
