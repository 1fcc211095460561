"""The form of an image in a response in OpenAI's format: a URL or base64."""

from __future__ import annotations

import re

URL, BASE64 = "url", "b64_json"
_BY_FAMILY = {
    "dall-e-2": URL,
    "dall-e-3": URL,
    "gpt-image-": BASE64,
    "chatgpt-image-": BASE64,
}
"""What OpenAI returns without `response_format`, by the start of the model's name."""
_FIRST_IMAGE = re.compile(rb'"(b64_json|image_base64|url)"\s*:\s*"(data:)?[^"\s]')


def default_form(model: object) -> str:
    """Return the form that OpenAI documents for a model, "" for any other model.

    >>> default_form("dall-e-3"), default_form("@team/gpt-image-2"), default_form("flux-dev")
    ('url', 'b64_json', '')
    """
    name = model if isinstance(model, str) else ""
    if name.startswith("@"):  # The prefix names a virtual key.
        name = name.partition("/")[2]
    return next((form for start, form in _BY_FAMILY.items() if name.startswith(start)), "")


def begins_with_form(head: bytes, form: str, *, keeps_urls: bool = True) -> bool:
    """Whether the first image in the start of a response has a form; "" is any form.

    A data: URL has to be converted, and so has every URL unless the response `keeps_urls`. Where
    the first image is further in, only a response in any form is known to fit.

    >>> head = b'{"data":[{"b64_json":"iVBO'
    >>> [begins_with_form(head, form) for form in ("", "b64_json", "url")]
    [True, True, False]
    """
    found = _FIRST_IMAGE.search(head)
    if found is None:
        return keeps_urls and not form
    if found[2]:
        return False
    if found[1] == b"url":
        return keeps_urls and form != BASE64
    return found[1] == b"b64_json" and form != URL
