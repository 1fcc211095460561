"""OpenAI: the shape everybody else is measured by.

    POST {base}/images/generations      JSON, or events with `stream`

A custom host makes it any server of that shape. Those of one's own (LocalAI, vLLM-Omni, SGLang,
stable-diffusion.cpp, Xinference) differ in what an answer of theirs is good for elsewhere: a URL
can be relative, a file's path or on a private host. `openai_response_format: b64_json` is for them.
(With LocalAI, what follows a `|` in a prompt is what shall not be seen.)

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
"""What LocalAI fetches from the URLs in it, wherever they lead."""
_NOT_THERE = frozenset({"stream", "partial_images"})
_COMMANDS = "<sd_cpp_extra_args>"
"""How stable-diffusion.cpp is told of everything else, in the prompt."""


class OpenAI(OpenAIPassthrough):
    """OpenAI, and by a custom host every server that speaks its Images API."""

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
        Option("openai_organization", "the organisation that is billed", pattern=r"[\w.-]{1,128}"),
        Option("openai_project", "the project that is billed", pattern=r"[\w.-]{1,128}"),
        Option(
            "openai_beta", "beta features", headers=("openai-beta",), pattern=r"[\w.,=; -]{1,256}"
        ),
        Option(
            _FORMAT,
            "what is asked for at a custom host: b64_json (a server of your own, whose URLs are of "
            "no use elsewhere), or none (one that refuses the parameter)",
            pattern="b64_json|none",
        ),
    )
    unconfirmed = (
        "what gpt-image-2.6-* takes beyond 2.5; `n` above 1 together with `stream`; "
        "the form of an error inside a stream"
    )

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Withhold `response_format` from the families that refuse it.

        A server of one's own gets no events to make and no URLs to fetch, and chooses the size if
        the client does not: LocalAI draws 512x512 for `auto`, others refuse it.
        """
        if _is_own(call):
            automatic = {"size"} if call.fields.get("size") == "auto" else set[str]()
            return _UNSAFE | _NOT_THERE | automatic
        refuses = call.model.startswith(BASE64_ONLY) or call.credentials[_FORMAT] == "none"
        return _NO_FORMAT if refuses else _NOTHING

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Send what the client sent; ask a server of one's own for base64, and read its answer."""
        if not _is_own(call):
            return super().build_request(call)
        if _COMMANDS in str(call.params.get("prompt")):
            raise BadParam("prompt", f"'prompt' must not hold {_COMMANDS}.")
        withheld = self.suppressed_params(call)
        fields = {name: value for name, value in call.fields.items() if name not in withheld}
        return ProviderRequest(
            self.request_path(call), json={**fields, "response_format": "b64_json"}
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Keep an answer as it came; of a server of one's own only what is the client's."""
        answer = super().parse_answer(call, reply)
        if not _is_own(call):
            return answer
        images = tuple(_without_paths(image, call) for image in answer.images)
        counted = answer.usage if answer.usage and any(answer.usage.values()) else None
        return Answer(images, usage=counted)

    def error_message(self, reply: ProviderReply) -> str:
        """Prefer `message`, which can stand beside a bare code in `error`."""
        return dig_str(reply.json(), "message") or super().error_message(reply)

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Add the bearer key, and organisation, project and beta where they are set."""
        said = credentials.options
        chosen = {header: said[name] for name, header in _HEADERS.items() if said.get(name)}
        return {**super().sign(outgoing, credentials), **chosen}


def _is_own(call: ImageCall) -> bool:
    return call.credentials[_FORMAT] == "b64_json"


def _without_paths(image: Image, call: ImageCall) -> Image:
    """Leave out paths of the server's, and a prompt that was not revised at all."""
    told: dict[str, Any] = {name: image.extra.get(name) for name in ("revised_prompt", "seed")}
    if told["revised_prompt"] == call.params.get("prompt"):
        del told["revised_prompt"]
    return replace(image, extra=without_none(**told))


ADAPTER = OpenAI()
