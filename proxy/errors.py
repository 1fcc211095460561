"""The errors of the gateway itself, and the JSON of every error response.

adapters.errors.ImageError
└── GatewayError             raised by the gateway; `legacy` is Portkey's message, if it has one
    ├── BadRequest           400: a header, a config or the body is invalid
    ├── Unauthorized         401: no gateway key, or an unknown one
    ├── RequestTimeout       408: the request's own `request_timeout` expired
    ├── BlobGone             410: the image URL has expired, or the image was deleted
    ├── RangeNotSatisfiable  416: the requested range is outside of the image
    ├── UpstreamFailed       502, 504: the provider is unreachable, or its response is unusable
    ├── BlobStoreFailed      502: an image could not be stored or read
    ├── Overloaded           503: a limit on running jobs or memory is reached
    └── CacheUnavailable     503: the cache's index cannot be reached
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
    """An error that the gateway itself found; the module lists the subclasses.

    `errors` is Portkey's list of all problems of a config.
    """

    legacy = ""

    def __init__(
        self, message: str, *, legacy: str = "", errors: Sequence[str] = (), **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.legacy = legacy or self.legacy
        self.errors = errors


class BadRequest(GatewayError):
    """The request is invalid or not allowed; the message says what to change."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class Unauthorized(GatewayError):
    """The request has no gateway key, or an unknown one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class RequestTimeout(GatewayError):
    """The provider took longer than the request allowed."""

    status = 408
    type = "timeout_error"
    code = None


class UpstreamFailed(GatewayError):
    """The provider is unreachable, closed the connection, or sent an unreadable response."""

    status = 502
    type = "server_error"
    code = "provider_unreachable"


class BlobGone(GatewayError):
    """The image URL has expired, or the image was deleted."""

    status = 410
    type = "invalid_request_error"
    code = "blob_gone"
    headers = {"Cache-Control": "no-store"}


class RangeNotSatisfiable(GatewayError):
    """The requested range is outside of an image of `size` bytes."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The requested range is outside of the image, which has {size} bytes.")
        self.headers = {"Content-Range": f"bytes */{size}"}


class BlobStoreFailed(GatewayError):
    """The blob store is unreachable, or refuses to store an image."""

    status = 502
    type = "server_error"
    code = "blob_store_failed"


class CacheUnavailable(GatewayError):
    """The shared index of the cache is unreachable. Images are still generated without it."""

    status = 503
    type = "server_error"
    code = "cache_unavailable"


class Overloaded(GatewayError):
    """A limit on concurrency or memory is reached; the client may retry soon."""

    status = 503
    type = "server_error"
    code = "overloaded"
    headers = {"retry-after": "2", "x-should-retry": "true"}


def to_client_error(error: BaseException, trace_id: str) -> ImageError:
    """Return the error to send for an exception. An unexpected one is logged, not shown."""
    if isinstance(error, ImageError):
        return error
    _LOG.error("trace %s: %s", trace_id, traceback_summary(error))
    return GatewayError(
        f"Internal error in the gateway. Its log has the details, under trace id {trace_id}."
    )


def traceback_summary(error: BaseException) -> str:
    """Return an exception's type and stack, without its message, which could hold a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    return " <- ".join(
        [type(error).__name__, *(f"{it.filename}:{it.lineno} {it.name}" for it in frames[::-1])]
    )


def log_code(error: ImageError) -> str:
    """Return a log-safe error code; a provider's code is untrusted text."""
    code = error.code or ""
    return code if _SAFE_CODE.fullmatch(code) else error.type


TIMEOUT_STATUSES = frozenset({408, 504, 524})
"""Statuses by which a provider, or a proxy in front of it, reports its own timeout."""


_UNKNOWN_OUTCOME = frozenset({"timeout", "unreadable_status"})
"""Codes of a provider's error after which its job may have finished."""


def may_have_been_charged(error: ImageError) -> bool:
    """Whether the provider may have generated, and charged for, an image that was not received.

    >>> (
    ...     may_have_been_charged(RequestTimeout("Late.")),
    ...     may_have_been_charged(UpstreamFailed("Not reached.")),
    ... )
    (True, False)
    """
    if isinstance(error, ProviderError):
        return error.provider_status in TIMEOUT_STATUSES or error.code in _UNKNOWN_OUTCOME
    return isinstance(error, RequestTimeout) or error.code in ("timeout", "connection_lost")


def set_headers(error: ImageError, headers: Mapping[str, str]) -> None:
    """Set headers of an error response. Names are in lower case, and replace any spelling."""
    others = {name: it for name, it in error.headers.items() if name.lower() not in headers}
    error.headers = {**others, **headers}


def error_body(error: ImageError) -> bytes:
    """Return the JSON of an error response: OpenAI's error object and Portkey's fields.

    >>> error_body(BadRequest("No model.", legacy="Invalid config passed"))  # doctest: +ELLIPSIS
    b'{"status":"failure","message":"Invalid config passed","error":{"message":"No model.",...
    """
    if isinstance(error, ProviderError) and error.body is not None:
        return _with_attempts(error.body, error)
    portkey: dict[str, Any] = {}
    if isinstance(error, GatewayError) and (error.legacy or isinstance(error, BadRequest)):
        portkey = {"status": "failure", "message": error.legacy or error.message}
        if error.errors:
            portkey["errors"] = list(error.errors)
    attempts = {"attempts": list(error.attempts)} if error.attempts else {}
    return orjson.dumps({**portkey, "error": error.to_dict(), **attempts})


def error_event(error: ImageError) -> bytes:
    """Return an error as a server-sent event."""
    data = orjson.dumps({"type": "error", "error": error.to_dict()})
    return b"event: error\ndata: %b\n\n" % data


def _with_attempts(body: bytes, error: ProviderError) -> bytes:
    """Append the failures of all targets to a provider's own error body, which is kept verbatim."""
    stripped = body.rstrip()
    if not error.attempts or not stripped.endswith(b"}"):
        return body
    return stripped[:-1] + b',"attempts":' + orjson.dumps(list(error.attempts)) + b"}"
