"""Putting a name into a URL so that it cannot leave its place there."""

from __future__ import annotations

import re
from urllib.parse import quote

from adapters.errors import BadParam

_MODEL = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._:/+-]{0,511}")


def require_model(model: str, *, example: str = "") -> str:
    """Give a model's name back if there is one; raises `BadParam`."""
    if model:
        return model
    hint = f" Name one, such as {example}." if example else ""
    raise BadParam("model", f"'model' is required by this provider.{hint}", code="model_needed")


def quote_model(model: str, *, safe: str = "", example: str = "") -> str:
    """Percent-encode a model's name for a path; characters in `safe` stay as they are.

    >>> quote_model("amazon.nova-canvas-v1:0")
    'amazon.nova-canvas-v1%3A0'
    >>> quote_model("../../other")
    Traceback (most recent call last):
    adapters.errors.BadParam: 'model' is not a name that can stand in this provider's URL.
    """
    hint = f" Name one, such as {example}." if example else ""
    steps = require_model(model, example=example).split("/")
    if not _MODEL.fullmatch(model) or any(step in ("", ".", "..") for step in steps):
        raise BadParam(
            "model", f"'model' is not a name that can stand in this provider's URL.{hint}"
        )
    return quote(model, safe=safe)


def quote_segment(name: str) -> str:
    """Percent-encode what a reply names, as one step of a path; "" when it cannot be one.

    >>> quote_segment("b1b9-3f"), quote_segment("a/b?c"), quote_segment("..")
    ('b1b9-3f', 'a%2Fb%3Fc', '')
    """
    return "" if name in (".", "..") else quote(name, safe="")
