"""Errors of image requests, with the status, type, code and message the client receives.

    ImageError                 an OpenAI error object: status, type, code, param, message
    ├── BadParam               400: a parameter that cannot be sent
    └── ProviderError          the provider answered with an error
        └── Refusal            400: the provider's safety system refused

`FlowCancelled` is not one of them: it is thrown into a flow and never reaches a client.

Messages contain no credential, prompt or image data of the gateway's. A provider's own message is
passed on, truncated to `MESSAGE_LIMIT` characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.http import ProviderReply
from adapters.tools.error_text import describe, describe_body
from adapters.tools.json_access import dig, dig_str, dig_typed

MESSAGE_LIMIT = 600
FIELD_LIMIT = 200
"""Longest code or parameter name of an error, in characters."""
BODY_LIMIT = 64 * 1024
"""Largest error body of a provider that is relayed unchanged: the gateway may hold it for long."""


class ImageError(Exception):
    """An error that can be shown to the client; the module docstring has the tree."""

    status = 500
    type = "server_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = {}
    """Further response headers, such as a provider's `retry-after`."""
    attempts: Sequence[Mapping[str, Any]] = ()
    """The error of each target, if several were tried."""
    sent_as_event = False
    """Whether the response was an event stream, and ends with an event that reports this."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in the OpenAI error object
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        self.message = message[:MESSAGE_LIMIT]
        super().__init__(self.message)
        self.status = status or self.status
        self.type = type or self.type
        self.code = code[:FIELD_LIMIT] if code else self.code
        self.param = param[:FIELD_LIMIT] if param else self.param

    def to_dict(self) -> dict[str, Any]:
        """Return the OpenAI error object: `{"message", "type", "param", "code"}`."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


class BadParam(ImageError):
    """The client's parameter `param` cannot be sent. The message says what to change."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"

    def __init__(self, param: str, message: str, *, code: str | None = None) -> None:
        super().__init__(message, param=param, code=code)


class ProviderError(ImageError):
    """The provider answered with an error.

    `provider_status` is the HTTP status the provider sent (a 200 can carry an error). `body` is the
    provider's own body if it is an OpenAI error to relay unchanged, at most `BODY_LIMIT` bytes,
    else None.
    """

    status = 502

    def __init__(
        self, message: str, *, provider_status: int = 200, body: bytes | None = None, **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.provider_status = provider_status
        self.body = body if body is None or len(body) <= BODY_LIMIT else None


class Refusal(ProviderError):
    """The provider's safety system refused the prompt or withheld the image."""

    status = 400
    type = "image_generation_user_error"
    code = "moderation_blocked"


class FlowCancelled(Exception):
    """The image is no longer wanted. Thrown into a flow at its pending request.

    The flow may yield one more request, to cancel the provider's job, and must then re-raise.
    """


REFUSED = 451
"""In an adapter's `status_by_code` or `status_by_phrase`: a refusal by the safety system."""

REFUSAL_WORDS = re.compile(
    r"\bnsfw\b|content policy|content moderation|\bmoderated\b|usage guidelines", re.IGNORECASE
)
"""An adapter's `refusal_pattern` if the provider's documentation shows no refusal."""

# Provider status -> (client status, type, code). Any other 4xx becomes a 400, any other 5xx a 502.
_BY_STATUS: dict[int, tuple[int, str, str | None]] = {
    401: (401, "authentication_error", "invalid_api_key"),
    402: (429, "insufficient_quota", "insufficient_quota"),
    403: (403, "permission_error", None),
    404: (404, "invalid_request_error", "model_not_found"),
    408: (504, "server_error", "timeout"),
    413: (413, "invalid_request_error", "request_too_large"),
    424: (502, "server_error", None),
    429: (429, "rate_limit_error", "rate_limit_exceeded"),
    503: (503, "server_error", "overloaded"),
    504: (504, "server_error", "timeout"),
    529: (503, "server_error", "overloaded"),
}
_BAD_REQUEST: tuple[int, str, str | None] = (400, "invalid_request_error", None)
_BAD_GATEWAY: tuple[int, str, str | None] = (502, "server_error", None)
_FIRST_ERROR, _SERVER_ERROR = 400, 500
_NO_REASONS = frozenset({"param", "id", "request_id", "requestId", "trace_id"})
"""Members of an error that alone do not make it one."""

# JSON paths of providers' error messages, best first.
_MESSAGES: tuple[tuple[str | int, ...], ...] = (
    ("error", "message"),
    ("error",),
    ("error", 0),
    (0, "error", "message"),
    (0, "message"),
    ("detail", 0, "msg"),
    ("detail", "message"),
    ("detail", "error"),
    ("detail",),
    ("errors", 0, "message"),
    ("errors", 0),
    ("message",),
    ("fault", "faultstring"),
    ("base_resp", "status_msg"),
    ("Response", "Error", "Message"),
    ("Response", "JobErrorMsg"),
    ("task", "reason"),
    ("output", "message"),
    ("msg",),
    ("reason",),
    ("title",),
)
_NAME = ("error",)
_DETAILS = ("message", "detail", "error_description")
"""Members that explain an `error` that is only a name."""
_MEMBERS = (
    *("error", "errors", "detail", "details", "message", "messages", "msg", "error_description"),
    *("error_message", "errorMessage", "description", "problem", "fault", "reason", "title"),
)
"""Members of a reply that may hold a message in a shape of their own."""
# JSON paths of providers' error codes.
_CODES: tuple[tuple[str | int, ...], ...] = (
    ("error", "code"),
    ("error", "type"),
    ("error", "status"),
    ("error", "details", 0, "reason"),
    ("error", "innererror", "code"),
    (0, "error", "status"),
    (0, "error", "details", 0, "reason"),
    ("code",),
    ("error_type",),
    ("error_code",),
    ("detail", 0, "type"),
    ("detail", "code"),
    ("errors", 0, "code"),
    ("base_resp", "status_code"),
    ("Response", "Error", "Code"),
    ("Response", "JobErrorCode"),
    ("task", "reason"),
    ("output", "code"),
    ("reason",),
    ("name",),
)


def says_something(error: Any) -> bool:
    """Return whether the value of an `error` member reports an error.

    Some servers send the member in every success, with nothing in it.

    >>> says_something({"message": "", "type": "", "param": "size", "code": None})
    False
    >>> says_something({"message": "", "code": 1301})
    True
    """
    stack = [error]
    while stack:
        match stack.pop():
            case dict(members):
                stack.extend(it for name, it in members.items() if name not in _NO_REASONS)
            case list(members):
                stack.extend(members)
            case str(text) if text.strip():
                return True
            case int(number) | float(number) if number:
                return True
    return False


def find_error_message(reply: ProviderReply) -> str:
    """Return a provider's error message, "" if the reply has none.

    It is sought at the usual places, and in any shape below them. The text of an error status that
    is not JSON is a message, too.

    >>> from adapters.http import ProviderReply
    >>> body = b'{"detail": [{"loc": ["width"], "msg": "too wide"}]}'
    >>> find_error_message(ProviderReply(422, body=body))
    'too wide'
    """
    tree = reply.json()
    for path in _MESSAGES:
        if found := dig_str(tree, *path).strip():
            return _with_details(found, tree) if path == _NAME else found
    if isinstance(tree, dict):
        members = (describe(tree[name]) for name in _MEMBERS if name in tree)
        return next(filter(None, members), "")
    if reply.ok:
        return ""
    return describe_body(reply.body) if tree is None else describe(tree)


def _with_details(name: str, tree: Any) -> str:
    """Return an error that is a string, which may be only a name, with the words beside it."""
    details = next(filter(None, (describe(dig(tree, it)) for it in _DETAILS)), "")
    return name if details in name else f"{name}: {details}"


def find_error_codes(reply: ProviderReply) -> list[str]:
    """Return all error codes in a reply, as text.

    >>> from adapters.http import ProviderReply
    >>> find_error_codes(ProviderReply(200, body=b'{"base_resp": {"status_code": 1026}}'))
    ['1026']
    """
    tree = reply.json()
    found = (dig(tree, *path) for path in _CODES)
    return [str(it) for it in found if isinstance(it, str | int) and not isinstance(it, bool)]


def status_from_codes(reply: ProviderReply, codes: Mapping[str, int]) -> int:
    """Return the status for a reply's error codes, 0 if none matches.

    `codes` maps prefixes of error codes to statuses; the longest match counts.
    """
    found = find_error_codes(reply)
    matching = (prefix for prefix in codes if any(code.startswith(prefix) for code in found))
    return codes.get(max(matching, key=len, default=""), 0)


def status_from_phrases(message: str, phrases: Mapping[str, int]) -> int:
    """Return the status for the first phrase that occurs in a message, 0 if none does.

    >>> status_from_phrases("You have no Credits left.", {"credits": 402})
    402
    """
    lowered = message.lower()
    return next((status for phrase, status in phrases.items() if phrase in lowered), 0)


def error_from_reply(  # noqa: PLR0913 - the parts of an error object, each with its own source
    reply: ProviderReply,
    *,
    message: str = "",
    code: str | None = None,
    param: str | None = None,
    status: int = 0,
) -> ProviderError:
    """Return the client's error for a provider's reply that reports a failure.

    `status` replaces the reply's status if that does not fit the failure; without it, a reply below
    400 becomes a 502. `_BY_STATUS` maps the status to the client's.
    """
    status = status or (reply.status if reply.status >= _FIRST_ERROR else 502)
    default = _BAD_GATEWAY if status >= _SERVER_ERROR else _BAD_REQUEST
    status, kind, usual_code = _BY_STATUS.get(status, default)
    message = message or find_error_message(reply) or f"no reason given (status {reply.status})"
    return ProviderError(
        f"The provider answered: {message}",
        provider_status=reply.status,
        status=status,
        type=kind,
        code=code or usual_code,
        param=param or _find_param(reply),
    )


def _find_param(reply: ProviderReply) -> str | None:
    """Return the parameter named in OpenAI's `param` or in a FastAPI `detail` list."""
    tree = reply.json()
    location = dig_typed(tree, "detail", 0, "loc", kind=list)
    name = str(location[-1]) if location and location != ["body"] else None
    return name or dig_str(tree, "error", "param") or None


def refusal(message: str, *, provider_status: int = 200) -> Refusal:
    """Return the error for a refusal by the safety system; `message` is the provider's reason."""
    return Refusal(
        f"The provider's safety system refused this request: {message or 'no reason given'}",
        provider_status=provider_status,
    )


def no_image_error(provider_status: int = 200, reason: str = "") -> ProviderError:
    """Return the error for a success without an image; `reason` is the provider's message.

    >>> no_image_error(200, "NO_IMAGE").message
    'The provider answered without an image: NO_IMAGE'
    """
    return ProviderError(
        f"The provider answered without an image: {reason}"
        if reason
        else "The provider answered without an image.",
        provider_status=provider_status,
        code="no_picture",
    )
