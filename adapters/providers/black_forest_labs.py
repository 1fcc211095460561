"""Black Forest Labs: submit a job, then poll the URL in the reply.

    POST {base}/{model}      JSON -> {"id", "polling_url"}
    GET  {polling_url}       on a subdomain of bfl.ai -> {"status", "result"}

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("flux-pro-1.1").translate({"prompt": "a cube", "size": "1792x1024"})
>>> ADAPTER.build_request(ImageCall({"model": "flux-pro-1.1"}, made.fields)).json
{'prompt': 'a cube', 'width': 1440, 'height': 832}
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from adapters import errors
from adapters.bases.polling import PollingAdapter, poll
from adapters.contract import Answer, Credentials, Flow, Image, ImageCall, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_str, dig_typed, without_none
from adapters.tools.url_paths import quote_model

_NOT_FOUND = "Task not found"
_NOT_FOUND_LIMIT = 5
"""How often a poll may not find the task: its record can lag behind the submission."""

_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16")
_ASPECT = Param("aspect_ratio", pattern=r"[0-9]{1,4}:[0-9]{1,4}")
_COMMON = (Param("prompt"), Param("seed", kind=int))
_UPSAMPLING = Param("prompt_upsampling", kind=bool)
_STEPS = Param("steps", kind=int, low=1, high=50)


def _safety(maximum: int) -> tuple[Param, Param]:
    """Return the rows for moderation; `low` becomes the family's maximum tolerance."""
    return (
        Param("moderation", "safety_tolerance", convert={"low": maximum}),
        Param("safety_tolerance", kind=int, low=0, high=maximum),
    )


def _guidance(maximum: int) -> Param:
    return Param("guidance", kind=float, low=1.5, high=maximum)


def _input_images(count: int) -> tuple[Param, ...]:
    """Return the rows input_image, input_image_2 and so on."""
    others = (Param(f"input_image_{number}") for number in range(2, count + 1))
    return (Param("input_image"), *others)


_FLUX_1 = (
    *(*_COMMON, *_safety(6), _UPSAMPLING),
    Param("output_format", choices=("jpeg", "png")),
)
_PRO = (
    *_FLUX_1,
    # BFL's own defaults are 1024x768, and 16:9 for ultra.
    Param("size", convert=sizes.pixels(low=256, high=1440, step=32), default="1024x1024"),
    Param("image_prompt"),
)
_ULTRA = (
    *_FLUX_1,
    Param(
        "size", convert=sizes.reduced_ratio(), default="1024x1024", default_unless=("aspect_ratio",)
    ),
    _ASPECT,
    Param("raw", kind=bool),
    Param("image_prompt"),
    Param("image_prompt_strength", kind=float, low=0, high=1),
)
_KONTEXT = (*_FLUX_1, Param("size", convert=sizes.ratio(_RATIOS)), _ASPECT, *_input_images(4))
_FLUX_2 = (
    *(*_COMMON, *_safety(5)),
    Param("output_format", choices=("jpeg", "png", "webp")),
    Param("size", convert=sizes.pixels(low=64, high=99_999, step=16, max_pixels=2048 * 2048)),
)
_FAMILIES = (
    ("flux-2-flex", Table((*_FLUX_2, *_input_images(8), _UPSAMPLING, _STEPS, _guidance(10)))),
    ("flux-2-klein", Table((*_FLUX_2, *_input_images(4)))),
    ("flux-pro-1.1-ultra", Table(_ULTRA)),
    ("flux-pro", Table(_PRO)),
    ("flux-dev", Table((*_PRO, _STEPS, _guidance(5)))),
    ("flux-kontext", Table(_KONTEXT)),
    ("", Table((*_FLUX_2, *_input_images(8)))),
)


class BlackForestLabs(PollingAdapter):
    """The BFL API. Webhook parameters are in no table, so they are never sent."""

    id = "black-forest-labs"
    name = "Black Forest Labs"
    base_url = "https://api.bfl.ai/v1"
    docs = "https://docs.bfl.ai"
    tables_by_model = _FAMILIES
    models = (
        "flux-2-pro",
        "flux-2-max",
        "flux-2-flex",
        "flux-2-klein-9b",
        "flux-2-klein-4b",
        "flux-2-pro-preview",
        "flux-2-klein-9b-preview",
        "flux-pro-1.1",
        "flux-pro-1.1-ultra",
        "flux-dev",
        "flux-kontext-pro",
        "flux-kontext-max",
    )
    credential_domains = ("bfl.ai",)
    url_lifetime = 600
    success_state = "Ready"
    failed_states = frozenset({"Request Moderated", "Content Moderated", "Error", "Failed"})
    progress_path = ("progress",)
    poll_interval = 0.5
    unconfirmed = (
        "the format of a 4xx other than 422; Retry-After on a 429; the list of delivery hosts; "
        "webp from FLUX.1"
    )

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as `x-key`."""
        del request
        return {"x-key": credentials.api_key}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Submit the job."""
        return ProviderRequest(
            "/" + quote_model(call.model, example="flux-2-pro"), json=call.fields
        )

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest:
        """Return the poll at the URL in the reply, because only that region has the task."""
        del call
        if not (url := dig_str(reply.json(), "polling_url")):
            raise errors.no_image_error(reply.status)
        return ProviderRequest(url=url, method="GET")

    def flow(self, call: ImageCall) -> Flow:
        """Submit and poll; a task that is not found yet is polled a few times more."""
        reply = self.raise_for_status((yield self.build_request(call)))
        request = self.build_poll_request(call, reply)
        for _ in range(_NOT_FOUND_LIMIT):
            reply = yield from poll(
                self,
                request,
                self.is_finished,
                is_readable=self.is_readable,
                interval=self.poll_interval,
            )
            if self.parse_state(reply) != _NOT_FOUND:
                break
        return self.parse_answer(call, reply)

    def is_finished(self, reply: ProviderReply) -> bool:
        """Whether a task has finished or was not found, whatever the HTTP status."""
        return self.parse_state(reply) == _NOT_FOUND or super().is_finished(reply)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse a finished task; `revised_prompt` is set only if the prompt was changed."""
        tree, state = reply.json(), self.parse_state(reply)
        if state.endswith("Moderated"):
            raise errors.refusal(_reason(tree, state), provider_status=reply.status)
        if state != self.success_state:
            raise errors.error_from_reply(reply, message=_reason(tree, state), status=502)
        if not (sample := dig_str(tree, "result", "sample")):
            raise errors.no_image_error(reply.status)
        prompt = dig_str(tree, "result", "prompt")
        revised = prompt if prompt != call.fields.get("prompt") else ""
        extra = without_none(
            seed=dig_typed(tree, "result", "seed", kind=int), revised_prompt=revised or None
        )
        return Answer((Image.from_url(sample, **extra),))

    def error_message(self, reply: ProviderReply) -> str:
        """Return `message` if there is one, since `error` may be only a code."""
        return dig_str(reply.json(), "message") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return a 401 for a 403, which BFL sends for a wrong key."""
        if reply.status == HTTPStatus.FORBIDDEN:
            message = self.error_message(reply)
            return errors.error_from_reply(reply, message=message, status=HTTPStatus.UNAUTHORIZED)
        return super().provider_error(reply)


def _reason(tree: Any, state: str) -> str:
    """Return the state with its `details`, which are a text or lists of texts by topic."""
    topics = (dig_typed(tree, "details", kind=dict) or {}).values()
    listed = (word for words in topics if isinstance(words, list) for word in words)
    words = [dig_str(tree, "details"), *(word for word in listed if isinstance(word, str))]
    details = ", ".join(filter(None, words))
    return f"{state}: {details}" if details else state or "no state"


ADAPTER = BlackForestLabs()
