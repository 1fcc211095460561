"""Alibaba's DashScope (Model Studio): Qwen-Image, Wan and Z-Image; older models by polling.

    POST {base}/services/aigc/multimodal-generation/generation     -> {"output": {"choices"}}
    POST {base}/services/aigc/text2image/image-synthesis           -> {"output": {"task_id"}}
    GET  {base}/tasks/{task_id}                                    -> {"output": {"results"}}

A failure has its `code` at the top level, or in `output` for a failed task; both can be a 200.

>>> from adapters.contract import ImageCall
>>> params = {"model": "qwen-image-2.0", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json["parameters"]
{'size': '1536*1024', 'n': 1}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import orjson

from adapters import errors
from adapters.bases.polling import PollingAdapter
from adapters.contract import Answer, Credentials, Image, ImageCall, Option, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list, dig_str, parse_usage, without_none
from adapters.tools.url_paths import quote_segment, require_model

_HOSTS = {"cn": "dashscope", "intl": "dashscope-intl", "us": "dashscope-us"}
_QWEN_1_SIZES = "1664x928 1472x1104 1328x1328 1104x1472 928x1664"
_TASKS = ("wan2.5-", "wan2.2-", "wanx", "flux-")
"""Models that exist only in the older protocol, with tasks."""


def _user_message(text: str) -> dict[str, Any]:
    return {"input.messages": [{"role": "user", "content": [{"text": text}]}]}


def _pixels(low: int, high: int, min_side: int, max_side: int) -> sizes.Converter:
    """Return a converter with bounds for each side and, as sides of a square, for the area."""
    return sizes.pixels(
        low=low,
        high=high,
        min_pixels=min_side * min_side,
        max_pixels=max_side * max_side,
        combined="parameters.size",
        separator="*",
    )


_COMMON = (
    Param("seed", kind=int, low=0, high=2_147_483_647),
    Param("prompt_extend", kind=bool),
    Param("watermark", kind=bool),
)


def _table(size: sizes.Converter, *rows: Param, n: int = 4, tasks: bool = False) -> Table:
    """Return a table that always sends size and n: the defaults are 2048*2048 and four images."""
    return Table(
        (
            Param("prompt", "input.prompt") if tasks else Param("prompt", convert=_user_message),
            Param(
                "size",
                "parameters.size",
                convert=size,
                own=r"[1-9]\d{2,3}\*[1-9]\d{2,3}",
                default="1024x1024",
            ),
            *nested_under("parameters", *([Param("n", high=n, default=1)] if n else []), *_COMMON),
            *rows,
        ),
        unknown_under="parameters",
    )


_NEGATIVE = Param("negative_prompt", high=500)
_PARAMETERS_NEGATIVE = nested_under("parameters", _NEGATIVE)
_INPUT_NEGATIVE = nested_under("input", _NEGATIVE)
_WAN_27_ONLY = nested_under(
    "parameters", Param("enable_sequential", kind=bool), Param("thinking_mode", kind=bool)
)

_QWEN = _table(_pixels(512, 4096, 512, 2048), *_PARAMETERS_NEGATIVE, n=6)
_QWEN_1 = _table(
    sizes.nearest_size(_QWEN_1_SIZES.split(), field="parameters.size", separator="*"),
    *_PARAMETERS_NEGATIVE,
    n=1,
)
_WAN_27 = _table(_pixels(384, 3072, 768, 2048), *_WAN_27_ONLY)
_WAN_27_PRO = _table(_pixels(512, 4096, 768, 4096), *_WAN_27_ONLY)
_WAN_26 = _table(_pixels(720, 2560, 1280, 1440))
_WAN_25 = _table(_pixels(720, 2560, 1280, 1440), *_INPUT_NEGATIVE, tasks=True)
_WAN_2 = _table(_pixels(512, 1440, 512, 1440), *_INPUT_NEGATIVE, tasks=True)
_Z_IMAGE = _table(_pixels(512, 4096, 512, 2048), n=0)


class DashScope(PollingAdapter):
    """DashScope, in the region of the API key."""

    id = "dashscope"
    name = "Alibaba DashScope"
    base_url = "https://dashscope-intl.aliyuncs.com/api/v1"
    docs = "https://www.alibabacloud.com/help/en/model-studio/qwen-image-generation-and-editing-api-reference"
    tables_by_model = (
        (("qwen-image-max", "qwen-image-plus", "qwen-image-edit"), _QWEN_1),
        ("qwen-image-", _QWEN),
        ("qwen-image", _QWEN_1),
        ("wan2.7-image-pro", _WAN_27_PRO),
        ("wan2.6-", _WAN_26),
        ("wan2.5-", _WAN_25),
        (_TASKS, _WAN_2),
        ("wan", _WAN_27),
        ("z-image", _Z_IMAGE),
        ("", _QWEN),
    )
    models = (
        "qwen-image-3.0",
        "qwen-image-3.0-pro",
        "qwen-image-2.1-pro",
        "qwen-image-2.0",
        "qwen-image-2.0-pro",
        "wan2.7-image-pro",
        "wan2.7-image",
        "wan2.6-t2i",
        "z-image-turbo",
        "qwen-image-max",
        "qwen-image-plus",
        "wan2.5-t2i-preview",
        "wan2.2-t2i-plus",
        "wan2.2-t2i-flash",
        "wanx2.1-t2i-plus",
        "wanx2.1-t2i-turbo",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option("dashscope_region", "cn, intl (the default) or us", pattern="cn|intl|us"),
        Option(
            "dashscope_workspace_id",
            "the workspace id",
            sent_as="x-dashscope-workspace",
            pattern=r"[A-Za-z0-9_-]{1,64}",
        ),
    )
    url_lifetime = 86_400
    confidence = "medium"
    unconfirmed = (
        "n of qwen-image-max and of wan2.2 and older; thinking_mode; the ratios of wan2.7; "
        "the error of one failed image of several; Retry-After on a 429"
    )
    status_by_code: ClassVar[Mapping[str, int]] = {
        "InvalidApiKey": 401,
        "AccessDenied": 403,
        "Arrearage": 402,
        "ModelNotFound": 404,
        "Model.NotExist": 404,
        "Invalid": 400,
        "DataInspectionFailed": errors.REFUSED,
        "IPInfringementSuspect": errors.REFUSED,
        "Throttling": 429,
        "Throttling.AllocationQuota": 402,
        "InternalError": 500,
        "InternalError.Timeout": 504,
        "SystemError": 500,
    }
    state_path = ("output", "task_status")
    success_state = "SUCCEEDED"
    # UNKNOWN is a task that has expired, or was never submitted.
    failed_states = frozenset({"FAILED", "CANCELED", "UNKNOWN"})
    poll_interval = 3.0

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the region's URL, since keys are valid in one region only."""
        host = _HOSTS[credentials["dashscope_region"] or "intl"]
        return f"https://{host}.aliyuncs.com/api/v1"

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as a bearer token, and the workspace."""
        workspace = credentials["dashscope_workspace_id"]
        headers = {"x-dashscope-workspace": workspace} if workspace else {}
        return {**super().sign(request, credentials), **headers}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request for images, or for a task that generates them."""
        body = {"model": require_model(call.model, example=self.models[0]), **call.fields}
        if call.model.startswith(_TASKS):
            headers = {"x-dashscope-async": "enable"}
            path = "/services/aigc/text2image/image-synthesis"
            return ProviderRequest(path, json=body, headers=headers)
        return ProviderRequest("/services/aigc/multimodal-generation/generation", json=body)

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Return the poll of the task; None if the reply has the images."""
        del call
        path = _task(reply)
        return ProviderRequest(path, method="GET") if path and not self.is_finished(reply) else None

    def build_cancel_request(
        self, call: ImageCall, submitted: ProviderReply
    ) -> ProviderRequest | None:
        """Return the cancellation, which DashScope refuses once the task has left the queue."""
        del call
        path = _task(submitted)
        return ProviderRequest(f"{path}/cancel") if path else None

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images of either protocol. Raises `ProviderError` if there are none."""
        del call
        tree = reply.json()
        if images := tuple(_images(tree)):
            return Answer(images, usage=parse_usage(tree, "usage"))
        # The error of one failed image has the format of a whole reply.
        lost = (ProviderReply(reply.status, body=orjson.dumps(it)) for it in _results(tree))
        for failed in (reply, *lost):
            if any(errors.find_error_codes(failed)):
                raise self.provider_error(failed)
        if (state := self.parse_state(reply)) not in ("", self.success_state):
            raise errors.error_from_reply(reply, message=f"the task is {state}", status=502)
        raise errors.no_image_error(reply.status)


def _task(reply: ProviderReply) -> str:
    """Return the URL path of a task, "" if the reply has none."""
    task = quote_segment(dig_str(reply.json(), "output", "task_id"))
    return f"/tasks/{task}" if task else ""


def _results(tree: Any) -> list[Any]:
    return dig_list(tree, "output", "results")


def _images(tree: Any) -> Iterator[Image]:
    """Yield all images; they are in one choice or in a choice each."""
    for choice in dig_list(tree, "output", "choices"):
        for content in dig_list(choice, "message", "content"):
            if url := dig_str(content, "image"):
                yield Image.from_url(url)
    for result in _results(tree):
        extra = without_none(revised_prompt=dig_str(result, "actual_prompt") or None)
        if url := dig_str(result, "url"):
            yield Image.from_url(url, **extra)
        elif b64 := dig_str(result, "b64_image"):
            yield Image(b64=b64, extra=extra)


ADAPTER = DashScope()
