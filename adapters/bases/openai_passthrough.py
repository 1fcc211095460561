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
from adapters.errors import ProviderError, failure, no_picture, refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import at, items_at, pick, text_at

MODERATION_CODES = frozenset(
    {"moderation_blocked", "content_policy_violation", "contentfilter", "content_filter"}
)
_READ_HERE = frozenset({"b64_json", "image_base64", "url"})
_OPENED = ("https://", "http://", "data:")
"""How a URL begins that is good for anybody: a relative one or a file's path is not."""


class OpenAIShape(Adapter):
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
        if at(tree, "error") is not None:
            raise self.provider_error(reply)
        images = tuple(pictures(tree))
        if not images:
            raise no_picture(reply.status)
        extra = {k: v for k, v in tree.items() if k not in ("data", "usage", "created")}
        # A picture in a data: URL is base64, whatever its entry calls it.
        disguised = any(text_at(it, "url").startswith("data:") for it in items_at(tree, "data"))
        # Nor are the bytes held beside a picture that is to go behind a URL.
        unwanted = call.response_format == "url" and any(it.b64 for it in images)
        body = None if disguised or unwanted else reply.body
        return Answer(images, usage=pick(tree, "usage", kind=dict), extra=extra, body=body)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Keep an error that is in OpenAI's shape, bytes and status; make one of any other."""
        tree = reply.json()
        told = at(tree, "error")
        code = text_at(told, "code") or text_at(told, "innererror", "code")
        if code.lower() in MODERATION_CODES:
            error: ProviderError = refusal(text_at(told, "message"), provider_status=reply.status)
        else:
            param = text_at(told, "param") or None
            error = failure(
                reply, message=self.error_message(reply), code=code or None, param=param
            )
        if not reply.ok and text_at(told, "message") and text_at(told, "type"):
            error.status = reply.status
            error.body = reply.body
        return error


def pictures(tree: Any, *path: str | int, kept: Collection[str] | None = None) -> Iterator[Image]:
    """Read the pictures of a list in OpenAI's shape, `data` unless `path` says otherwise.

    `kept` names what else goes on to the client's entry; None: everything.
    """
    for entry in items_at(tree, *(path or ("data",))):
        b64 = text_at(entry, "b64_json") or text_at(entry, "image_base64")
        place = "" if b64 else text_at(entry, "url")
        if b64 or place.startswith(_OPENED):
            extra = {k: v for k, v in entry.items() if k not in _READ_HERE and v is not None}
            if kept is not None:
                extra = {k: v for k, v in extra.items() if k in kept}
            yield _image(b64, place, extra)


def _image(b64: str, place: str, extra: Mapping[str, Any]) -> Image:
    """Make a picture of base64 text, which some write as a data: URL, or of a URL."""
    if b64 and not b64.startswith("data:"):
        return Image(b64=b64, extra=extra)
    return Image.at(b64 or place, **extra)
