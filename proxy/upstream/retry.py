"""Whether and when a request to a provider is sent again; aiohttp-retry does the repeating.

The invariant: a request that may have been charged is repeated only if the target's config asks for
it.

    result of a try                    no policy          a policy with attempts
    no connection: nothing was sent    once more, now     yes
    connection lost after sending      no                 if 502 is among its statuses
    no data within the idle timeout    no                 if 504 is among them
    `request_timeout` expired          no                 if 408 is among them (not by default)
    an error status                    no                 if it is among them
    a success                          no                 no

A GET costs nothing. It is repeated where that can help, with or without a policy, and does not
count as an attempt.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, cast

from aiohttp import ClientResponse
from aiohttp_retry import RetryClient, RetryOptionsBase

from proxy.errors import TIMEOUT_STATUSES, GatewayError, RequestTimeout
from proxy.http.status import is_success
from proxy.routing.attempt import RetryState
from proxy.settings.policies import MAX_RETRY_ATTEMPTS, RetryPolicy

if TYPE_CHECKING:
    from aiohttp import ClientSession

SendResult = ClientResponse | GatewayError
"""The result of sending a request: a response, or the error that sending raised."""

Send = Callable[[], Awaitable[ClientResponse]]
Sleep = Callable[[float], Awaitable[None]]

MAX_TOTAL_DELAY = 60.0
"""Seconds that all delays of a conversation may add up to."""

_UNREACHABLE = "provider_unreachable"
_BROKEN_CONNECTION = frozenset({"connection_lost", "timeout"})
_JITTER = 0.1
_NO_POLICY = RetryPolicy(attempts=0)

_BUSY_STATUSES = frozenset({429, 502, 503, 504})
_MAX_FREE_TRIES = 3
_HALF_FREE_DELAY = 0.25

_RETRY_AFTER_STATUSES = frozenset({429, 503})
# The first header that is present counts, as Portkey documents it. Each with its units per second.
_RETRY_AFTER_HEADERS = (("retry-after-ms", 1000), ("x-ms-retry-after-ms", 1000), ("retry-after", 1))
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


class RetryRule(Protocol):
    """Decides after each try whether there is another."""

    def next_delay(self, result: SendResult) -> float | None:
        """Return the seconds to wait before the next try; None: `result` is final."""


class FreeRetry:
    """The rule for requests that cost nothing: retry a busy provider and a broken connection."""

    def __init__(self) -> None:
        self._tries = 0

    def next_delay(self, result: SendResult) -> float | None:
        """Return the seconds to wait before the next try; None: `result` is final."""
        self._tries += 1
        if isinstance(result, GatewayError):
            is_retried = result.code == _UNREACHABLE or result.code in _BROKEN_CONNECTION
        else:
            is_retried = result.status in _BUSY_STATUSES
        if not is_retried or self._tries == _MAX_FREE_TRIES:
            return None
        return _HALF_FREE_DELAY * 2.0**self._tries


@dataclass(slots=True)
class PaidRetry:
    """The rule for requests that may cost money, for one conversation: the table in the module.

    `jitter` returns numbers from 0 to 1, `now` seconds since the epoch. `started_at` is the event
    loop's time at which the last try began; `repeats` counts the tries after the first.
    """

    policy: RetryPolicy | None = None
    state: RetryState = field(default_factory=RetryState)
    sleep: Sleep = asyncio.sleep
    jitter: Callable[[], float] = random.random
    now: Callable[[], float] = time.time
    started_at: float = 0.0
    repeats: int = 0
    _total_delay: float = 0.0
    _is_reserved: bool = False

    def record_send(self) -> None:
        """Record that a request is sent. It takes one from the budget, unless that was reserved."""
        if not self._is_reserved:
            self.state.budget.remaining -= 1
        self._is_reserved = False
        self.started_at = asyncio.get_running_loop().time()

    def next_delay(self, result: SendResult) -> float | None:
        """Return the seconds to wait before the next try; None: `result` is final."""
        if isinstance(result, GatewayError):
            self.state.budget.record_failure(result)
        elif result.status in TIMEOUT_STATUSES:
            self.state.budget.maybe_charged = True
        policy = self.policy or _NO_POLICY
        if not policy.attempts:
            return self._reconnect_delay(result)
        if not should_retry(result, policy.statuses):
            return None
        delay = self._requested_delay(result) if policy.honors_retry_after else None
        if delay is None:
            delay = 2.0**self.repeats * (1 + _JITTER * self.jitter())
        is_spent = self.repeats >= policy.attempts or self.state.budget.remaining <= 0
        if is_spent or delay >= MAX_TOTAL_DELAY or self._total_delay + delay > MAX_TOTAL_DELAY:
            self.state.retries = -1
            return None
        self._total_delay += delay
        self._reserve_repeat()
        # Shared by parallel conversations: the largest number of retries, or -1 if any gave up.
        if self.state.retries >= 0:
            self.state.retries = max(self.state.retries, self.repeats)
        return delay

    def _reconnect_delay(self, result: SendResult) -> float | None:
        """Without a policy: connect once more, immediately. It does not count as a retry."""
        if self.repeats or self.state.budget.remaining <= 0:
            return None
        if not should_retry(result, frozenset()):
            return None
        self._reserve_repeat()
        return 0.0

    def _reserve_repeat(self) -> None:
        # Reserved before waiting, so that parallel conversations do not share the last attempt.
        self.state.budget.remaining -= 1
        self._is_reserved = True
        self.repeats += 1

    def _requested_delay(self, result: SendResult) -> float | None:
        if isinstance(result, GatewayError) or result.status not in _RETRY_AFTER_STATUSES:
            return None
        return retry_after(result.headers, self.now())


def should_retry(result: SendResult, statuses: frozenset[int]) -> bool:
    """Return whether a result calls for another try, if a policy names these `statuses`.

    >>> from proxy.errors import UpstreamFailed
    >>> should_retry(UpstreamFailed("No connection."), frozenset())
    True
    >>> should_retry(UpstreamFailed("Lost.", code="connection_lost"), frozenset({500, 504}))
    False
    """
    if not isinstance(result, GatewayError):
        return not is_success(result.status) and result.status in statuses
    if result.code == _UNREACHABLE:
        return True
    # Each of these errors has the status by which a config names it: 408, 502 or 504.
    is_lost = isinstance(result, RequestTimeout) or result.code in _BROKEN_CONNECTION
    return is_lost and result.status in statuses


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a provider asks to wait; None if absent or not understood.

    >>> retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0.0)
    1.5
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}, 2.0)
    5.0
    """
    for name, units in _RETRY_AFTER_HEADERS:
        if name in headers:
            text = headers[name].strip()
            if _NUMBER.fullmatch(text):
                return float(text) / units
            return _seconds_until(text, now) if name == "retry-after" else None
    return None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


async def send_with_retry(send: Send, rule: RetryRule, sleep: Sleep) -> ClientResponse:
    """Send until the rule calls a result final; return the response, or raise the error."""
    result: SendResult
    try:
        result = response = await send()
        if is_success(response.status):
            # No rule repeats a success, so the common case needs no retry client.
            return response
    except GatewayError as error:
        result = error
    adapter = _RetryAdapter(result, send, rule, sleep)
    # Of the session it uses only `request`.
    client = RetryClient(client_session=cast("ClientSession", adapter), retry_options=adapter)
    return await client.get("")


class _RepeatedError(Exception):
    """Signals aiohttp-retry to try again."""


class _RetryAdapter(RetryOptionsBase):
    """Adapter that makes aiohttp-retry use our `send` and our retry rule.

    aiohttp-retry chooses exceptions by type only, never releases a response that it discards, and
    always sleeps by the event loop's clock. So the rule is applied here, and waiting is done here.
    """

    def __init__(self, result: SendResult, send: Send, rule: RetryRule, sleep: Sleep) -> None:
        super().__init__(
            # One more than any rule allows, so that the rule decides.
            attempts=MAX_RETRY_ATTEMPTS + 2,
            exceptions={_RepeatedError},
            retry_all_server_errors=False,
            evaluate_response_callback=self._is_final,
        )
        self._first_result: SendResult | None = result
        self._send, self._rule, self._sleep = send, rule, sleep

    async def request(self, *_: object, **__: object) -> ClientResponse:
        """Return or raise the first result in the first call; send again in later calls."""
        result, self._first_result = self._first_result, None
        try:
            if isinstance(result, GatewayError):
                raise result
            return result or await self._send()
        except GatewayError as error:
            if not await self._wait_for_retry(error):
                raise
            raise _RepeatedError from error

    def get_timeout(self, attempt: int, response: ClientResponse | None = None) -> float:
        """Return 0: the delay is over already."""
        del attempt, response
        return 0.0

    async def _is_final(self, response: ClientResponse) -> bool:
        return not await self._wait_for_retry(response)

    async def _wait_for_retry(self, result: SendResult) -> bool:
        """Wait for the next try; return False if there is none."""
        delay = self._rule.next_delay(result)
        if delay is None:
            return False
        if isinstance(result, ClientResponse):
            # Its connection must not stay reserved while waiting, and is free for the next try.
            result.release()
        if delay:
            await self._sleep(delay)
        return True
