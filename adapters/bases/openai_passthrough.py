"""`OpenAIPassthrough`: for a provider that accepts every OpenAI parameter and returns its response.

Use `openai_compatible` instead if the provider has its own parameters or limits.

Every parameter, known or not, is sent as the client sent it, and a success is relayed unchanged. An
adapter overrides `suppressed_params` for parameters that the provider would refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

import orjson

from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.errors import (
    BODY_LIMIT,
    FIELD_LIMIT,
    ProviderError,
    error_from_reply,
    no_image_error,
    refusal,
    says_something,
)
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, round_counts

MODERATION_CODES = frozenset(
    {"moderation_blocked", "content_policy_violation", "contentfilter", "content_filter"}
)
_MAX_ENTRIES = 1000
"""Entries of a reply that are read: more than any request may ask for."""
_OWN_FIELDS = frozenset({"data", "usage", "created", "error"})
"""Fields of a success that are not passed on as they are; an `error` in it says nothing."""
_IMAGE_FIELDS = frozenset({"b64_json", "image_base64", "url"})
_URL_SCHEMES = ("https://", "http://", "data:")
"""Prefixes of URLs that a client can use. A relative URL or a file path counts only if the gateway
fetches the image.
"""


class OpenAIPassthrough(Adapter):
    """A provider that speaks OpenAI's wire format."""

    passthrough: ClassVar[bool] = True

    def request_path(self, call: ImageCall) -> str:
        """Return the URL path below the base URL."""
        del call
        return "/images/generations"

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the client's own body as the request, byte for byte if nothing had to change."""
        suppressed = self.suppressed_params(call) & call.fields.keys()
        # The gateway must parse the reply if it has to convert base64 to a URL.
        verbatim = "response_format" not in suppressed or call.response_format == "b64_json"
        content = call.body
        if suppressed or content is None:
            content = orjson.dumps({k: v for k, v in call.fields.items() if k not in suppressed})
        headers = {"content-type": "application/json"}
        return ProviderRequest(
            self.request_path(call),
            content=content,
            headers=headers,
            verbatim=verbatim or call.stream,
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse a reply in OpenAI's format and keep its body."""
        tree = reply.json()
        if says_something(dig(tree, "error")):
            raise self.provider_error(reply)
        images = tuple(parse_images(tree, relative=call.response_format == "b64_json"))
        if not images:
            raise no_image_error(reply.status)
        extra = {k: v for k, v in tree.items() if k not in _OWN_FIELDS}
        # The body cannot be relayed if an image must change its form: a data: URL becomes base64,
        # base64 becomes a URL if the client asked for one. Nor with an empty `error` in it, because
        # clients look for that member; nor with fractional counts, because they read integers.
        entries = dig_list(tree, "data")[:_MAX_ENTRIES]
        odd = ("data:", "/", " ")
        has_odd_url = any(dig_str(it, "url").startswith(odd) for it in entries)
        needs_url = call.response_format == "url" and any(image.b64 for image in images)
        has_error = dig(tree, "error") is not None
        reported = dig_typed(tree, "usage", kind=dict)
        usage = round_counts(reported) if reported else reported
        must_change = has_odd_url or needs_url or has_error or repr(usage) != repr(reported)
        return Answer(images, usage=usage, extra=extra, body=None if must_change else reply.body)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Return the error; one in OpenAI's format keeps its body and status."""
        tree = reply.json()
        details = dig(tree, "error")
        code = dig_str(details, "code") or dig_str(details, "innererror", "code")
        if code.lower() in MODERATION_CODES:
            error: ProviderError = refusal(
                dig_str(details, "message"), provider_status=reply.status
            )
        else:
            param = dig_str(details, "param") or None
            error = error_from_reply(
                reply, message=self.error_message(reply), code=code or None, param=param
            )
        if not reply.ok and dig_str(details, "message") and (kind := dig_str(details, "type")):
            error.status = reply.status
            if len(reply.body) <= BODY_LIMIT:
                error.body = reply.body
            else:
                error.type = kind[:FIELD_LIMIT]
                if code or dig(details, "code") is None:
                    error.code = code[:FIELD_LIMIT] or None
                error.param = dig_str(details, "param")[:FIELD_LIMIT] or None
        return error


def parse_images(
    tree: Any,
    *path: str | int,
    extra_fields: Collection[str] | None = None,
    relative: bool = False,
) -> Iterator[Image]:
    """Yield the images of a list in OpenAI's format, at the JSON path `path` (default `data`).

    `extra_fields` are the other fields of an entry that are passed to the client; None means all.
    `relative` URLs are included only if asked for.
    """
    starts = (*_URL_SCHEMES, "/") if relative else _URL_SCHEMES
    for entry in dig_list(tree, *(path or ("data",)))[:_MAX_ENTRIES]:
        b64 = dig_str(entry, "b64_json") or dig_str(entry, "image_base64")
        url = "" if b64 else dig_str(entry, "url").strip()
        if b64 or url.startswith(starts):
            extra = {k: v for k, v in entry.items() if k not in _IMAGE_FIELDS and v is not None}
            if extra_fields is not None:
                extra = {k: v for k, v in extra.items() if k in extra_fields}
            yield _image(b64, url, extra)


def _image(b64: str, url: str, extra: Mapping[str, Any]) -> Image:
    """Return an image from base64 text (some providers write it as a data: URL) or from a URL."""
    if b64 and not b64.startswith("data:"):
        return Image(b64=b64, extra=extra)
    return Image.from_url(b64 or url, **extra)
