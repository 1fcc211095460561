"""AUTOMATIC1111's Stable Diffusion web UI, and Forge: one job at a time, images as base64.

    POST {base}/sdapi/v1/txt2img      the server must run with --api

Model, output format and compression are settings of the server that persist between calls, so every
call sends them. Scripts and other settings are never sent.

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("").translate({"prompt": "a cube", "quality": "high", "n": 2}, n=2)
>>> ADAPTER.build_request(ImageCall({"model": "flux"}, made.fields)).json
{'prompt': 'a cube', 'steps': 40, 'n_iter': 2, 'width': 1024, 'height': 1024, \
'override_settings': {'samples_format': 'png', 'jpeg_quality': 100, \
'sd_model_checkpoint': 'flux'}, 'override_settings_restore_afterwards': False}
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from adapters.contract import (
    Adapter,
    Answer,
    Credentials,
    Image,
    ImageCall,
    Option,
    SignableRequest,
)
from adapters.errors import ProviderError, error_from_reply, no_image_error
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, parse_json, without_none

_DEFAULT = "default"
_SETTINGS = "override_settings"
_RESTORE = f"{_SETTINGS}_restore_afterwards"
_STEPS = {"low": 15, "medium": 25, "standard": 25}
_STEPS |= dict.fromkeys(("high", "hd", "xhigh", "max"), 40)
# Parameters that run code on the server or write to its disk.
_UNSAFE = ("script_name", "script_args", "alwayson_scripts", "save_images")


def _numbers(kind: type, *names: str, low: float = 0, high: float | None = None) -> list[Param]:
    return [Param(name, kind=kind, low=low, high=high) for name in names]


_TABLE = Table(
    (
        Param("prompt"),
        Param("negative_prompt"),
        Param("n", "n_iter", high=10),
        # The server's own defaults are 512x512 and 50 steps.
        Param("size", convert=sizes.pixels(low=64, high=16_384, step=8), default="1024x1024"),
        Param("quality", "steps", convert=_STEPS, default="medium", default_unless=("steps",)),
        Param("output_format", "format", convert={"png": "png", "jpeg": "jpg", "webp": "webp"}),
        Param("output_compression", "jpeg_quality"),
        *_numbers(int, "width", "height", "steps", low=1),
        *_numbers(int, "seed", "subseed", low=-1),
        *_numbers(float, "subseed_strength", "denoising_strength", "refiner_switch_at", high=1),
        *_numbers(float, "cfg_scale", "distilled_cfg_scale", "eta"),
        *_numbers(float, "s_churn", "s_tmin", "s_tmax", "s_noise"),
        *(Param(name) for name in ("sampler_name", "scheduler", "refiner_checkpoint")),
        Param("styles", kind=list, note="names of styles saved on the server"),
        *(Param(name, kind=bool) for name in ("restore_faces", "tiling", "enable_hr")),
        *_numbers(float, "hr_scale", "hr_cfg", "hr_distilled_cfg"),
        *_numbers(int, "hr_second_pass_steps", "hr_resize_x", "hr_resize_y"),
        *(Param(f"hr_{name}") for name in ("upscaler", "checkpoint_name", "sampler_name")),
        *(Param(f"hr_{name}") for name in ("scheduler", "prompt", "negative_prompt")),
        Param("hr_additional_modules", kind=list),
    ),
    reserved=frozenset({*_UNSAFE, _SETTINGS, _RESTORE, "format"}),
)


class Automatic1111(Adapter):
    """A self-hosted web UI. The first call of a model takes longer, because it loads the model."""

    id = "automatic1111"
    name = "AUTOMATIC1111 and Forge"
    base_url = "http://127.0.0.1:7860"
    docs = "https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API"
    tables_by_model = (("", _TABLE),)
    models = (_DEFAULT,)
    keyless = True
    options: ClassVar[tuple[Option, ...]] = (
        Option("automatic1111_user", "the user of --api-auth", pattern=r"[!-9;-~]{1,128}"),
        Option("automatic1111_password", "the password of --api-auth", secret=True),
    )
    unconfirmed = (
        "whether an unknown model is an error or keeps the current model; whether a grid can "
        "precede the images"
    )

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return basic auth for user and password; an API key is for a proxy before the server."""
        if not (user := credentials["automatic1111_user"]):
            return super().sign(request, credentials)
        pair = f"{user}:{credentials['automatic1111_password']}"
        return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request, with the settings of the server that it needs."""
        fields = dict(call.fields)
        settings = {
            "samples_format": fields.pop("format", "png"),
            "jpeg_quality": fields.pop("jpeg_quality", 100),
        }
        if call.model not in ("", _DEFAULT):
            settings["sd_model_checkpoint"] = call.model
        # If the server restored its settings afterwards, it would ignore the format and load the
        # model twice.
        overrides = {_SETTINGS: settings, _RESTORE: False}
        return ProviderRequest("/sdapi/v1/txt2img", json={**fields, **overrides})

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the requested images; extensions append further ones."""
        tree = reply.json()
        seeds = dig_list(parse_json(dig_str(tree, "info")), "all_seeds")
        texts = [it for it in dig_list(tree, "images") if it and isinstance(it, str)][: call.n]
        if not texts:
            raise no_image_error(reply.status)
        extras = [
            without_none(seed=dig_typed(seeds, which, kind=int)) for which in range(len(texts))
        ]
        images = zip(texts, extras, strict=True)
        return Answer(tuple(Image(b64=b64, extra=extra) for b64, extra in images))

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message rather than the name of the error."""
        tree = reply.json()
        return dig_str(tree, "detail") or dig_str(tree, "errors") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Distinguish the meanings of a 404: the server has no API, or lacks the named model."""
        if reply.status != HTTPStatus.NOT_FOUND:
            return super().provider_error(reply)
        if dig(reply.json(), "error") is None:
            return error_from_reply(
                reply, message="it has no API (start it with --api)", status=502
            )
        return error_from_reply(reply, message=self.error_message(reply), status=400)


ADAPTER = Automatic1111()
