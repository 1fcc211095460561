"""OpenRouter: one image endpoint for many providers, close to OpenAI's.

    POST {base}/images      JSON -> JSON, or server-sent events

>>> from adapters.contract import ImageCall
>>> params = {"model": "openai/gpt-image-2", "prompt": "a cube", "quality": "hd", "size": "auto"}
>>> made = ADAPTER.table_for("openai/gpt-image-2").translate(params)
>>> ADAPTER.build_request(ImageCall(params, made.fields)).json
{'model': 'openai/gpt-image-2', 'prompt': 'a cube', 'quality': 'high'}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adapters import errors
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.bases.openai_passthrough import MODERATION_CODES
from adapters.contract import Credentials, ImageCall, Option, SignableRequest
from adapters.http import ProviderReply
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_str, dig_typed

_RATIOS = (
    "1:1 1:2 1:4 1:8 2:1 2:3 2.35:1 3:2 3:4 4:1 4:3 4:5 5:2 5:4 5:7 7:5 8:1 9:16 16:9 9:19.5 "
    "19.5:9 9:20 20:9 9:21 21:9 auto"
)
_QUALITIES = {it: it for it in ("auto", "low", "medium", "high", "xhigh", "max")}
_ERRORS = (400, 401, 402, 403, 404, 408, 409, 410, 413, 422, 429, 499, 500, 502, 503, 524, 529)
_UNSAFE = frozenset({"reasons", "flagged_input", "patterns"})
"""Fields of an error's metadata that mark a refusal by moderation or a guardrail."""
_HEADERS = {"openrouter_referer": "http-referer", "openrouter_title": "x-openrouter-title"}

_ROWS = (
    Param("prompt"),
    Param("size", convert=sizes.pixels(low=1, high=99_999, combined="size"), own="[124]K"),
    Param("aspect_ratio", choices=tuple(_RATIOS.split()), note="not with size"),
    Param("resolution", choices=("512", "768", "1K", "1.5K", "2K", "4K"), note="not with size"),
    Param("quality", convert={**_QUALITIES, "standard": "medium", "hd": "high"}),
    Param("background"),
    Param("output_format", choices=("png", "jpeg", "webp", "svg")),
    Param("output_compression", kind=int),
    Param("stream", kind=bool),
    Param("user"),
    Param("seed", kind=int),
    Param("session_id", high=256),
    Param("trace", kind=dict),
    Param("input_references", kind=list, note="input images"),
    Param("provider", kind=dict, note="the allowed providers and their options"),
)
_SEVERAL = Table((*_ROWS, Param("n", high=10)))


class OpenRouter(OpenAICompatible):
    """OpenRouter's image API. Some providers behind it refuse `n` above 1."""

    id = "openrouter"
    name = "OpenRouter"
    base_url = "https://openrouter.ai/api/v1"
    docs = "https://openrouter.ai/docs/guides/overview/multimodal/image-generation"
    tables_by_model = (("openai/", _SEVERAL), ("", Table(_ROWS)))
    models = (
        "openai/gpt-image-2",
        "black-forest-labs/flux.2-pro",
        "bytedance-seed/seedream-4.5",
        "google/gemini-2.5-flash-image",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option("openrouter_referer", "your app's URL", headers=("http-referer",)),
        Option("openrouter_title", "your app's name", headers=("x-openrouter-title", "x-title")),
    )
    status_by_code: ClassVar[Mapping[str, int]] = {
        **{str(status): status for status in _ERRORS},
        "499": 502,
        "524": 504,
    }
    unconfirmed = (
        "which models support n above 1; the format of a provider's own refusal in the metadata"
    )

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as a bearer token, and the app's URL and name."""
        app = {header: credentials[name] for name, header in _HEADERS.items() if credentials[name]}
        return {**super().sign(request, credentials), **app}

    def request_path(self, call: ImageCall) -> str:
        """Return OpenRouter's own URL path."""
        del call
        return "/images"

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message of the provider behind, else OpenRouter's, which says less."""
        return errors.find_error_message(_reply_behind(reply)) or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Recognise a refusal by its metadata; otherwise the code is a status, even in a 200."""
        about = dig_typed(reply.json(), "error", "metadata", kind=dict) or {}
        behind = {code.lower() for code in errors.find_error_codes(_reply_behind(reply))}
        worded = errors.REFUSAL_WORDS.search(self.error_message(reply))
        if _UNSAFE & about.keys() or MODERATION_CODES & behind or worded:
            return self.refusal(reply)
        return super().provider_error(reply)


def _reply_behind(reply: ProviderReply) -> ProviderReply:
    """Return the reply of the provider behind, which the metadata has as a string."""
    raw = dig_str(reply.json(), "error", "metadata", "raw")
    return ProviderReply(reply.status, body=raw.encode(errors="replace"))


ADAPTER = OpenRouter()
