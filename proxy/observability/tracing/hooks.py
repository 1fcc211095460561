"""What the rest of the gateway tells the current span; each of these is one `if` without traces.

The law: nothing of OpenTelemetry is imported here but behind that `if`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

from aiohttp import ClientResponse
from yarl import URL

from adapters.contract import Answer
from adapters.http import ProviderRequest
from proxy.observability.tracing.context import CURRENT
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Target

if TYPE_CHECKING:
    from proxy.observability.tracing.exchange import Sending
    from proxy.observability.tracing.spans import Span, Value

_NOTHING: AbstractContextManager[object] = nullcontext()
_NO_HEADERS: Mapping[str, str] = {}


def _current() -> Span | None:
    """Return the current span, if any."""
    return cast("Span | None", CURRENT.get())


def noted(event: str, about: Mapping[str, Value] = _NO_HEADERS) -> None:
    """Note that something happened just now."""
    if (span := _current()) is not None:
        span.note(event, about)


def job_begun(name: str) -> AbstractContextManager[object]:
    """Have a block be a job, which may outlive the request that began it."""
    if (span := _current()) is None or not span.is_sampled:
        return _NOTHING
    return span.job(name)


def attempted(attempt: Attempt) -> AbstractContextManager[object]:
    """Have a block be an attempt at a target."""
    if (span := _current()) is None or not span.is_sampled:
        return _NOTHING
    from proxy.observability.tracing.attempt import Attempted  # noqa: PLC0415 - see above

    return Attempted(span, attempt)


def counted(answer: Answer, secrets: frozenset[str]) -> None:
    """Note what a provider that was sent some secrets said of an answer that it made."""
    if (span := _current()) is not None and span.is_sampled:
        from proxy.observability.tracing.attempt import count  # noqa: PLC0415 - see above

        count(span, answer, secrets)


def watched(
    send: Sending, target: Target, request: ProviderRequest, url: URL
) -> Callable[[], Awaitable[ClientResponse]]:
    """Give what sends a request to a provider, as often as it is called."""
    if (span := _current()) is None:
        return lambda: send(_NO_HEADERS)
    from proxy.observability.tracing.exchange import Exchanges, along  # noqa: PLC0415 - see above

    if not span.is_sampled:
        headers = along(span, target, request)
        return lambda: send(headers)
    return Exchanges(span, send, target, request, url)
