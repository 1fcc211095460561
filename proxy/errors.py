"""What the gateway itself has to say no to, and how every failure is written for a client.

adapters.errors.ImageError
└── GatewayError           made by the gateway; `legacy` is Portkey's sentence, where it has one
    ├── BadRequest         400: a header, a config, the body
    ├── Unauthorized       401: no gateway key, or a wrong one
    ├── TimedOut           408: the request's own `request_timeout` ran out
    ├── BlobGone           410: the picture's URL has expired, or the picture was given up
    ├── RangeRefused       416: a picture has no such bytes
    ├── UpstreamFailed     502, 504: the provider could not be reached, or broke off
    ├── BlobStoreFailed    502: a picture could not be kept, or not be read again
    ├── Overloaded         503: as much is under way, or held, as may be
    └── CacheAway          503: what the cache knows cannot be asked or changed now
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapters.errors import ImageError, ProviderError

_LOG = logging.getLogger("easel")
_SAFE_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class GatewayError(ImageError):
    """A failure that the gateway found; see the module for the tree.

    `errors` is Portkey's list of everything that is wrong with a config.
    """

    legacy = ""

    def __init__(
        self, message: str, *, legacy: str = "", errors: Sequence[str] = (), **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.legacy = legacy or self.legacy
        self.errors = errors


class BadRequest(GatewayError):
    """The request cannot be understood or may not be done; the message says what to change."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class Unauthorized(GatewayError):
    """No gateway key, or one that is not known."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class RequestTimeout(GatewayError):
    """The provider took longer than the request allowed."""

    status = 408
    type = "timeout_error"
    code = None


class UpstreamFailed(GatewayError):
    """The provider could not be reached, or broke off, or answered what cannot be read."""

    status = 502
    type = "server_error"
    code = "provider_unreachable"


class BlobGone(GatewayError):
    """The URL was good, and is no more."""

    status = 410
    type = "invalid_request_error"
    code = "blob_gone"
    headers = {"Cache-Control": "no-store"}


class RangeNotSatisfiable(GatewayError):
    """A picture of `size` bytes has none in the range that was asked for."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The picture has {size} bytes, and none in that range.")
        self.headers = {"Content-Range": f"bytes */{size}"}


class BlobStoreFailed(GatewayError):
    """The blob store cannot be reached or used, or will not keep a picture."""

    status = 502
    type = "server_error"
    code = "blob_store_failed"


class CacheUnavailable(GatewayError):
    """The index of the cache is elsewhere, and cannot be reached; a picture is made without it."""

    status = 503
    type = "server_error"
    code = "cache_unavailable"


class Overloaded(GatewayError):
    """More is under way than may be; a client may ask again soon."""

    status = 503
    type = "server_error"
    code = "overloaded"
    headers = {"retry-after": "2", "x-should-retry": "true"}


def to_client_error(error: BaseException, trace: str) -> ImageError:
    """Give what a client is told of a failure: little of a bug of ours, the log has the rest."""
    if isinstance(error, ImageError):
        return error
    _LOG.error("trace %s: %s", trace, traceback_summary(error))
    return GatewayError("The gateway failed; its log has the details.")


def traceback_summary(error: BaseException) -> str:
    """Give an exception's type and where it came from; its message could hold a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    return " <- ".join(
        [type(error).__name__, *(f"{it.filename}:{it.lineno} {it.name}" for it in frames[::-1])]
    )


def log_code(error: ImageError) -> str:
    """Give the word by which a failure stands in the log: a provider may call anything its code."""
    code = error.code or ""
    return code if _SAFE_CODE.fullmatch(code) else error.type


TIMEOUT_STATUSES = frozenset({408, 504, 524})
"""Statuses by which a provider, or what stands before it, waits no longer for its own work."""


def may_have_been_charged(error: ImageError) -> bool:
    """Tell whether a provider may have made, and charged, a picture that we know nothing of.

    >>> outcome_unknown(TimedOut("Late.")), outcome_unknown(UpstreamFailed("Not reached."))
    (True, False)
    """
    if isinstance(error, ProviderError):
        return error.provider_status in TIMEOUT_STATUSES or error.code == "timeout"
    return isinstance(error, RequestTimeout) or error.code in ("timeout", "connection_lost")


def set_headers(error: ImageError, headers: Mapping[str, str]) -> None:
    """Put headers, named in lower case, over those that an error brings, however spelled."""
    kept = {name: it for name, it in error.headers.items() if name.lower() not in headers}
    error.headers = {**kept, **headers}


def error_body(error: ImageError) -> bytes:
    """Write an error for the client: the OpenAI object, with Portkey's fields beside it.

    >>> body_of(BadRequest("Say more.", legacy="Invalid config passed"))  # doctest: +ELLIPSIS
    b'{"status":"failure","message":"Invalid config passed","error":{"message":"Say more.",...
    """
    if isinstance(error, ProviderError) and error.body is not None:
        return _with_attempts(error.body, error)
    portkey: dict[str, Any] = {}
    if isinstance(error, GatewayError) and error.legacy:
        portkey = {"status": "failure", "message": error.legacy}
        if error.errors:
            portkey["errors"] = list(error.errors)
    told = {"attempts": list(error.attempts)} if error.attempts else {}
    return orjson.dumps({**portkey, "error": error.as_object(), **told})


def _with_attempts(body: bytes, error: ProviderError) -> bytes:
    """Add how each target failed to a provider's own error, whose bytes stay as they are."""
    end = body.rstrip()
    if not error.attempts or not end.endswith(b"}"):
        return body
    return end[:-1] + b',"attempts":' + orjson.dumps(list(error.attempts)) + b"}"
