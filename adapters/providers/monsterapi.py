"""MonsterAPI: polling, with a path for each model.

    POST {base}/generate/{model}        JSON -> {"process_id", "status_url"}
    GET  {base}/status/{process_id}     {"status", "result": {"output"}}

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("sdxl-base").translate({"prompt": "a cube", "size": "1536x1024"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "sdxl-base"}, made.fields))
>>> sent.path, sent.json
('/generate/sdxl-base', {'prompt': 'a cube', 'aspect_ratio': 'landscape', 'samples': 1})
"""

from __future__ import annotations

import re

from adapters.bases.polling import PollingAdapter
from adapters.contract import ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_str
from adapters.tools.url_paths import quote_model

_SHAPES = {"1:1": "square", "3:2": "landscape", "2:3": "portrait"}
_TABLE = Table(
    (
        Param("prompt"),
        Param("n", "samples", high=4, default=1),
        Param("size", convert=sizes.ratio(_SHAPES)),
        Param("aspect_ratio", choices=tuple(_SHAPES.values())),
        Param("negprompt"),
        Param("steps", kind=int, low=1),
        Param("guidance_scale", kind=float, low=0),
        Param("seed", kind=int),
        Param("style_preset", "style"),
        Param("moderation", "safe_filter", convert={"auto": True}),
        Param("safe_filter", kind=bool),
        Param("enhance", kind=bool),
        Param("optimize", kind=bool),
    )
)


class MonsterAPI(PollingAdapter):
    """MonsterAPI. `callback_url` is in no table, so it is never sent."""

    id = "monsterapi"
    name = "MonsterAPI"
    base_url = "https://api.monsterapi.ai/v1"
    docs = "https://github.com/Portkey-AI/gateway/tree/main/src/providers/monsterapi"
    tables_by_model = (("", _TABLE),)
    models = ("sdxl-base", "txt2img")
    url_lifetime = 3600
    confidence = "low"
    experimental = True
    unconfirmed = (
        "whether the service still exists; the models' names; the maximum of samples per call; the "
        "ratios of portrait and landscape; the reason of a failure; the format of errors and the "
        "wording of refusals; how long URLs last (one hour is assumed)"
    )
    refusal_pattern = re.compile("nsfw|moderat|unsafe|content policy", re.IGNORECASE)

    id_path = ("process_id",)
    poll_path = "/status/{}"
    success_state, failed_states = "COMPLETED", frozenset({"FAILED"})
    images_path = ("result", "output")
    poll_interval = 2.0

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that submits the process at the model's path."""
        path = quote_model(call.model, example=self.models[0])
        return ProviderRequest(f"/generate/{path}", json=call.fields)

    def error_message(self, reply: ProviderReply) -> str:
        """Return the reason of a failed process, or an error's message."""
        return dig_str(reply.json(), "result", "errorMessage") or super().error_message(reply)


ADAPTER = MonsterAPI()
