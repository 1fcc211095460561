"""What can go wrong with a picture, in the words the client will read.

    ImageError                 status, type, code, param, message: the OpenAI error object
    ├── BadParam               400: the client asked for something that cannot be asked
    └── ProviderError          the provider answered, and the answer was no
        └── Refusal            400: the provider's safety system said no

`Abandoned` is none of them: it is for a flow, and no client reads it.

Messages never hold a credential, a prompt or picture bytes of ours. What a provider wrote
is passed on, cut to `MESSAGE_LIMIT` characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.http import ProviderReply
from adapters.tools.json_access import dig, dig_str, dig_typed

MESSAGE_LIMIT = 600


class ImageError(Exception):
    """A failure that can be told to the client; see the module for the tree."""

    status = 500
    type = "server_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = {}
    """Further headers for the client, such as a provider's `retry-after`."""
    attempts: Sequence[Mapping[str, Any]] = ()
    """How each of several targets failed, for the client."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in the OpenAI error object
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message[:MESSAGE_LIMIT]
        self.status = status or self.status
        self.type = type or self.type
        self.code = code or self.code
        self.param = param or self.param

    def to_dict(self) -> dict[str, Any]:
        """Give the OpenAI error object: `{"message", "type", "param", "code"}`."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


class BadParam(ImageError):
    """The client's parameter `param` cannot be sent as it is; the message says what to change."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"

    def __init__(self, param: str, message: str, *, code: str | None = None) -> None:
        super().__init__(message, param=param, code=code)


class ProviderError(ImageError):
    """The provider answered with a failure.

    `provider_status` is the status on the provider's wire (a 200 can carry a failure).
    `body` holds the provider's own bytes when they already are an OpenAI error and are to be
    relayed unchanged; else None.
    """

    status = 502

    def __init__(
        self, message: str, *, provider_status: int = 200, body: bytes | None = None, **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.provider_status = provider_status
        self.body = body


class Refusal(ProviderError):
    """The provider's safety system refused the prompt or held back the picture."""

    status = 400
    type = "image_generation_user_error"
    code = "moderation_blocked"


class FlowCancelled(Exception):
    """Nobody wants the picture any more; thrown into a flow at the request that it waits with.

    The flow may yield one more request, by which the provider cancels its job, and lets this pass.
    """


REFUSED = 451
"""Among an adapter's `codes`: the provider's safety system said no."""

REFUSAL_WORDS = re.compile(
    r"\bnsfw\b|content policy|content moderation|\bmoderated\b|usage guidelines", re.IGNORECASE
)
"""For an adapter's `refuses`, where the provider's documents do not say how it refuses."""

# Provider status -> (our status, type, code). What is not here and below 500 is a 400; what is
# not here and 500 or above is a 502.
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

# Where providers put the sentence that says what went wrong, best first.
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
# Where they put the word or number that says what kind of failure it is.
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


def find_error_message(reply: ProviderReply) -> str:
    """Find the sentence in which a provider says what went wrong; "" when there is none.

    >>> from adapters.http import ProviderReply
    >>> find_error_message(ProviderReply(422, body=b'{"detail": [{"loc": ["width"], "msg": "too wide"}]}'))
    'too wide'
    """
    tree = reply.json()
    for path in _MESSAGES:
        if found := dig_str(tree, *path):
            return found
    return ""


def find_error_codes(reply: ProviderReply) -> list[str]:
    """Find the words and numbers by which a provider says what kind of failure it is.

    >>> from adapters.http import ProviderReply
    >>> find_error_codes(ProviderReply(200, body=b'{"base_resp": {"status_code": 1026}}'))
    ['1026']
    """
    tree = reply.json()
    found = (dig(tree, *path) for path in _CODES)
    return [str(it) for it in found if isinstance(it, str | int) and not isinstance(it, bool)]


def status_from_codes(reply: ProviderReply, codes: Mapping[str, int]) -> int:
    """Give the status that says best what a reply means, by its own codes; 0: they say nothing.

    The longest of `codes` with which one of the reply's own begins is the one that counts.
    """
    own = find_error_codes(reply)
    fitting = (start for start in codes if any(code.startswith(start) for code in own))
    return codes.get(max(fitting, key=len, default=""), 0)


def status_from_phrases(said: str, phrases: Mapping[str, int]) -> int:
    """Give the status that says best what a sentence means, by its phrases; 0: it says nothing.

    >>> status_from_phrases("You have no Credits left.", {"credits": 402})
    402
    """
    lowered = said.lower()
    return next((status for phrase, status in phrases.items() if phrase in lowered), 0)


def error_from_reply(  # noqa: PLR0913 - the parts of an error object, each with its own source
    reply: ProviderReply,
    *,
    message: str = "",
    code: str | None = None,
    param: str | None = None,
    status: int = 0,
) -> ProviderError:
    """Describe a reply with an error status as the error the client will get.

    `_BY_STATUS` says what a provider's status is for the client; any other 4xx is a 400, any other
    5xx a 502. `status` is what the reply means where its own status does not say it; a success
    that is none is a 502.
    """
    status = status or (reply.status if reply.status >= _FIRST_ERROR else 502)
    default = _BAD_GATEWAY if status >= _SERVER_ERROR else _BAD_REQUEST
    status, kind, usual_code = _BY_STATUS.get(status, default)
    said = message or find_error_message(reply) or f"no reason given (status {reply.status})"
    return ProviderError(
        f"The provider answered: {said}",
        provider_status=reply.status,
        status=status,
        type=kind,
        code=code or usual_code,
        param=param or _find_param(reply),
    )


def _find_param(reply: ProviderReply) -> str | None:
    """Name the parameter that OpenAI's `param` or a FastAPI-style `detail` list complains of."""
    tree = reply.json()
    place = dig_typed(tree, "detail", 0, "loc", kind=list)
    named = str(place[-1]) if place and place != ["body"] else None
    return named or dig_str(tree, "error", "param") or None


def refusal(message: str, *, provider_status: int = 200) -> Refusal:
    """Say that the provider's safety system refused; `message` is the provider's reason."""
    return Refusal(
        f"The provider's safety system refused this request: {message or 'no reason given'}",
        provider_status=provider_status,
    )


def no_image_error(provider_status: int = 200, why: str = "") -> ProviderError:
    """Say that a reply which should have held a picture held none; `why` in the provider's words.

    >>> no_image_error(200, "NO_IMAGE").message
    'The provider answered without a picture: NO_IMAGE'
    """
    return ProviderError(
        f"The provider answered without a picture: {why}"
        if why
        else "The provider answered without a picture.",
        provider_status=provider_status,
        code="no_picture",
    )
