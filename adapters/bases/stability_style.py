"""Pictures that each say how they ended: Stability's way, which others took over.

A picture that came as bytes says so in the header `finish-reason`, one in JSON in `finishReason`.
A filtered one comes all the same, blurred or black, and with a success status.
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
"""How a picture ended, in the provider's word, and the picture."""

_SUCCESS = frozenset({"", "SUCCESS", "Ready"})
_FILTERED = re.compile(r"CONTENT_FILTERED|\w+ Moderated")


def image_from_bytes(reply: ProviderReply) -> Outcome:
    """Read a reply that is the picture, with its outcome and its seed in headers."""
    seed = reply.headers.get("seed", "")
    extra = {"seed": int(seed)} if re.fullmatch(r"[0-9]{1,10}", seed) else {}
    picture = Image(data=reply.body, media_type=reply.media_type, extra=extra)
    return reply.headers.get("finish-reason", ""), picture


def image_from_json(entry: Any, b64: str | None = None) -> Outcome:
    """Read an entry `{"base64", "finishReason", "seed"}`; `b64` is its picture, if read already."""
    content = dig_str(entry, "base64") if b64 is None else b64
    extra = without_none(seed=dig_typed(entry, "seed", kind=int))
    return dig_str(entry, "finishReason"), Image(b64=content, extra=extra)


def answer_from(ended: Iterable[Outcome], reply: ProviderReply) -> Answer:
    """Answer with the pictures that ended well; when there is none, raise what that means."""
    made = list(ended)
    good = (image for outcome, image in made if outcome in _SUCCESS)
    if images := tuple(image for image in good if image.data or image.b64 or image.url):
        return Answer(images)
    bad = sorted({outcome for outcome, _ in made} - _SUCCESS)
    if any(map(_FILTERED.fullmatch, bad)):
        raise refusal(f"the picture was filtered ({', '.join(bad)})", provider_status=reply.status)
    if bad:
        raise error_from_reply(reply, message=", ".join(bad), status=502)
    raise no_image_error(reply.status)
