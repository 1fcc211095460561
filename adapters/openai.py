"""OpenAI: the shape everybody else is measured by.

    POST {base}/images/generations      JSON, or events with `stream`

>>> from adapters.contract import ImageCall
>>> body = {"model": "gpt-image-2", "prompt": "a cube", "response_format": "b64_json"}
>>> ADAPTER.request(ImageCall(body, body)).content
b'{"model":"gpt-image-2","prompt":"a cube"}'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adapters.contract import Credentials, ImageCall, Option, Outgoing
from adapters.openai_shape import OpenAIShape

BASE64_ONLY = ("gpt-image-", "chatgpt-image-")
"""Families that always answer in base64 and refuse `response_format`."""


class OpenAI(OpenAIShape):
    """OpenAI, and by a custom host every server that speaks its Images API."""

    id = "openai"
    name = "OpenAI"
    base_url = "https://api.openai.com/v1"
    docs = "https://platform.openai.com/docs/api-reference/images/create"
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
    )
    unconfirmed = "`n` above 1 together with `stream`; the form of an error inside a stream"

    def withheld(self, call: ImageCall) -> frozenset[str]:
        """Withhold `response_format` from the families that refuse it."""
        refuses = call.model.startswith(BASE64_ONLY)
        return frozenset({"response_format"}) if refuses else frozenset()

    def sign(self, outgoing: Outgoing, credentials: Credentials) -> Mapping[str, str]:
        """Add the bearer key, and organisation, project and beta where they are set."""
        names = {
            "openai-organization": "openai_organization",
            "openai-project": "openai_project",
            "openai-beta": "openai_beta",
        }
        chosen = {header: credentials[name] for header, name in names.items() if credentials[name]}
        return {**super().sign(outgoing, credentials), **chosen}


ADAPTER = OpenAI()
