"""`OpenAICompatible`: for a provider with OpenAI's endpoint and response but its own parameters.

Use `openai_passthrough` instead if the provider accepts every OpenAI parameter unchanged.

The request has the fields that the adapter's table produces; the response is a list of images in
OpenAI's format. Override what differs:

    class Acme(OpenAICompatible):
        id, name, base_url = "acme", "Acme", "https://api.acme.test/v1"
        _SIZE = Param("size", convert=sizes.ratio(("1:1", "16:9")))
        tables_by_model = (("", Table((Param("prompt"), _SIZE))),)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from adapters.bases.openai_passthrough import MODERATION_CODES, parse_images
from adapters.contract import Adapter, Answer, ImageCall
from adapters.errors import ProviderError, find_error_codes, says_something
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig, dig_typed, parse_usage
from adapters.tools.sse import is_preview
from adapters.tools.url_paths import require_model

STANDARD_OR_HD: Mapping[str, str] = {
    **dict.fromkeys(("low", "medium", "standard"), "standard"),
    **dict.fromkeys(("high", "xhigh", "max", "hd"), "hd"),
}
"""OpenAI's qualities as DALL-E 3's `standard` and `hd`; `auto` is not sent."""

_SUCCESS, _LAST_STATUS = 200, 599


class OpenAICompatible(Adapter):
    """A provider with OpenAI's endpoint and response format, and its own parameters."""

    extra_fields: ClassVar[frozenset[str]] = frozenset({"revised_prompt", "seed"})
    """Fields of an image's entry that are passed to the client with the image."""
    images_path: ClassVar[tuple[str | int, ...]] = ("data",)
    """JSON path of the list of images in a response."""
    other_images_paths: ClassVar[tuple[tuple[str | int, ...], ...]] = ()
    """Further JSON paths of that list, for models that differ."""

    def request_path(self, call: ImageCall) -> str:
        """Return the URL path below the base URL."""
        del call
        return "/images/generations"

    def build_body(self, call: ImageCall) -> dict[str, Any]:
        """Return the request body: the model and the translated fields."""
        return {"model": require_model(call.model, example=self.models[0]), **call.fields}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request. With `stream` in the body, the reply may be events."""
        body = self.build_body(call)
        return ProviderRequest(
            self.request_path(call), json=body, may_stream=body.get("stream") is True
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images. Raises `ProviderError` if there are none."""
        del call
        tree = reply.json()
        for path in (self.images_path, *self.other_images_paths):
            if images := tuple(parse_images(tree, *path, extra_fields=self.extra_fields)):
                return Answer(images, usage=parse_usage(tree, "usage"))
        raise self.no_image_error(reply)

    def parse_event(self, call: ImageCall, data: Any) -> Answer:
        """Parse an event: an image, a partial image, usage or an error."""
        del call
        if says_something(dig(data, "error")):
            raise self.provider_error(_failed_reply(data))
        images = tuple(parse_images({"data": [data]}, extra_fields=self.extra_fields))
        if isinstance(data, dict) and is_preview("", data):
            index = dig_typed(data, "partial_image_index", kind=int) or 0
            images = tuple(replace(image, partial_index=index) for image in images)
        return Answer(images, usage=parse_usage(data, "usage"))

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Recognise OpenAI's refusal codes, too; compatible providers often use them."""
        if MODERATION_CODES & {code.lower() for code in find_error_codes(reply)}:
            return self.refusal(reply)
        return super().provider_error(reply)


def _failed_reply(data: Any) -> ProviderReply:
    """Return an error event as a reply, with the HTTP status that the event names, if any."""
    status = dig_typed(data, "error", "http_code", kind=int) or _SUCCESS
    return ProviderReply(max(_SUCCESS, min(status, _LAST_STATUS)), tree=data)
