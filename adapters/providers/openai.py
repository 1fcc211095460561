"""OpenAI, and any server with OpenAI's Images API by a custom host.

    POST {base}/images/generations      JSON, or events with `stream`

Self-hosted servers (LocalAI, vLLM-Omni, SGLang, stable-diffusion.cpp, Xinference) may return URLs
that are relative, file paths or on a private host; set `openai_response_format: b64_json` for them.
(In LocalAI, the part of a prompt after `|` is the negative prompt.)

>>> from adapters.contract import ImageCall
>>> body = {"model": "gpt-image-2", "prompt": "a cube", "response_format": "b64_json"}
>>> ADAPTER.build_request(ImageCall(body, body)).content
b'{"model":"gpt-image-2","prompt":"a cube"}'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from adapters.bases import openai_tables
from adapters.bases.openai_passthrough import OpenAIPassthrough
from adapters.contract import Answer, Credentials, Image, ImageCall, Option, SignableRequest
from adapters.errors import BadParam
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig_str, without_none

BASE64_ONLY = ("gpt-image-", "chatgpt-image-")
"""Families that always answer in base64 and refuse `response_format`."""

_FORMAT = "openai_response_format"
_HEADERS = {
    "openai_organization": "openai-organization",
    "openai_project": "openai-project",
    "openai_beta": "openai-beta",
}
_NOTHING: frozenset[str] = frozenset()
_NO_FORMAT = frozenset({"response_format"})
_UNSAFE = frozenset({"file", "files", "ref_images"})
"""Parameters with URLs that LocalAI would fetch from any host."""
_NOT_SUPPORTED = frozenset({"stream", "partial_images"})
_COMMANDS = "<sd_cpp_extra_args>"
"""The tag in a prompt by which stable-diffusion.cpp takes further parameters."""


class OpenAI(OpenAIPassthrough):
    """OpenAI, and by a custom host every server with its Images API."""

    id = "openai"
    name = "OpenAI"
    base_url = "https://api.openai.com/v1"
    docs = "https://platform.openai.com/docs/api-reference/images/create"
    tables_by_model = openai_tables.build_tables("png", "jpeg", "webp", "gif", "svg")
    models = (
        "gpt-image-2",
        "gpt-image-2.5-sunburst",
        "gpt-image-2.5-flare",
        "gpt-image-2.6-sunburst",
        "gpt-image-2.6-flare",
        "gpt-image-1.5",
        "gpt-image-1-mini",
        "chatgpt-image-latest",
    )
    url_lifetime = 3600
    options: ClassVar[tuple[Option, ...]] = (
        Option("openai_organization", "the organisation to bill", pattern=r"[\w.-]{1,128}"),
        Option("openai_project", "the project to bill", pattern=r"[\w.-]{1,128}"),
        Option(
            "openai_beta", "beta features", headers=("openai-beta",), pattern=r"[\w.,=; -]{1,256}"
        ),
        Option(
            _FORMAT,
            "the response_format to send to a custom host: b64_json (for a server of your own, "
            "whose URLs clients cannot fetch) or none (for one that refuses the parameter)",
            pattern="b64_json|none",
        ),
    )
    unconfirmed = (
        "parameters that gpt-image-2.6-* has and 2.5 lacks; `n` above 1 together with `stream`; "
        "the format of an error in a stream"
    )

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Suppress `response_format` for the families that refuse it.

        A self-hosted server gets no request for events, no URLs to fetch, and no size `auto`, for
        which LocalAI generates 512x512 and others return an error.
        """
        if _is_own(call):
            automatic = {"size"} if call.fields.get("size") == "auto" else set[str]()
            return _UNSAFE | _NOT_SUPPORTED | automatic
        refuses = call.model.startswith(BASE64_ONLY) or call.credentials[_FORMAT] == "none"
        return _NO_FORMAT if refuses else _NOTHING

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the client's body as the request; a self-hosted server is asked for base64."""
        if not _is_own(call):
            return super().build_request(call)
        if _COMMANDS in str(call.params.get("prompt")):
            raise BadParam("prompt", f"'prompt' must not contain {_COMMANDS}.")
        suppressed = self.suppressed_params(call)
        fields = {name: value for name, value in call.fields.items() if name not in suppressed}
        return ProviderRequest(
            self.request_path(call), json={**fields, "response_format": "b64_json"}
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the answer; that of a self-hosted server is reduced to the client's part."""
        answer = super().parse_answer(call, reply)
        if not _is_own(call):
            return answer
        images = tuple(_without_paths(image, call) for image in answer.images)
        counted = answer.usage if answer.usage and any(answer.usage.values()) else None
        return Answer(images, usage=counted)

    def error_message(self, reply: ProviderReply) -> str:
        """Return `message` if there is one, since `error` may be only a code."""
        return dig_str(reply.json(), "message") or super().error_message(reply)

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as a bearer token, with organisation, project and beta if set."""
        message = credentials.options
        chosen = {header: message[name] for name, header in _HEADERS.items() if message.get(name)}
        return {**super().sign(request, credentials), **chosen}


def _is_own(call: ImageCall) -> bool:
    return call.credentials[_FORMAT] == "b64_json"


def _without_paths(image: Image, call: ImageCall) -> Image:
    """Return the image without the server's file paths and an unchanged `revised_prompt`."""
    extra: dict[str, Any] = {name: image.extra.get(name) for name in ("revised_prompt", "seed")}
    if extra["revised_prompt"] == call.params.get("prompt"):
        del extra["revised_prompt"]
    return replace(image, extra=without_none(**extra))


ADAPTER = OpenAI()
