"""Whether a request to a provider is sent again, and when; aiohttp-retry sends it.

The law: what may have been paid for is sent again only where the target's config asks for it.

    what came                          no policy         a policy with attempts
    no connection: nothing was sent    once, at once     always
    connection lost after sending      no                if 502 is among its statuses
    silence after sending              no                if 504 is
    `request_timeout` ran out          no                if 408 is (it is not by default)
    an error status                    no                if it is
    a success                          no                no

What buys nothing, GET, is asked again where that can help, policy or not, and counts nothing.
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
"""What came of sending a request."""

Send = Callable[[], Awaitable[ClientResponse]]
Sleep = Callable[[float], Awaitable[None]]

MAX_TOTAL_DELAY = 60.0
"""Seconds that a provider can make us wait, in all."""

_UNREACHABLE = "provider_unreachable"
_BROKEN_CONNECTION = frozenset({"connection_lost", "timeout"})
_JITTER = 0.1
_NO_POLICY = RetryPolicy(attempts=0)

_BUSY_STATUSES = frozenset({429, 502, 503, 504})
_MAX_FREE_TRIES = 3
_HALF_FREE_DELAY = 0.25

_RETRY_AFTER_STATUSES = frozenset({429, 503})
# The first that is there is taken, as in Portkey's documentation; the number is a second's parts.
_RETRY_AFTER_HEADERS = (("retry-after-ms", 1000), ("x-ms-retry-after-ms", 1000), ("retry-after", 1))
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


class RetryRule(Protocol):
    """Decides after each try."""

    def next_delay(self, result: SendResult) -> float | None:
        """Give the seconds to wait before the next try; None: there is none, `came` stands."""


class FreeRetry:
    """The rule for what buys nothing: a busy provider and a broken connection are asked again."""

    def __init__(self) -> None:
        self._tries = 0

    def next_delay(self, result: SendResult) -> float | None:
        """Give the seconds to wait before asking again; None: `came` stands."""
        self._tries += 1
        if isinstance(result, GatewayError):
            again = result.code == _UNREACHABLE or result.code in _BROKEN_CONNECTION
        else:
            again = result.status in _BUSY_STATUSES
        if not again or self._tries == _MAX_FREE_TRIES:
            return None
        return _HALF_FREE_DELAY * 2.0**self._tries


@dataclass(slots=True)
class PaidRetry:
    """The rule for what may cost money, for one conversation; see the module for its table.

    `sleep` is how it waits, `chance` gives numbers from 0 to 1, `now` seconds since the epoch.
    `began` is the loop's time at which the last try began; `repeated` counts those after the first.
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
        """Note that a request goes out: it takes one from the budget, if it has not yet."""
        if not self._is_reserved:
            self.state.budget.remaining -= 1
        self._is_reserved = False
        self.started_at = asyncio.get_running_loop().time()

    def next_delay(self, result: SendResult) -> float | None:
        """Give the seconds to wait before the next try; None: `came` stands."""
        if isinstance(result, GatewayError):
            self.state.budget.record_failure(result)
        elif result.status in TIMEOUT_STATUSES:
            self.state.budget.maybe_charged = True
        policy = self.policy or _NO_POLICY
        if not policy.attempts:
            return self._reconnect_delay(result)
        if not should_retry(result, policy.statuses):
            return None
        wait = self._requested_delay(result) if policy.honors_retry_after else None
        if wait is None:
            wait = 2.0**self.repeats * (1 + _JITTER * self.jitter())
        spent = self.repeats >= policy.attempts or self.state.budget.remaining <= 0
        if spent or wait >= MAX_TOTAL_DELAY or self._total_delay + wait > MAX_TOTAL_DELAY:
            self.state.retries = -1
            return None
        self._total_delay += wait
        self._reserve_repeat()
        # Conversations side by side share it: the most that one needed, or that one was in vain.
        if self.state.retries >= 0:
            self.state.retries = max(self.state.retries, self.repeats)
        return wait

    def _reconnect_delay(self, result: SendResult) -> float | None:
        """Without a policy: dial once more, at once. Nobody asked for it, so it counts nothing."""
        if (
            self.repeats
            or self.state.budget.remaining <= 0
            or not should_retry(result, frozenset())
        ):
            return None
        self._reserve_repeat()
        return 0.0

    def _reserve_repeat(self) -> None:
        # Taken before waiting, or conversations side by side would all count on the last one.
        self.state.budget.remaining -= 1
        self._is_reserved = True
        self.repeats += 1

    def _requested_delay(self, result: SendResult) -> float | None:
        if isinstance(result, GatewayError) or result.status not in _RETRY_AFTER_STATUSES:
            return None
        return retry_after(result.headers, self.now())


def should_retry(result: SendResult, statuses: frozenset[int]) -> bool:
    """Tell whether what came of a request calls for another try, where `statuses` do.

    >>> from proxy.errors import UpstreamFailed
    >>> is_repeated(UpstreamFailed("No connection."), frozenset())
    True
    >>> is_repeated(UpstreamFailed("Lost.", code="connection_lost"), frozenset({500, 504}))
    False
    """
    if not isinstance(result, GatewayError):
        return not is_success(result.status) and result.status in statuses
    if result.code == _UNREACHABLE:
        return True
    # Each of these failures has the status by which a config names it: 408, 502, 504.
    return (
        isinstance(result, RequestTimeout) or result.code in _BROKEN_CONNECTION
    ) and result.status in statuses


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that a provider asks for; None when it does not, or not in a known way.

    >>> retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0.0)
    1.5
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}, 2.0)
    5.0
    """
    for name, parts in _RETRY_AFTER_HEADERS:
        if name in headers:
            text = headers[name].strip()
            if _NUMBER.fullmatch(text):
                return float(text) / parts
            return _seconds_until(text, now) if name == "retry-after" else None
    return None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


async def send_with_retry(send: Send, rule: RetryRule, sleep: Sleep) -> ClientResponse:
    """Send until the rule lets stand what comes of it: give the response, or raise the failure."""
    result: SendResult
    try:
        result = response = await send()
        if is_success(response.status):
            # No rule repeats a success: what repeats is set up only for what it may be needed for.
            return response
    except GatewayError as error:
        result = error
    again = _RetryAdapter(result, send, rule, sleep)
    # What it takes for a session is asked for `request` alone.
    client = RetryClient(client_session=cast("ClientSession", again), retry_options=again)
    return await client.get("")


class _RepeatedError(Exception):
    """A failure that aiohttp-retry is to repeat."""


class _RetryAdapter(RetryOptionsBase):
    """What aiohttp-retry sends by, and what it repeats by.

    It knows exceptions by type only, never releases a response that it discards, and sleeps by
    the loop's clock alone. So the rule is asked here, and waiting is done here.
    """

    def __init__(self, result: SendResult, send: Send, rule: RetryRule, sleep: Sleep) -> None:
        super().__init__(
            # One more try than any rule allows: it is the rule that ends it.
            attempts=MAX_RETRY_ATTEMPTS + 2,
            exceptions={_RepeatedError},
            retry_all_server_errors=False,
            evaluate_response_callback=self._is_final,
        )
        self._first_result: SendResult | None = result
        self._send, self._rule, self._sleep = send, rule, sleep

    async def request(self, *_: object, **__: object) -> ClientResponse:
        """Give what came of sending first, then send once more."""
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
        """Wait no longer: it has been waited."""
        del attempt, response
        return 0.0

    async def _is_final(self, response: ClientResponse) -> bool:
        return not await self._wait_for_retry(response)

    async def _wait_for_retry(self, result: SendResult) -> bool:
        """Wait for the next try; False: there is none."""
        wait = self._rule.next_delay(result)
        if wait is None:
            return False
        if isinstance(result, ClientResponse):
            # Its connection must be free for the next try, and not be held while waiting.
            result.release()
        if wait:
            await self._sleep(wait)
        return True
