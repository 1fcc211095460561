"""The `retry-after` of an error response, from whatever a provider says about when to ask again.

In this order: its own `retry-after`, which is passed on; `retry-after-ms`; a member or a phrase in
the error's JSON; a header that says when a limit is reset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from adapters.errors import ProviderError
from adapters.http import ProviderReply
from adapters.tools.retry_delay import MAX_DELAY, find_retry_delay, parse_duration
from proxy.errors import set_headers

_STATUSES = frozenset({429, 503})
"""Statuses of errors that are over after a while."""
_NAME = "retry-after"
_IN_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")
_RESETS = (
    "ratelimit-reset",
    "x-ratelimit-reset",
    "x-rate-limit-reset",
    "x-rate-limit-reset-at-utc",
)
_LIMITS = ("requests", "tokens")
_MAX_VALUE = 64
"""Characters of a header's value that are parsed."""
_EPOCH, _EPOCH_MS = 1e9, 1e12
"""From these numbers on, a reset is a time in seconds or milliseconds, not a duration."""


def add_retry_after(error: ProviderError, reply: ProviderReply, now: float) -> None:
    """Add `retry-after`, in whole seconds, to the headers of an error that is over after a while.

    Nothing is added if they have it, or if the provider names no delay. `now` is in seconds since
    the epoch.
    """
    if error.status not in _STATUSES or _NAME in error.headers:
        return
    delay = _from_milliseconds(reply.headers)
    if delay is None:
        delay = find_retry_delay(reply.json())
    if delay is None:
        delay = max(_resets(reply.headers, now), default=None)
    if delay is not None and delay <= MAX_DELAY:
        set_headers(error, {_NAME: str(max(1, math.ceil(delay)))})


def _from_milliseconds(headers: Mapping[str, str]) -> float | None:
    for name in _IN_MILLISECONDS:
        if (delay := parse_duration(headers.get(name, "")[:_MAX_VALUE])) is not None:
            return delay / 1000
    return None


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """Yield the seconds until each limit that is used up is reset."""
    for name in _RESETS:
        if (delay := _until(headers.get(name, "")[:_MAX_VALUE], now)) is not None:
            yield delay
    for limit in _LIMITS:
        if headers.get(f"x-ratelimit-remaining-{limit}") == "0":
            reset = headers.get(f"x-ratelimit-reset-{limit}", "")[:_MAX_VALUE]
            if (delay := _until(reset, now)) is not None:
                yield delay


def _until(text: str, now: float) -> float | None:
    """Return the seconds until a reset: a number, a duration, or a time; None if it is neither."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return parse_duration(text) if "-" not in text else _until_time(text, now)
    if not math.isfinite(number):
        return None
    if number >= _EPOCH:
        number = (number / 1000 if number >= _EPOCH_MS else number) - now
    return max(0.0, number)


def _until_time(text: str, now: float) -> float | None:
    """Return the seconds until a time in ISO 8601, in UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() - now)
