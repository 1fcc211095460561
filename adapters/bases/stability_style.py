"""Images with a finish reason each: for a provider that filters images as Stability AI does.

Image bytes have the reason in the header `finish-reason`, images in JSON in `finishReason`. A
filtered image is still sent, blurred or black, with a success status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from adapters.contract import Answer, Image
from adapters.errors import error_from_reply, no_image_error, refusal
from adapters.http import ProviderReply
from adapters.tools.json_access import dig_str, dig_typed, without_none

Outcome = tuple[str, Image]
"""The finish reason of an image, and the image."""

_SUCCESS = frozenset({"", "SUCCESS", "Ready"})
_FILTERED = re.compile(r"CONTENT_FILTERED|\w+ Moderated")


def image_from_bytes(reply: ProviderReply) -> Outcome | None:
    """Parse a reply whose body is the image and whose headers have finish reason and seed.

    None if the body is not an image.
    """
    seed = reply.headers.get("seed", "")
    extra = {"seed": int(seed)} if re.fullmatch(r"[0-9]{1,10}", seed) else {}
    if image := Image.from_reply(reply, **extra):
        return reply.headers.get("finish-reason", ""), image
    return None


def image_from_json(entry: Any, b64: str | None = None) -> Outcome:
    """Parse an entry `{"base64", "finishReason", "seed"}`; `b64` replaces its `base64`."""
    content = dig_str(entry, "base64") if b64 is None else b64
    extra = without_none(seed=dig_typed(entry, "seed", kind=int))
    return dig_str(entry, "finishReason"), Image(b64=content, extra=extra)


def answer_from(outcomes: Iterable[Outcome], reply: ProviderReply) -> Answer:
    """Return the successful images. Raises `Refusal` or `ProviderError` if there are none."""
    outcomes = list(outcomes)
    successful = (image for reason, image in outcomes if reason in _SUCCESS)
    if images := tuple(image for image in successful if image.data or image.b64 or image.url):
        return Answer(images)
    failures = sorted({reason for reason, _ in outcomes} - _SUCCESS)
    if any(map(_FILTERED.fullmatch, failures)):
        raise refusal(
            f"the image was filtered ({', '.join(failures)})", provider_status=reply.status
        )
    if failures:
        raise error_from_reply(reply, message=", ".join(failures), status=502)
    raise no_image_error(reply.status)
