"""Novita AI: a path for each model; most of them are polled.

    POST {base}/v3beta/flux-1-schnell            -> {"images"}
    POST {base}/v3/async/{model}                 -> {"task_id"}
    POST {base}/v3/async/txt2img                 for checkpoints, `*.safetensors` -> {"task_id"}
    GET  {base}/v3/async/task-result?task_id=    -> {"task", "images"}

>>> from adapters.contract import ImageCall
>>> params = {"model": "z-image-turbo", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> sent = ADAPTER.build_request(ImageCall(params, made.fields))
>>> sent.path, sent.json
('/v3/async/z-image-turbo', {'prompt': 'a cube', 'size': '1536*1024'})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from adapters import errors
from adapters.bases.polling import PollingAdapter
from adapters.contract import Answer, Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list, dig_str
from adapters.tools.url_paths import quote_model

_CHECKPOINTS = (".safetensors", ".ckpt")
_FORMATS = ("png", "webp", "jpeg")

_SCHNELL = Table(
    (
        Param("prompt"),
        Param("size", convert=sizes.pixels(low=64, high=2048), default="1024x1024"),
        Param("n", "image_num", high=8, default=1),
        Param("steps", kind=int, low=1, high=100, default=4),
        Param("seed", kind=int, low=0, high=4_294_967_295),
        Param("output_format", "response_image_format", choices=_FORMATS),
    )
)
_NAMED = Table(
    (
        Param("prompt"),
        Param("size", convert=sizes.pixels(low=256, high=1536, combined="size", separator="*")),
        Param("seed", kind=int, low=-1, high=2_147_483_647),
    )
)


# Required parameters without a default get the values of Novita's own client.
_CHECKPOINT = Table(
    (
        *nested_under("request", Param("prompt"), Param("negative_prompt")),
        Param(
            "size",
            convert=sizes.pixels(
                low=128, high=2048, width="request.width", height="request.height"
            ),
            default="1024x1024",
        ),
        Param("n", "request.image_num", high=8, default=1),
        *nested_under(
            "extra",
            Param("output_format", "response_image_type", choices=_FORMATS),
            Param("enable_nsfw_detection", kind=bool),
            Param("nsfw_detection_level", kind=int, low=0, high=2),
        ),
        *nested_under(
            "request",
            Param("steps", kind=int, low=1, high=100, default=20),
            Param("guidance_scale", kind=float, low=1, high=30, default=7.5),
            Param("sampler_name", default="Euler a"),
            Param("seed", kind=int, low=-1, default=-1),
            Param("clip_skip", kind=int, low=1, high=12),
            Param("sd_vae"),
            Param("loras", kind=list),
            Param("embeddings", kind=list),
            Param("refiner", kind=dict),
            Param("hires_fix", kind=dict),
        ),
    ),
    unknown_under="request",
)


class NovitaAI(PollingAdapter):
    """Novita's image models, each at its own path."""

    id = "novita-ai"
    name = "Novita AI"
    base_url = "https://api.novita.ai"
    docs = "https://novita.ai/docs/api-reference/model-apis-z-image-turbo"
    tables_by_model = (("flux-1-schnell", _SCHNELL), ("", _NAMED))
    models = (
        "z-image-turbo",
        "flux-1-schnell",
        "qwen-image-txt2img",
        "hunyuan-image-3",
        "flux-1-kontext-dev",
        "sd_xl_base_1.0.safetensors",
    )
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "parameters of models without a table; the paths of seedream-* and Qwen-Image; "
        "the response of flux-1-schnell; the format of errors and failed tasks; the wording of "
        "refusals without a code; the limits of size and n on flux-1-schnell and txt2img; "
        "whether every URL lasts an hour"
    )
    # https://novita.ai/docs/api-reference/basic-error-code
    status_by_code: ClassVar[Mapping[str, int]] = {
        "ILLEGAL_PROMPT": errors.REFUSED,
        "ILLEGAL_IMAGE_CONTENT": errors.REFUSED,
        "API_NOT_FOUND": 404,
        "BILLING_BALANCE_NOT_ENOUGH": 402,
        "BILLING_AUTH_FAILED": 403,
        "MISSING_API_KEY": 401,
        "INVALID_API_KEY": 401,
        "RATE_LIMIT_EXCEEDED": 429,
        "TASK_NOT_FOUND": 502,
    }
    refusal_pattern = errors.REFUSAL_WORDS
    state_path = ("task", "status")
    success_state, failed_states = "TASK_STATUS_SUCCEED", frozenset({"TASK_STATUS_FAILED"})
    progress_path, progress_max = ("task", "progress_percent"), 100.0

    def table_for(self, model: str) -> Table:
        """Return the model's table; a checkpoint is recognised by its suffix."""
        return _CHECKPOINT if model.endswith(_CHECKPOINTS) else super().table_for(model)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request at the model's path; checkpoints share one."""
        if call.model.endswith(_CHECKPOINTS):
            asked = {**call.fields.get("request", {}), "model_name": call.model}
            return ProviderRequest("/v3/async/txt2img", json={**call.fields, "request": asked})
        path = quote_model(call.model, example=self.models[0])
        prefix = "/v3/async"
        if path.startswith(("flux-1-schnell", "seedream")):
            prefix = "/v3beta" if path.startswith("flux") else "/v3"
        return ProviderRequest(f"{prefix}/{path}", json=call.fields)

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Return the poll of the task; None if the reply has the images."""
        del call
        tree = reply.json()
        task = dig_str(tree, "task_id") or dig_str(tree, "task", "task_id")
        if not task or _image_urls(tree):
            return None
        path = f"/v3/async/task-result?task_id={quote(task, safe='')}"
        return ProviderRequest(path, method="GET")

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images. Raises `ProviderError` with a failed task's `reason`."""
        del call
        tree = reply.json()
        if urls := _image_urls(tree):
            return Answer(tuple(map(Image.from_url, urls)))
        if any(errors.find_error_codes(reply)):
            raise self.provider_error(reply)
        state = self.parse_state(reply).removeprefix("TASK_STATUS_")
        if state not in ("", "SUCCEED"):
            raise errors.error_from_reply(reply, message=f"the task is {state}", status=502)
        raise errors.no_image_error(reply.status)


def _image_urls(tree: Any) -> list[str]:
    """Return the images' URLs, which are in objects or, for some models, in a plain list."""
    listed = [dig_str(image, "image_url") for image in dig_list(tree, "images")]
    plain = (url for url in dig_list(tree, "image_urls") if isinstance(url, str))
    return [url for url in (*listed, *plain) if url]


ADAPTER = NovitaAI()
