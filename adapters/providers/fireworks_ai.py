"""Fireworks AI: three endpoints, by model family.

    POST {base}/workflows/{model}/text_to_image       FLUX.1: image bytes, in the format of `Accept`
    POST {base}/workflows/{model}                     FLUX.1 Kontext: a job, then
    POST {base}/workflows/{model}/get_result          … polled until it has finished
    POST {base}/image_generation/{model}              SDXL and others: a JSON array

A filtered image is an HTTP 200, marked in a header, in its entry or in the job's status.

>>> from adapters.contract import ImageCall
>>> params = {"model": "flux-1-schnell-fp8", "prompt": "a cube", "output_format": "jpeg"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = ADAPTER.build_request(ImageCall(params, made.fields))
>>> request.path
'/workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image'
>>> request.json, request.headers
({'prompt': 'a cube'}, {'accept': 'image/jpeg'})
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from adapters.bases import stability_style
from adapters.bases.polling import poll
from adapters.contract import Adapter, Answer, Flow, Image, ImageCall
from adapters.errors import ProviderError, error_from_reply
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list, dig_str
from adapters.tools.url_paths import quote_model

_RATIOS = ("1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4")
_SAFETY_CHECK = Param("safety_check", kind=bool)
_COMMON = (Param("prompt"), Param("seed", kind=int, low=0))

# Fields nested in `headers` become request headers; the rest is the body.
_RESERVED = frozenset({"headers"})
_ACCEPT = {"png": "image/png", "jpeg": "image/jpeg"}
_FLUX = Table(
    (
        *_COMMON,
        Param("size", convert=sizes.ratio(_RATIOS)),
        Param("aspect_ratio", choices=_RATIOS),
        Param("output_format", "headers.accept", convert=_ACCEPT, default="png"),
        Param("output_compression", convert=lambda percent: {"headers.jpeg-quality": str(percent)}),
        Param("num_inference_steps", kind=int, low=1),
        Param("guidance_scale", kind=float, low=0),
        _SAFETY_CHECK,
    ),
    reserved=_RESERVED,
)
_KONTEXT = Table(
    (
        *_COMMON,
        Param("size", convert=sizes.reduced_ratio()),
        Param("aspect_ratio", pattern=r"[1-9]\d?:[1-9]\d?"),
        Param("output_format", choices=("png", "jpeg")),
        Param("input_image", note="a URL or a data: URL"),
        Param("prompt_upsampling", kind=bool),
        Param("safety_tolerance", kind=int, low=0, high=6),
    ),
    reserved=_RESERVED,
)
_SDXL = Table(
    (
        Param("prompt"),
        Param("negative_prompt"),
        Param("size", convert=sizes.pixels(low=512, high=1024, step=8)),
        Param("n", "samples", high=10),
        Param("cfg_scale", kind=float, low=0),
        Param("sampler"),
        Param("steps", kind=int, low=10, high=150),
        Param("lora_adapter_name"),
        Param("lora_weight_filename"),
        Param("seed", kind=int, low=0, high=4_294_967_295),
        _SAFETY_CHECK,
    ),
    reserved=_RESERVED,
)
_FAMILIES = (
    ("flux-kontext", _KONTEXT, "/workflows/{}"),
    ("flux-", _FLUX, "/workflows/{}/text_to_image"),
    ("", _SDXL, "/image_generation/{}"),
)

# Final states of a job. Those of moderation are taken from Black Forest Labs.
_FINAL_STATES = frozenset({"Ready", "Error", "Failed", "Task not found"}) | frozenset(
    {"Request Moderated", "Content Moderated"}
)


class Fireworks(Adapter):
    """Image models on Fireworks AI."""

    id = "fireworks-ai"
    name = "Fireworks AI"
    base_url = "https://api.fireworks.ai/inference/v1"
    docs = "https://docs.fireworks.ai/api-reference/generate-a-new-image-from-a-text-prompt"
    models = (
        "flux-1-schnell-fp8",
        "flux-1-dev-fp8",
        "flux-kontext-pro",
        "flux-kontext-max",
        "stable-diffusion-xl-1024-v1-0",
        "playground-v2-5-1024px-aesthetic",
        "playground-v2-1024px-aesthetic",
        "japanese-stable-diffusion-xl",
        "SSD-1B",
    )
    confidence = "medium"
    experimental = True
    unconfirmed = (
        "whether the image models are still offered (in late 2026 flux-1-schnell-fp8 was reported "
        "to be a 404); the states of moderation in Kontext's `status`; how long its URLs last; "
        "the default ratio of FLUX; the sizes of SDXL"
    )

    def table_for(self, model: str) -> Table:
        """Return the family's table, by the last segment of the model's name."""
        return _family(model)[0]

    def flow(self, call: ImageCall) -> Flow:
        """Send one request; for Kontext, submit a job and poll it."""
        if self.table_for(call.model) is not _KONTEXT:
            return (yield from super().flow(call))
        submitted = self.build_request(call)
        reply = self.raise_for_status((yield submitted))
        if not (job := dig_str(reply.json(), "request_id")):
            raise ProviderError("The provider accepted the job but returned no id.")
        question = ProviderRequest(f"{submitted.path}/get_result", json={"id": job})
        reply = yield from poll(self, question, _is_finished, is_readable=_has_state, timeout=120)
        return self.parse_answer(call, reply)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request of the model's family."""
        path, body = _family(call.model)[1], dict(call.fields)
        headers = body.pop("headers", {"accept": "application/json"})
        return ProviderRequest(path.format(_full_name(call.model)), json=body, headers=headers)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images that were not filtered, in any of the formats."""
        del call
        in_bytes = stability_style.image_from_bytes(reply)
        ended = [in_bytes] if in_bytes else _in_json(reply.json())
        return stability_style.answer_from(ended, reply)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Return a clearer error for a 404: the model is not available."""
        if reply.status == HTTPStatus.NOT_FOUND:
            message = self.error_message(reply) or "no reason given"
            return error_from_reply(reply, message=f"this model is not available ({message})")
        return super().provider_error(reply)


def _family(model: str) -> tuple[Table, str]:
    """Return the table and the URL path of a model's family."""
    name = model.rpartition("/")[2]
    return next((table, path) for start, table, path in _FAMILIES if name.startswith(start))


def _full_name(model: str) -> str:
    """Return a model's full name; a short one belongs to Fireworks' own account."""
    full = model if "/" in model or not model else f"accounts/fireworks/models/{model}"
    return quote_model(full, safe="/", example="flux-1-schnell-fp8")


def _is_finished(reply: ProviderReply) -> bool:
    return dig_str(reply.json(), "status") in _FINAL_STATES


def _has_state(reply: ProviderReply) -> bool:
    return dig_str(reply.json(), "status") != ""


def _in_json(tree: Any) -> Iterator[stability_style.Outcome]:
    """Yield images with finish reasons, from an array, an object with a list, or a job."""
    for entry in tree if isinstance(tree, list) else [tree]:
        for b64 in (dig_str(entry, "base64"), *dig_list(entry, "base64")):
            # With or without the prefix `data:…;base64,`.
            content = b64.rpartition(",")[2] if isinstance(b64, str) else ""
            yield stability_style.image_from_json(entry, content)
    if status := dig_str(tree, "status"):
        yield status, Image.from_url(dig_str(tree, "result", "sample"))


ADAPTER = Fireworks()
