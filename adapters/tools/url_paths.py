"""Quoting of untrusted names for URL paths, so that a name cannot leave its path segment."""

from __future__ import annotations

import re
from urllib.parse import quote

from adapters.errors import BadParam

_MODEL = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._:/+-]{0,511}")


def require_model(model: str, *, example: str = "") -> str:
    """Return the model's name. Raises `BadParam` if it is empty."""
    if model:
        return model
    hint = f" Set it to a model such as {example}." if example else ""
    raise BadParam("model", f"This provider requires 'model'.{hint}", code="model_needed")


def quote_model(model: str, *, safe: str = "", example: str = "") -> str:
    """Return a model's name percent-encoded for a URL path, except the characters in `safe`.

    >>> quote_model("amazon.nova-canvas-v1:0")
    'amazon.nova-canvas-v1%3A0'
    >>> quote_model("../../other")
    Traceback (most recent call last):
    adapters.errors.BadParam: 'model' cannot be used in this provider's URL.
    """
    hint = f" Set it to a model such as {example}." if example else ""
    segments = require_model(model, example=example).split("/")
    if not _MODEL.fullmatch(model) or any(segment in ("", ".", "..") for segment in segments):
        raise BadParam("model", f"'model' cannot be used in this provider's URL.{hint}")
    return quote(model, safe=safe)


def quote_segment(name: str) -> str:
    """Return a name from a reply percent-encoded as one path segment, "" if it cannot be one.

    >>> quote_segment("b1b9-3f"), quote_segment("a/b?c"), quote_segment("..")
    ('b1b9-3f', 'a%2Fb%3Fc', '')
    """
    return "" if name in (".", "..") else quote(name, safe="")
