"""Black Forest Labs: submit a job, then ask its own polling URL until it is settled.

    POST {base}/{model}      JSON -> {"id", "polling_url"}
    GET  {polling_url}       on some host below bfl.ai -> {"status", "result"}

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

_LOST = "Task not found"
_PATIENCE = 5
"""How often a task may be unknown: its record can lag behind the reply that names it."""

_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16")
_ASPECT = Param("aspect_ratio", pattern=r"[0-9]{1,4}:[0-9]{1,4}")
_COMMON = (Param("prompt"), Param("seed", kind=int))
_UPSAMPLING = Param("prompt_upsampling", kind=bool)
_STEPS = Param("steps", kind=int, low=1, high=50)


def _safety(most: int) -> tuple[Param, Param]:
    """Moderate as little as the family can when the client asks for `low`."""
    return (
        Param("moderation", "safety_tolerance", convert={"low": most}),
        Param("safety_tolerance", kind=int, low=0, high=most),
    )


def _guidance(most: int) -> Param:
    return Param("guidance", kind=float, low=1.5, high=most)


def _pictures(count: int) -> tuple[Param, ...]:
    """Take pictures to work from: input_image, input_image_2 and so on."""
    further = (Param(f"input_image_{number}") for number in range(2, count + 1))
    return (Param("input_image"), *further)


_FLUX_1 = (
    *(*_COMMON, *_safety(6), _UPSAMPLING),
    Param("output_format", choices=("jpeg", "png")),
)
_PRO = (
    *_FLUX_1,
    # Theirs is 1024x768, and 16:9 for ultra.
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
_KONTEXT = (*_FLUX_1, Param("size", convert=sizes.ratio(_RATIOS)), _ASPECT, *_pictures(4))
_FLUX_2 = (
    *(*_COMMON, *_safety(5)),
    Param("output_format", choices=("jpeg", "png", "webp")),
    Param("size", convert=sizes.pixels(low=64, high=99_999, step=16, max_pixels=2048 * 2048)),
)
_FAMILIES = (
    ("flux-2-flex", Table((*_FLUX_2, *_pictures(8), _UPSAMPLING, _STEPS, _guidance(10)))),
    ("flux-2-klein", Table((*_FLUX_2, *_pictures(4)))),
    ("flux-pro-1.1-ultra", Table(_ULTRA)),
    ("flux-pro", Table(_PRO)),
    ("flux-dev", Table((*_PRO, _STEPS, _guidance(5)))),
    ("flux-kontext", Table(_KONTEXT)),
    ("", Table((*_FLUX_2, *_pictures(8)))),
)


class BlackForestLabs(PollingAdapter):
    """The BFL API. Webhook fields of a client are in no table: they never leave the gateway."""

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
    pending_states = frozenset({"Pending"})
    progress_path = ("progress",)
    poll_interval = 0.5
    unconfirmed = (
        "the form of a 4xx other than 422; Retry-After on a 429; all delivery hosts; webp from "
        "FLUX.1"
    )

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Put the key into `x-key`, its only place."""
        del outgoing
        return {"x-key": credentials.api_key}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Submit the job."""
        return ProviderRequest(
            "/" + quote_model(call.model, example="flux-2-pro"), json=call.fields
        )

    def poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest:
        """Ask at the URL that the reply names: only that region knows the task."""
        del call
        if not (place := dig_str(reply.json(), "polling_url")):
            raise errors.no_image_error(reply.status)
        return ProviderRequest(url=place, method="GET")

    def flow(self, call: ImageCall) -> Flow:
        """Submit, and wait, with some patience for a task that is not known yet."""
        reply = self.raise_for_status((yield self.build_request(call)))
        question = self.poll_request(call, reply)
        for _ in range(_PATIENCE):
            reply = yield from poll(self, question, self.is_finished, interval=self.poll_interval)
            if self.parse_state(reply) != _LOST:
                break
        return self.parse_answer(call, reply)

    def is_finished(self, reply: ProviderReply) -> bool:
        """Tell whether a task has ended, or is not known, with whatever status that is said."""
        return self.parse_state(reply) == _LOST or super().is_finished(reply)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read a settled task; a prompt is called revised only if it was."""
        tree, state = reply.json(), self.parse_state(reply)
        if state.endswith("Moderated"):
            raise errors.refusal(_reason(tree, state), provider_status=reply.status)
        if state != "Ready":
            raise errors.error_from_reply(reply, message=_reason(tree, state), status=502)
        if not (sample := dig_str(tree, "result", "sample")):
            raise errors.no_image_error(reply.status)
        told = dig_str(tree, "result", "prompt")
        revised = told if told != call.fields.get("prompt") else ""
        extra = without_none(
            seed=dig_typed(tree, "result", "seed", kind=int), revised_prompt=revised or None
        )
        return Answer((Image.from_url(sample, **extra),))

    def error_message(self, reply: ProviderReply) -> str:
        """Prefer `message`, which can stand beside a bare code in `error`."""
        return dig_str(reply.json(), "message") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Know that what is forbidden here is the key: it has no 401."""
        if reply.status == HTTPStatus.FORBIDDEN:
            told = self.error_message(reply)
            return errors.error_from_reply(reply, message=told, status=HTTPStatus.UNAUTHORIZED)
        return super().provider_error(reply)


def _reason(tree: Any, state: str) -> str:
    """Give the state with the words in `details`: a text, or lists of texts by topic."""
    topics = (dig_typed(tree, "details", kind=dict) or {}).values()
    listed = (word for words in topics if isinstance(words, list) for word in words)
    words = [dig_str(tree, "details"), *(word for word in listed if isinstance(word, str))]
    told = ", ".join(filter(None, words))
    return f"{state}: {told}" if told else state or "no state"


ADAPTER = BlackForestLabs()
