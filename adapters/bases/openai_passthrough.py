"""The base of adapters whose providers speak OpenAI's Images API.

Every parameter goes through as the client sent it, known or unknown, and a success comes back
verbatim. What is withheld, and why, is each adapter's own: it
would be refused there, or the gateway honours it itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

import orjson

from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.errors import ProviderError, error_from_reply, no_image_error, refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed

MODERATION_CODES = frozenset(
    {"moderation_blocked", "content_policy_violation", "contentfilter", "content_filter"}
)
_IMAGE_FIELDS = frozenset({"b64_json", "image_base64", "url"})
_URL_SCHEMES = ("https://", "http://", "data:")
"""How a URL begins that is good for anybody: a relative one or a file's path is not."""


class OpenAIPassthrough(Adapter):
    """A provider that speaks the client's shape."""

    passthrough: ClassVar[bool] = True

    def request_path(self, call: ImageCall) -> str:
        """Give the path below the base URL."""
        del call
        return "/images/generations"

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Send what the client sent; the same bytes where nothing had to change."""
        withheld = self.suppressed_params(call) & call.fields.keys()
        # Where the gateway has to turn one form of picture into the other, it must read the reply.
        verbatim = "response_format" not in withheld or call.response_format == "b64_json"
        content = call.body
        if withheld or content is None:
            content = orjson.dumps({k: v for k, v in call.fields.items() if k not in withheld})
        headers = {"content-type": "application/json"}
        return ProviderRequest(
            self.request_path(call),
            content=content,
            headers=headers,
            verbatim=verbatim or call.stream,
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read a reply in OpenAI's shape and keep its bytes."""
        tree = reply.json()
        if dig(tree, "error") is not None:
            raise self.provider_error(reply)
        images = tuple(parse_images(tree))
        if not images:
            raise no_image_error(reply.status)
        extra = {k: v for k, v in tree.items() if k not in ("data", "usage", "created")}
        # A picture in a data: URL is base64, whatever its entry calls it.
        disguised = any(dig_str(it, "url").startswith("data:") for it in dig_list(tree, "data"))
        # Nor are the bytes held beside a picture that is to go behind a URL.
        unwanted = call.response_format == "url" and any(it.b64 for it in images)
        body = None if disguised or unwanted else reply.body
        return Answer(images, usage=dig_typed(tree, "usage", kind=dict), extra=extra, body=body)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Keep an error that is in OpenAI's shape, bytes and status; make one of any other."""
        tree = reply.json()
        told = dig(tree, "error")
        code = dig_str(told, "code") or dig_str(told, "innererror", "code")
        if code.lower() in MODERATION_CODES:
            error: ProviderError = refusal(dig_str(told, "message"), provider_status=reply.status)
        else:
            param = dig_str(told, "param") or None
            error = error_from_reply(
                reply, message=self.error_message(reply), code=code or None, param=param
            )
        if not reply.ok and dig_str(told, "message") and dig_str(told, "type"):
            error.status = reply.status
            error.body = reply.body
        return error


def parse_images(
    tree: Any, *path: str | int, extra_fields: Collection[str] | None = None
) -> Iterator[Image]:
    """Read the pictures of a list in OpenAI's shape, `data` unless `path` says otherwise.

    `kept` names what else goes on to the client's entry; None: everything.
    """
    for entry in dig_list(tree, *(path or ("data",))):
        b64 = dig_str(entry, "b64_json") or dig_str(entry, "image_base64")
        place = "" if b64 else dig_str(entry, "url")
        if b64 or place.startswith(_URL_SCHEMES):
            extra = {k: v for k, v in entry.items() if k not in _IMAGE_FIELDS and v is not None}
            if extra_fields is not None:
                extra = {k: v for k, v in extra.items() if k in extra_fields}
            yield _image(b64, place, extra)


def _image(b64: str, place: str, extra: Mapping[str, Any]) -> Image:
    """Make a picture of base64 text, which some write as a data: URL, or of a URL."""
    if b64 and not b64.startswith("data:"):
        return Image(b64=b64, extra=extra)
    return Image.from_url(b64 or place, **extra)
