"""Behaviour that a caller may ask the studio for, to see how his own program takes it.

latency_ms   wait so long before the answer begins
status       answer with this error status instead of a picture
refuse       answer as a safety system that says no
cut_after    send so many bytes of the answer's body, then cut the connection
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.errors import ImageError
from adapters.table.param import Param

PARAMS: tuple[Param, ...] = (
    Param("latency_ms", kind=int, low=0, high=600_000),
    Param("status", kind=int, low=400, high=599),
    Param("refuse", kind=bool),
    Param("cut_after", kind=int, low=0),
)

RETRY_LATER = frozenset({429, 503})
"""Statuses that come with `retry-after`."""

# Scripted status -> (type, code). What is not here is one of the two below it.
_ERROR_TYPES: dict[int, tuple[str, str | None]] = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    408: ("server_error", "timeout"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("server_error", "overloaded"),
    504: ("server_error", "timeout"),
}
_BAD_REQUEST: tuple[str, str | None] = ("invalid_request_error", None)
_SERVER_ERROR: tuple[str, str | None] = ("server_error", None)
_FIRST_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class FaultScript:
    """What was asked for; by default nothing, and the studio simply answers."""

    latency_ms: int = 0
    status: int | None = None
    refuse: bool = False
    cut_after: int | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> FaultScript:
        """Take the script out of parameters that hold to `ROWS`."""
        return cls(**{row.name: params[row.name] for row in PARAMS if row.name in params})

    def error(self) -> ImageError | None:
        """Give the failure that was asked for, if one was.

        >>> Script(status=429).failure().code
        'rate_limit_exceeded'
        """
        if self.refuse:
            return ImageError(
                "Your request was rejected by the safety system.",
                status=400,
                type="image_generation_user_error",
                code="moderation_blocked",
            )
        if self.status is None:
            return None
        usual = _SERVER_ERROR if self.status >= _FIRST_SERVER_ERROR else _BAD_REQUEST
        kind, code = _ERROR_TYPES.get(self.status, usual)
        message = f"You asked for status {self.status}, and here it is."
        return ImageError(message, status=self.status, type=kind, code=code)
