"""Leonardo: its own models by UUID in the v1 API, other vendors' by name in v2.

    POST {base}/v1/generations          JSON -> {"sdGenerationJob": {"generationId"}}
    POST {base}/v2/generations          JSON, parameters nested in an object -> {…}
    GET  {base}/v1/generations/{id}     {"generations_by_pk": {"status", "generated_images"}}

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("nano-banana-2").translate({"prompt": "a cube", "size": "1024x1024"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "nano-banana-2"}, made.fields))
>>> sent.path, sent.json["parameters"]
('/v2/generations', {'prompt': 'a cube', 'width': 1024, 'height': 1024, 'quantity': 1})
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from adapters.bases.polling import PollingAdapter
from adapters.contract import Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list, dig_str, find_str
from adapters.tools.url_paths import quote_segment, require_model

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PUBLIC = Param("public", kind=bool, default=False, note="whether the image is public")

_V1 = Table(
    (
        Param("prompt"),
        # Leonardo's own default is four images, all of them billed.
        Param("n", "num_images", high=4, default=1),
        Param("size", convert=sizes.pixels(low=32, high=1536, step=8), default="1024x1024"),
        Param(
            "background",
            "transparency",
            convert={"transparent": "foreground_only", "opaque": "disabled"},
        ),
        Param("transparency", choices=("disabled", "foreground_only")),
        Param("negative_prompt"),
        Param("seed", kind=int),
        Param("num_inference_steps", kind=int, low=10, high=60),
        Param("guidance_scale", kind=float, low=1, high=20),
        Param("presetStyle"),
        Param("styleUUID"),
        Param("contrast", kind=float),
        Param("alchemy", kind=bool),
        Param("ultra", kind=bool),
        Param("enhancePrompt", kind=bool),
        Param("tiling", kind=bool),
        Param("photoReal", kind=bool),
        Param("init_image_id"),
        Param("controlnets", kind=list),
        Param("elements", kind=list),
        _PUBLIC,
    )
)
_V2_SIZE = sizes.pixels(low=32, high=4096, width="parameters.width", height="parameters.height")
_V2 = Table(
    (
        *nested_under("parameters", Param("prompt"), Param("n", "quantity", high=4, default=1)),
        Param("size", convert=_V2_SIZE, default="1024x1024"),
        *nested_under(
            "parameters",
            Param("seed", kind=int),
            Param("mode"),
            Param("style_ids", kind=list),
            Param("prompt_enhance", choices=("OFF", "AUTO", "ON")),
            Param("guidances", kind=dict),
        ),
        _PUBLIC,
    ),
    unknown_under="parameters",
)
_QUALITY = nested_under("parameters", Param("quality", choices=("low", "medium", "high")))
_GPT = Table((*_V2.rows, *_QUALITY), unknown_under=_V2.unknown_under)


class Leonardo(PollingAdapter):
    """Leonardo's production API. Webhooks are configured per key; no parameter sets one."""

    id = "leonardo"
    name = "Leonardo.Ai"
    base_url = "https://cloud.leonardo.ai/api/rest"
    docs = "https://docs.leonardo.ai"
    # The first prefix matches no name, because `table_for` goes by the form of the whole name.
    tables_by_model = (("(a UUID)", _V1), ("gpt-image", _GPT), ("", _V2))
    models = (
        "7b592283-e8a7-4c5a-9ba6-d18c31f258b9",  # Lucid Origin
        "05ce0082-2d80-4a2d-8653-4d1c85e2418e",  # Lucid Realism
        "de7d3faf-762f-48e0-b3b7-9d0ac3a3fcf3",  # Phoenix 1.0
        "nano-banana-2",
        "recraft-v4",
        "ideogram-v3.0",
        "krea-2-turbo",
    )
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "the reply to a v2 submission; sizes and qualities of v2's models; 5 to 8 images per call; "
        "a limit of 1500 characters for v1's prompts; statuses and codes of errors; how long URLs "
        "last (one hour is assumed)"
    )
    refusal_pattern = re.compile("moderat|nsfw|content policy", re.IGNORECASE)
    status_by_phrase = {
        "authorization hook": 401,
        "unauthorized": 401,
        "not enough api tokens": 402,
        "rate limit": 429,
        "concurren": 429,
    }
    status_by_code = {"access-denied": 401, "validation-failed": 400}

    state_path = ("generations_by_pk", "status")
    poll_path = "/v1/generations/{}"
    success_state, failed_states = "COMPLETE", frozenset({"FAILED"})
    poll_interval = 2.0

    def table_for(self, model: str) -> Table:
        """Return v1's table for a UUID, a model of Leonardo's own, else v2's."""
        return _V1 if _UUID.fullmatch(model) else super().table_for(model)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that submits the job, in the model's API version."""
        model = require_model(call.model, example=self.models[0])
        if _UUID.fullmatch(model):
            return ProviderRequest("/v1/generations", json={"modelId": model, **call.fields})
        return ProviderRequest("/v2/generations", json={"model": model, **call.fields})

    def parse_job_id(self, reply: ProviderReply) -> str:
        """Return the job's id, which each version has at another path."""
        return quote_segment(find_str(reply.json(), "generationId")) or super().parse_job_id(reply)

    def parse_images(self, reply: ProviderReply) -> Iterator[Image]:
        """Yield the images; one marked as unsafe is delivered with the mark."""
        for made in dig_list(reply.json(), "generations_by_pk", "generated_images"):
            if url := dig_str(made, "url"):
                marked = isinstance(made, dict) and made.get("nsfw") is True
                yield Image(url=url, extra={"nsfw": True} if marked else {})


ADAPTER = Leonardo()
