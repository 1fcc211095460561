"""Bookkeeping about a response: a failure in it is logged and counted, and costs no image.

Prices, metrics, receipts, access lines, the filling of the cache, records of jobs and traces come
after the image that was paid for.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType

from proxy.errors import traceback_summary

_LOG = logging.getLogger("easel")
_PARTS = ("access_log", "cache", "jobs", "metrics", "prices", "receipt", "traces")

FAILURES: dict[str, float] = dict.fromkeys(_PARTS, 0)
"""Failures of this process by part, for the metrics."""


class bookkeeping:  # noqa: N801 - used as a function: `with bookkeeping("metrics"):`
    """A context that ends at an exception, which is logged and counted by `part`."""

    __slots__ = ("_part",)

    def __init__(self, part: str) -> None:
        self._part = part

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        record_failure(self._part, error)
        return True


def record_failure(part: str, error: Exception) -> None:
    """Log and count a failure of bookkeeping."""
    FAILURES[part] += 1
    with suppress(Exception):
        _LOG.error("bookkeeping failed (%s): %s", part, traceback_summary(error))
