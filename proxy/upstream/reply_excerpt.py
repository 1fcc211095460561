"""A short, redacted excerpt of a provider's reply, for the process log at level `debug`.

Invariant: an excerpt holds no credential, no base64 data and nothing of the client's prompt, and is
at most 2 KB. Where that cannot be made sure of, the text is left out.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

import orjson

from adapters.contract import Answer, ImageCall
from adapters.errors import ProviderError
from adapters.http import ProviderReply
from proxy.observability.process_log import escape_unprintable
from proxy.routing.plan import Target
from proxy.upstream.redact import redact_text

MAX_BYTES = 2048
"""Largest excerpt, in bytes."""

_LOG = logging.getLogger("easel")
_MAX_INPUT = 64 * 1024
"""Bytes of a reply that are considered: more than fit, and a bound on the work."""
_QUOTES_REQUEST = "[text that quotes the request]"
_ELLIPSIS = "…"
_MAX_VALUE = 400
"""Characters of one quoted string: a longer one is shortened, so that others are seen, too."""
_WINDOW = 12
"""Letters and digits in a row that count as a quotation of a prompt or a key."""

_STRING = re.compile(r'("(?:[^"\\]|\\.)*"?)', re.DOTALL)
_RUN = r"(?:[A-Za-z0-9+/=%\\]{24,}|[A-Za-z0-9+/=%\\_-]{40,})"
_ENCODED = re.compile(rf"(?:{_RUN}(?:\s|\\[nrt])*)+[A-Za-z0-9+/=%\\_-]*")
"""Base64 in any alphabet, also in lines; and any other long token, but no UUID."""
_SPACE_ESCAPE = re.compile(r"\\[nrt]")
_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")


def log_if_no_image(
    target: Target, call: ImageCall, reply: ProviderReply, result: Answer | ProviderError
) -> None:
    """Log, at level `debug`, what a provider answered if its answer has no image."""
    if not _LOG.isEnabledFor(logging.DEBUG):
        return
    if isinstance(result, ProviderError):
        has_image = result.code != "no_picture"
    else:
        has_image = bool(result.images or result.body)
    if has_image:
        return
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    _LOG.debug(
        "%s answered without an image: status %d, %s, %d bytes: %s",
        target.adapter.id,
        reply.status,
        media_type if _MEDIA_TYPE.fullmatch(media_type) else "no media type",
        len(reply.body),
        excerpt(reply.body, call.params, target.secrets),
    )


def excerpt(body: bytes, params: Mapping[str, Any], secrets: frozenset[str]) -> str:
    """Return the redacted start of a body, at most `MAX_BYTES` long in UTF-8."""
    text = redact_text(body.decode(errors="replace"), secrets)[:_MAX_INPUT]
    if "\x00" in text or "\ufffd" in text:
        return "[binary data]"
    private = _PrivateTexts([*_texts(params), *secrets])
    if private.are_quoted_in(text) and not _is_json(body):
        return _QUOTES_REQUEST
    masked = " ".join("".join(_mask(it, private) for it in _STRING.split(text)).split())
    if private.are_quoted_in(masked):
        return _QUOTES_REQUEST
    shown = escape_unprintable(masked).encode()
    if len(shown) <= MAX_BYTES:
        return shown.decode()
    return shown[: MAX_BYTES - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


class _PrivateTexts:
    """Texts that must not be logged, and whether another text quotes one, however it is escaped."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._windows = set[str]()
        self._short = set[str]()
        for text in texts:
            letters = _letters(text)
            if len(letters) < _WINDOW:
                self._short.add(letters or text.strip())
            self._windows.update(_windows(letters))

    def are_quoted_in(self, text: str) -> bool:
        """Whether a text has `_WINDOW` letters in a row of one of them, or a whole short one."""
        letters = _letters(text)
        if any(it in letters or it in text for it in self._short):
            return True
        return not self._windows.isdisjoint(_windows(letters))


def _texts(tree: Any, name: str = "") -> Iterator[str]:
    """Yield every text of a request: values named like a prompt, and any value with a space."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, str(key))
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value, name)
    elif isinstance(tree, str) and tree.strip() and ("prompt" in name.lower() or " " in tree):
        yield tree


def _windows(letters: str) -> Iterator[str]:
    return (letters[it : it + _WINDOW] for it in range(len(letters) - _WINDOW + 1))


def _is_json(body: bytes) -> bool:
    """Whether a body is JSON: then the quoted strings in it can be told apart."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _mask(part: str, private: _PrivateTexts) -> str:
    """Return a part of a reply, a quoted string or the text between two, without private data."""
    if private.are_quoted_in(part):
        return '"[private]"' if part.startswith('"') else " [private] "
    masked = _ENCODED.sub(lambda found: f"[{len(found[0])} characters]", part)
    return masked if len(masked) <= _MAX_VALUE else masked[:_MAX_VALUE] + _ELLIPSIS


def _letters(text: str) -> str:
    """Return the letters and digits of a text, unescaped and case-folded."""
    plain = _UNICODE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    plain = _SPACE_ESCAPE.sub(" ", plain)
    plain = unquote_plus(html.unescape(plain), errors="ignore")
    return "".join(it for it in plain.casefold() if it.isalnum())
