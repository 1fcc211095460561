"""Fireworks AI: three ways to a picture, by the family of the model.

    POST {base}/workflows/{model}/text_to_image       FLUX.1: raw bytes, their type by `Accept`
    POST {base}/workflows/{model}                     FLUX.1 Kontext: a job, then
    POST {base}/workflows/{model}/get_result          … asked for until it is settled
    POST {base}/image_generation/{model}              SDXL and the like: a JSON array

A filtered picture is an HTTP 200 that says so in a header, in an entry or in the job's status.

>>> from adapters.contract import ImageCall
>>> params = {"model": "flux-1-schnell-fp8", "prompt": "a cube", "output_format": "jpeg"}
>>> made = ADAPTER.table(params["model"]).translate(params)
>>> request = ADAPTER.request(ImageCall(params, made.fields))
>>> request.path
'/workflows/accounts/fireworks/models/flux-1-schnell-fp8/text_to_image'
>>> request.json, request.headers
({'prompt': 'a cube'}, {'accept': 'image/jpeg'})
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from adapters.contract import (
    Adapter,
    Answer,
    Flow,
    Image,
    ImageCall,
    ProviderReply,
    ProviderRequest,
)
from adapters.errors import ProviderError, failure, no_picture, refusal, told
from adapters.params import Param, Table
from adapters.paths import model_path
from adapters.polling import poll
from adapters.reading import at, items_at, text_at
from adapters.sizes import pixels, ratio, reduced_ratio

_RATIOS = ("1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4")
_SEED = Param("seed", kind=int, low=0)
_SAFETY_CHECK = Param("safety_check", kind=bool)

# What stands below `headers` goes there; the rest is the body.
_FLUX = Table(
    (
        Param("prompt"),
        Param("size", to=ratio(_RATIOS)),
        Param("aspect_ratio", choices=_RATIOS),
        Param(
            "output_format",
            "headers.accept",
            to={"png": "image/png", "jpeg": "image/jpeg"},
            default="image/png",
        ),
        Param(
            "output_compression",
            kind=int,
            to=lambda percent: {"headers.jpeg-quality": str(percent)},
        ),
        Param("num_inference_steps", kind=int, low=1),
        Param("guidance_scale", kind=float, low=0),
        _SEED,
        _SAFETY_CHECK,
    )
)
_KONTEXT = Table(
    (
        Param("prompt"),
        Param("size", to=reduced_ratio()),
        Param("aspect_ratio", pattern=r"[1-9]\d?:[1-9]\d?"),
        Param("output_format", choices=("png", "jpeg")),
        Param("input_image", about="a URL or a data: URL"),
        Param("prompt_upsampling", kind=bool),
        Param("safety_tolerance", kind=int, low=0, high=6),
        _SEED,
    )
)
_SDXL = Table(
    (
        Param("prompt"),
        Param("negative_prompt"),
        Param("size", to=pixels(low=512, high=1024, step=8)),
        Param("n", "samples", kind=int, low=1, high=10),
        Param("cfg_scale", kind=float, low=0),
        Param("sampler"),
        Param("steps", kind=int, low=10, high=150),
        Param("lora_adapter_name"),
        Param("lora_weight_filename"),
        Param("seed", kind=int, low=0, high=4_294_967_295),
        _SAFETY_CHECK,
    )
)

# How a job or a picture can end. The names of moderation are those of the maker of FLUX.
_DONE = frozenset({"Ready"})
_FILTERED = frozenset({"Request Moderated", "Content Moderated"})
_FAILED = frozenset({"Error", "Failed", "Task not found"})
_SETTLED = _DONE | _FILTERED | _FAILED
_GOOD = ("", "SUCCESS")
_CONTENT_FILTERED = "CONTENT_FILTERED"


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
    )
    unconfirmed = (
        "whether the image models are still offered (late in 2026 one project got a 404 for "
        "flux-1-schnell-fp8); the names of moderation in Kontext's `status`"
    )

    def table(self, model: str) -> Table:
        """Give the table of the family, by the last part of the model's name."""
        return _family(model)

    def flow(self, call: ImageCall) -> Flow:
        """Ask once; for Kontext, submit and wait."""
        if _family(call.model) is not _KONTEXT:
            return (yield from super().flow(call))
        reply = self.checked((yield self.request(call)))
        if not (job := text_at(reply.json(), "request_id")):
            raise ProviderError("The provider took the job without giving it an id.")
        question = ProviderRequest(f"/workflows/{_path(call)}/get_result", json={"id": job})
        reply = yield from poll(self, question, _is_settled, limit=120)
        return self.answer(call, reply)

    def request(self, call: ImageCall) -> ProviderRequest:
        """Give the request of the model's family."""
        family, body = _family(call.model), dict(call.fields)
        headers = body.pop("headers", {})
        if family is _FLUX:
            return ProviderRequest(
                f"/workflows/{_path(call)}/text_to_image", json=body, headers=headers
            )
        place = "workflows" if family is _KONTEXT else "image_generation"
        headers = {"accept": "application/json"}
        return ProviderRequest(f"/{place}/{_path(call)}", json=body, headers=headers)

    def answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the pictures that were not filtered, whichever way they came."""
        del call
        if reply.media_type.startswith("image/") and reply.body:
            return Answer((_picture(reply),))
        tree = reply.json()
        if images := tuple(_pictures(tree)):
            return Answer(images)
        ends = {text_at(one, "finishReason") for one in (tree, *_entries(tree))}
        ends.add(text_at(tree, "status"))
        if ends & (_FILTERED | {_CONTENT_FILTERED}):
            raise refusal("the picture was filtered", provider_status=reply.status)
        if ends & (_FAILED | {"ERROR"}):
            raise ProviderError("The provider's job failed.", provider_status=reply.status)
        raise no_picture(reply.status)

    def error(self, reply: ProviderReply) -> ProviderError:
        """Say of a 404 what it means here: that the model is not, or no longer, offered."""
        if reply.status == HTTPStatus.NOT_FOUND:
            said = told(reply) or "no reason given"
            return failure(reply, message=f"this model is not available ({said})")
        return failure(reply)


def _family(model: str) -> Table:
    last = model.rpartition("/")[2]
    if last.startswith("flux-kontext"):
        return _KONTEXT
    return _FLUX if last.startswith("flux-") else _SDXL


def _path(call: ImageCall) -> str:
    """Write the model's full name; a short one is of Fireworks' own account."""
    model = call.model
    full = model if "/" in model or not model else f"accounts/fireworks/models/{model}"
    return model_path(full, safe="/", example="flux-1-schnell-fp8")


def _is_settled(reply: ProviderReply) -> bool:
    return text_at(reply.json(), "status") in _SETTLED


def _picture(reply: ProviderReply) -> Image:
    """Read a picture that came as bytes; what became of it stands in the headers."""
    finish, seed = reply.headers.get("finish-reason", ""), reply.headers.get("seed", "")
    if finish == _CONTENT_FILTERED:
        raise refusal("the picture was filtered", provider_status=reply.status)
    if finish not in _GOOD:
        raise ProviderError(f"The provider answered: {finish}", provider_status=reply.status)
    extra = {"seed": int(seed)} if seed.isdecimal() else {}
    return Image(data=reply.body, media_type=reply.media_type, extra=extra)


def _pictures(tree: Any) -> Iterator[Image]:
    """Give the pictures of a JSON reply: an array, an object with base64, or a job's sample."""
    for entry in _entries(tree):
        b64, seed = text_at(entry, "base64"), at(entry, "seed")
        if b64 and text_at(entry, "finishReason") in _GOOD:
            yield _opened(b64, seed)
    if text_at(tree, "finishReason") in _GOOD:
        for b64 in items_at(tree, "base64"):
            if b64 and isinstance(b64, str):
                yield _opened(b64, at(tree, "seed"))
    if text_at(tree, "status") in _DONE and (sample := text_at(tree, "result", "sample")):
        yield Image.at(sample)


def _entries(tree: Any) -> list[Any]:
    return tree if isinstance(tree, list) else []


def _opened(b64: str, seed: Any) -> Image:
    """Read base64 with or without `data:…;base64,` before it."""
    return Image(b64=b64.rpartition(",")[2], extra={"seed": seed} if isinstance(seed, int) else {})


ADAPTER = Fireworks()
