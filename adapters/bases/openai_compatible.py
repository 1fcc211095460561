"""The base of adapters whose providers nearly speak OpenAI's Images API.

The request is OpenAI's with a table of the provider's own between, the answer is a list of
pictures in OpenAI's shape. What differs is each adapter's own.

    class Acme(OpenAILike):
        id, name, base_url = "acme", "Acme", "https://api.acme.test/v1"
        families = (("", Table((Param("prompt"), Param("size", to=sizes.ratio(("1:1",)))))),)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from adapters.bases.openai_passthrough import MODERATION_CODES, parse_images
from adapters.contract import Adapter, Answer, ImageCall
from adapters.errors import ProviderError, find_error_codes
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig, dig_typed, parse_usage
from adapters.tools.url_paths import require_model

STANDARD_OR_HD: Mapping[str, str] = {
    **dict.fromkeys(("low", "medium", "standard"), "standard"),
    **dict.fromkeys(("high", "xhigh", "max", "hd"), "hd"),
}
"""Every quality in the two words of the DALL-E years; `auto` is left to the provider."""

_SUCCESS, _LAST_STATUS = 200, 599


class OpenAICompatible(Adapter):
    """A provider with OpenAI's endpoint and answer, and parameters of its own."""

    extra_fields: ClassVar[frozenset[str]] = frozenset({"revised_prompt", "seed"})
    """What of a picture's entry goes on to the client, beside the picture."""
    images_path: ClassVar[tuple[str | int, ...]] = ("data",)
    """Where the list of pictures stands in an answer."""
    other_images_paths: ClassVar[tuple[tuple[str | int, ...], ...]] = ()
    """Where it stands in the answers of some models."""

    def request_path(self, call: ImageCall) -> str:
        """Give the path below the base URL."""
        del call
        return "/images/generations"

    def build_body(self, call: ImageCall) -> dict[str, Any]:
        """Give the body: the model's name, and what the table made."""
        return {"model": require_model(call.model, example=self.models[0]), **call.fields}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Ask; where the table lets `stream` through, the answer may be events."""
        body = self.build_body(call)
        return ProviderRequest(
            self.request_path(call), json=body, may_stream=body.get("stream") is True
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the pictures; an answer without one may say why."""
        del call
        tree = reply.json()
        for place in (self.images_path, *self.other_images_paths):
            if images := tuple(parse_images(tree, *place, extra_fields=self.extra_fields)):
                return Answer(images, usage=parse_usage(tree, "usage"))
        raise self.no_image_error(reply)

    def parse_event(self, call: ImageCall, data: Any) -> Answer:
        """Read an event that holds a picture, a preview, the usage or what went wrong."""
        del call
        if dig(data, "error") is not None:
            raise self.provider_error(_failed_reply(data))
        images = tuple(parse_images({"data": [data]}, extra_fields=self.extra_fields))
        if (index := dig_typed(data, "partial_image_index", kind=int)) is not None:
            images = tuple(replace(image, partial_index=index) for image in images)
        return Answer(images, usage=parse_usage(data, "usage"))

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Know a refusal by OpenAI's codes, too: who took the shape may have taken them."""
        if MODERATION_CODES & {code.lower() for code in find_error_codes(reply)}:
            return self.refusal(reply)
        return super().provider_error(reply)


def _failed_reply(data: Any) -> ProviderReply:
    """Make a reply of an event that tells of a failure; some name the status it would have had."""
    status = dig_typed(data, "error", "http_code", kind=int) or _SUCCESS
    return ProviderReply(max(_SUCCESS, min(status, _LAST_STATUS)), tree=data)
