"""Cloudflare Workers AI: JSON or multipart requests by model; JSON or image bytes in the response.

    POST {base}/{model}      base ends in accounts/{account}/ai/run; @ and / are not encoded

A custom host can be an AI Gateway: https://gateway.ai.cloudflare.com/v1/{account}/{gateway}/workers-ai

>>> from adapters.contract import ImageCall
>>> model = "@cf/black-forest-labs/flux-2-klein-4b"
>>> made = ADAPTER.table_for(model).translate({"prompt": "a cube", "size": "1024x768"})
>>> sent = ADAPTER.build_request(ImageCall({"model": model}, made.fields))
>>> sent.path, dict(sent.form)
('/@cf/black-forest-labs/flux-2-klein-4b', \
{'prompt': 'a cube', 'width': '1024', 'height': '768'})
"""

from __future__ import annotations

import re
from typing import ClassVar

from adapters import errors
from adapters.contract import Adapter, Answer, Credentials, Image, ImageCall, Option
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str
from adapters.tools.url_paths import quote_model

_UNSAFE = re.compile(r"nsfw|content policy", re.IGNORECASE)
# https://developers.cloudflare.com/workers-ai/platform/errors/, and Cloudflare's general codes
_CODES = {
    **dict.fromkeys(("3003", "5004", "7000", "7003"), 400),
    "10000": 401,
    "3036": 402,
    **dict.fromkeys(("3023", "3041", "5016", "5018"), 403),
    **dict.fromkeys(("3042", "5007"), 404),
    **dict.fromkeys(("3007", "3008"), 408),
    "3006": 413,
    "3040": 429,
    "3030": errors.REFUSED,
}

_PROMPT, _NEGATIVE, _SEED = Param("prompt"), Param("negative_prompt"), Param("seed", kind=int)


def _steps(field: str, maximum: int | None = None) -> tuple[Param, Param]:
    """Return rows for both names of the steps; `field` is the one that the model knows."""
    return (
        Param("steps", field, kind=int, low=1, high=maximum),
        Param("num_steps", field, kind=int, low=1, high=maximum),
    )


def _guidance(low: float, high: float | None = None) -> Param:
    return Param("guidance", kind=float, low=low, high=high)


def _size(low: int, high: int) -> Param:
    return Param("size", convert=sizes.pixels(low=low, high=high))


_FLUX_1 = Table((Param("prompt", high=2048), *_steps("steps", 8)))
_KLEIN = Table((_PROMPT, _size(1, 99_999), _SEED, _guidance(0)))
_FLUX_2 = Table((*_KLEIN.rows, *_steps("steps")))
_LUCID = Table((_PROMPT, _size(1, 2500), _SEED, _guidance(0, 10), *_steps("num_steps", 40)))
_PHOENIX = Table(
    (_PROMPT, _NEGATIVE, _size(1, 2048), _SEED, _guidance(2, 10), *_steps("num_steps", 50))
)
_DIFFUSION = Table(
    (_PROMPT, _NEGATIVE, _size(256, 2048), _SEED, _guidance(0), *_steps("num_steps", 20))
)
_FAMILIES = (
    ("@cf/black-forest-labs/flux-1-schnell", _FLUX_1),
    ("@cf/black-forest-labs/flux-2-klein", _KLEIN),
    ("@cf/black-forest-labs/flux-2-", _FLUX_2),
    ("@cf/leonardo/lucid-origin", _LUCID),
    ("@cf/leonardo/phoenix", _PHOENIX),
    ("", _DIFFUSION),
)


class WorkersAI(Adapter):
    """Workers AI over Cloudflare's REST API."""

    id = "workers-ai"
    name = "Cloudflare Workers AI"
    base_url = ""
    docs = "https://developers.cloudflare.com/workers-ai/models/"
    tables_by_model = _FAMILIES
    models = (
        "@cf/black-forest-labs/flux-2-klein-9b",
        "@cf/black-forest-labs/flux-2-klein-4b",
        "@cf/black-forest-labs/flux-2-dev",
        "@cf/black-forest-labs/flux-1-schnell",
        "@cf/leonardo/lucid-origin",
        "@cf/leonardo/phoenix-1.0",
        "@cf/stabilityai/stable-diffusion-xl-base-1.0",
        "@cf/bytedance/stable-diffusion-xl-lightning",
        "@cf/lykon/dreamshaper-8-lcm",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option("workers_ai_account_id", "the account id", pattern=r"[A-Za-z0-9]{1,64}"),
    )
    status_by_code = _CODES
    unconfirmed = (
        "sizes, seed and guidance of flux-2; code 3030 for a refusal; Retry-After on a 429"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the base URL with the account."""
        account = credentials["workers_ai_account_id"]
        return f"https://api.cloudflare.com/client/v4/accounts/{account}/ai/run"

    def missing_credentials(self, credentials: Credentials) -> str:
        """Return the missing account or key."""
        account = credentials["workers_ai_account_id"]
        return super().missing_credentials(credentials) or (
            "" if account else "workers_ai_account_id"
        )

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request: JSON, or multipart for FLUX.2, which refuses JSON."""
        path = "/" + quote_model(call.model, safe="@/", example=self.models[0])
        if self.table_for(call.model) in (_KLEIN, _FLUX_2):
            return ProviderRequest(path, form=call.multipart_fields)
        return ProviderRequest(path, json=call.fields)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse image bytes or JSON; a 200 can be a failure."""
        del call
        if image := Image.from_reply(reply):
            return Answer((image,))
        tree = reply.json()
        if dig(tree, "success") is False or errors.says_something(dig(tree, "errors")):
            raise self.provider_error(reply)
        if b64 := dig_str(tree, "result", "image"):
            return Answer((Image(b64=b64),))
        raise errors.no_image_error(reply.status)

    def error_message(self, reply: ProviderReply) -> str:
        """Return all messages, joined."""
        listed = dig_list(reply.json(), "errors")
        message = "; ".join(filter(None, (dig_str(it, "message") for it in listed)))
        return message or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Recognise a refusal by its message, too, whatever its code."""
        if _UNSAFE.search(message := self.error_message(reply)):
            return errors.refusal(message, provider_status=reply.status)
        return super().provider_error(reply)


ADAPTER = WorkersAI()
