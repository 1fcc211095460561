"""Fault injection: parameters by which a client tests how its own program handles faults.

latency_ms   wait this long before the response starts
status       respond with this error status instead of an image
refuse       respond with a safety refusal
cut_after    send this many bytes of the body, then close the connection
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
"""Statuses that are sent with `retry-after`."""

# Status -> (type, code). Any other status is one of the two below.
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
    """The requested faults; by default none."""

    latency_ms: int = 0
    status: int | None = None
    refuse: bool = False
    cut_after: int | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> FaultScript:
        """Return the faults of validated parameters."""
        return cls(**{row.name: params[row.name] for row in PARAMS if row.name in params})

    def error(self) -> ImageError | None:
        """Return the requested error, if any.

        >>> FaultScript(status=429).error().code
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
        message = f"This request asked for status {self.status}."
        return ImageError(message, status=self.status, type=kind, code=code)
