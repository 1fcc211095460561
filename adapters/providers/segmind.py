"""Segmind: polling, with a path and a body for each model.

    POST {base}/v2/{model}                    -> {"request_id"}
    GET  {base}/v2/requests/{id}/status       -> {"status"}; a 422 for a failed job
    GET  {base}/v2/requests/{id}              -> {"output"}
    POST {base}/v1/{model}                    with `segmind_api` = v1: image bytes

>>> from adapters.contract import ImageCall
>>> params = {"model": "flux-pro", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> sent = ADAPTER.build_request(ImageCall(params, made.fields))
>>> sent.path, sent.json
('/v2/flux-pro', {'prompt': 'a cube', 'width': 1536, 'height': 1024})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from adapters import errors
from adapters.bases.polling import PollingAdapter, poll
from adapters.contract import Answer, Credentials, Flow, Image, ImageCall, Option, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_str, find_urls, parse_json
from adapters.tools.url_paths import quote_model

_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4")
_FIELD_ERROR = re.compile(r"mandatory|required|must be|invalid|parameter", re.IGNORECASE)
_CREDIT_ERROR = re.compile(r"credit|spend", re.IGNORECASE)
_NOT_FOUND = re.compile(r"request .* not found", re.IGNORECASE)
_NOT_ACCEPTABLE, _GONE, _FAILED_JOB = 406, 410, 422

_ANY = (
    Param("prompt"),
    Param("negative_prompt"),
    Param("seed", kind=int, low=-1, note="-1 is random"),
    Param("num_inference_steps", kind=int, low=1),
    Param("guidance_scale", kind=float, low=0),
    Param("scheduler"),
    Param("image_format", choices=("png", "jpeg", "webp")),
    Param("image_quality", "quality", kind=int, low=1, high=100),
)
_SDXL = Table(
    (
        *_ANY,
        Param(
            "size",
            convert=sizes.pixels(
                low=256, high=2048, step=8, width="img_width", height="img_height"
            ),
        ),
        Param("style_preset", "style"),
        Param("strength", kind=float, low=0, high=1),
        Param("refiner", kind=bool),
        Param("high_noise_fraction", kind=float, low=0, high=1),
    )
)
_FLUX = Table((*_ANY, Param("size", convert=sizes.pixels(low=256, high=2048, step=16))))
_BY_RATIO = Table(
    (
        *_ANY,
        Param("size", convert=sizes.ratio(_RATIOS)),
        Param("aspect_ratio", pattern=r"[0-9]{1,3}:[0-9]{1,3}"),
    )
)


class Segmind(PollingAdapter):
    """Segmind's models. Their batch sizes differ, so each call generates one image."""

    id = "segmind"
    name = "Segmind"
    base_url = "https://api.segmind.com"
    docs = "https://docs.segmind.com/docs/serverless-api"
    tables_by_model = (
        (("sdxl", "sd1.5", "ssd-1b", "kandinsky"), _SDXL),
        (("flux", "fast-flux"), _FLUX),
        (("nano-banana", "ideogram", "seedream"), _BY_RATIO),
        ("", Table(_ANY)),
    )
    models = ("fast-flux-schnell", "nano-banana-2", "ideogram-4", "sdxl1.0-txt2img")
    options: ClassVar[tuple[Option, ...]] = (
        Option("segmind_api", "v2 (the default), or v1, without polling", pattern="v1|v2"),
    )
    url_lifetime = 7 * 86_400
    confidence = "medium"
    unconfirmed = (
        "each model's own fields, especially sizes; the list of models; the wording of refusals; "
        "the formats of `output`; the format of a rate limit's reset time"
    )
    refusal_pattern = re.compile(r"nsfw|safety|moderat|content policy|inappropriate", re.IGNORECASE)
    success_state, failed_states = "COMPLETED", frozenset({"FAILED"})

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as `x-api-key`; Segmind refuses a bearer token."""
        del request
        return {"x-api-key": credentials.api_key}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request at the model's path."""
        version = call.credentials["segmind_api"] or "v2"
        path = quote_model(call.model, example=self.models[0])
        return ProviderRequest(f"/{version}/{path}", json=call.fields)

    def flow(self, call: ImageCall) -> Flow:
        """Submit the job, poll it, and fetch the result, unless the first reply has it."""
        reply = self.raise_for_status((yield self.build_request(call)))
        if job := dig_str(reply.json(), "request_id"):
            path = f"/v2/requests/{quote(job, safe='')}"
            question = ProviderRequest(f"{path}/status", method="GET")
            reply = yield from poll(
                self,
                question,
                self.is_finished,
                is_readable=self.is_readable,
                interval=self.poll_interval,
                timeout=self.poll_timeout,
            )
            if self.parse_state(reply) == self.success_state:
                reply = self.raise_for_status((yield ProviderRequest(path, method="GET")))
        return self.parse_answer(call, reply)

    def is_finished(self, reply: ProviderReply) -> bool:
        """Whether the job's state is final, whatever the HTTP status."""
        return self.parse_state(reply) in {self.success_state, *self.failed_states}

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse image bytes, or the URLs in `output`."""
        del call
        seed = reply.headers.get("x-seed-value", "")
        extra = {"seed": int(seed)} if re.fullmatch(r"[0-9]{1,10}", seed) else {}
        if image := Image.from_reply(reply, **extra):
            return Answer((image,))
        tree = reply.json()
        if self.parse_state(reply) != "FAILED" and (
            found := find_urls(_parse_output(dig(tree, "output")))
        ):
            return Answer(tuple(map(Image.from_url, found)))
        raise (
            self.provider_error(reply)
            if self.parse_state(reply) == "FAILED"
            else self.no_image_error(reply)
        )

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message, if `error` is only a single word."""
        tree = reply.json()
        return (
            dig_str(tree, "error_description")
            or super().error_message(reply)
            or dig_str(tree, "html-message")
        )

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error by its message for a 406 or a failed job, whose status is unspecific."""
        found = super().provider_error(reply)
        message = self.error_message(reply)
        meant = 0
        if reply.status == _NOT_ACCEPTABLE:
            meant = 402 if _CREDIT_ERROR.search(message) else 400
        elif reply.status == _GONE:
            meant = 404
        elif _NOT_FOUND.match(message):
            meant = 502
        elif reply.status == _FAILED_JOB or self.parse_state(reply) == "FAILED":
            meant = 400 if _FIELD_ERROR.search(message) else 502
        if not meant or isinstance(found, errors.Refusal):
            return found
        return errors.error_from_reply(reply, message=message, status=meant)


def _parse_output(output: Any) -> Any:
    """Return the output, parsed if it is JSON in a string."""
    if isinstance(output, str) and output.startswith(("[", "{")):
        return parse_json(output)
    return output


ADAPTER = Segmind()
