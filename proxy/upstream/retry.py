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

Came = ClientResponse | GatewayError
"""What came of sending a request."""

Send = Callable[[], Awaitable[ClientResponse]]
Sleep = Callable[[float], Awaitable[None]]

MOST_WAITING = 60.0
"""Seconds that a provider can make us wait, in all."""

_UNREACHED = "provider_unreachable"
_BROKEN = frozenset({"connection_lost", "timeout"})
_JITTER = 0.1
_NO_POLICY = RetryPolicy(attempts=0)

_BUSY = frozenset({429, 502, 503, 504})
_ASKED_AT_MOST = 3
_HALF_A_WAIT = 0.25

_TELL_WHEN = frozenset({429, 503})
# The first that is there is taken, as in Portkey's documentation; the number is a second's parts.
_RETRY_AFTER = (("retry-after-ms", 1000), ("x-ms-retry-after-ms", 1000), ("retry-after", 1))
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")


class Rule(Protocol):
    """Decides after each try."""

    def wait(self, came: Came) -> float | None:
        """Give the seconds to wait before the next try; None: there is none, `came` stands."""


class Asking:
    """The rule for what buys nothing: a busy provider and a broken connection are asked again."""

    def __init__(self) -> None:
        self._asked = 0

    def wait(self, came: Came) -> float | None:
        """Give the seconds to wait before asking again; None: `came` stands."""
        self._asked += 1
        if isinstance(came, GatewayError):
            again = came.code == _UNREACHED or came.code in _BROKEN
        else:
            again = came.status in _BUSY
        if not again or self._asked == _ASKED_AT_MOST:
            return None
        return _HALF_A_WAIT * 2.0**self._asked


@dataclass(slots=True)
class Buying:
    """The rule for what may cost money, for one conversation; see the module for its table.

    `sleep` is how it waits, `chance` gives numbers from 0 to 1, `now` seconds since the epoch.
    `began` is the loop's time at which the last try began; `repeated` counts those after the first.
    """

    policy: RetryPolicy | None = None
    tries: RetryState = field(default_factory=RetryState)
    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random
    now: Callable[[], float] = time.time
    began: float = 0.0
    repeated: int = 0
    _waited: float = 0.0
    _taken: bool = False

    def begin(self) -> None:
        """Note that a request goes out: it takes one from the budget, if it has not yet."""
        if not self._taken:
            self.tries.budget.remaining -= 1
        self._taken = False
        self.began = asyncio.get_running_loop().time()

    def wait(self, came: Came) -> float | None:
        """Give the seconds to wait before the next try; None: `came` stands."""
        if isinstance(came, GatewayError):
            self.tries.budget.record_failure(came)
        elif came.status in TIMEOUT_STATUSES:
            self.tries.budget.maybe_charged = True
        policy = self.policy or _NO_POLICY
        if not policy.attempts:
            return self._once_more(came)
        if not is_repeated(came, policy.statuses):
            return None
        wait = self._told(came) if policy.honors_retry_after else None
        if wait is None:
            wait = 2.0**self.repeated * (1 + _JITTER * self.chance())
        spent = self.repeated >= policy.attempts or self.tries.budget.remaining <= 0
        if spent or wait >= MOST_WAITING or self._waited + wait > MOST_WAITING:
            self.tries.retries = -1
            return None
        self._waited += wait
        self._repeat()
        # Conversations side by side share it: the most that one needed, or that one was in vain.
        if self.tries.retries >= 0:
            self.tries.retries = max(self.tries.retries, self.repeated)
        return wait

    def _once_more(self, came: Came) -> float | None:
        """Without a policy: dial once more, at once. Nobody asked for it, so it counts nothing."""
        if self.repeated or self.tries.budget.remaining <= 0 or not is_repeated(came, frozenset()):
            return None
        self._repeat()
        return 0.0

    def _repeat(self) -> None:
        # Taken before waiting, or conversations side by side would all count on the last one.
        self.tries.budget.remaining -= 1
        self._taken = True
        self.repeated += 1

    def _told(self, came: Came) -> float | None:
        if isinstance(came, GatewayError) or came.status not in _TELL_WHEN:
            return None
        return retry_after(came.headers, self.now())


def is_repeated(came: Came, statuses: frozenset[int]) -> bool:
    """Tell whether what came of a request calls for another try, where `statuses` do.

    >>> from proxy.errors import UpstreamFailed
    >>> is_repeated(UpstreamFailed("No connection."), frozenset())
    True
    >>> is_repeated(UpstreamFailed("Lost.", code="connection_lost"), frozenset({500, 504}))
    False
    """
    if not isinstance(came, GatewayError):
        return not is_success(came.status) and came.status in statuses
    if came.code == _UNREACHED:
        return True
    # Each of these failures has the status by which a config names it: 408, 502, 504.
    return (isinstance(came, RequestTimeout) or came.code in _BROKEN) and came.status in statuses


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that a provider asks for; None when it does not, or not in a known way.

    >>> retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0.0)
    1.5
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}, 2.0)
    5.0
    """
    for name, parts in _RETRY_AFTER:
        if name in headers:
            text = headers[name].strip()
            if _NUMBER.fullmatch(text):
                return float(text) / parts
            return _until(text, now) if name == "retry-after" else None
    return None


def _until(date: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


async def tried(send: Send, rule: Rule, sleep: Sleep) -> ClientResponse:
    """Send until the rule lets stand what comes of it: give the response, or raise the failure."""
    came: Came
    try:
        came = response = await send()
        if is_success(response.status):
            # No rule repeats a success: what repeats is set up only for what it may be needed for.
            return response
    except GatewayError as error:
        came = error
    again = _Again(came, send, rule, sleep)
    # What it takes for a session is asked for `request` alone.
    client = RetryClient(client_session=cast("ClientSession", again), retry_options=again)
    return await client.get("")


class _RepeatedError(Exception):
    """A failure that aiohttp-retry is to repeat."""


class _Again(RetryOptionsBase):
    """What aiohttp-retry sends by, and what it repeats by.

    It knows exceptions by type only, never releases a response that it discards, and sleeps by
    the loop's clock alone. So the rule is asked here, and waiting is done here.
    """

    def __init__(self, came: Came, send: Send, rule: Rule, sleep: Sleep) -> None:
        super().__init__(
            # One more try than any rule allows: it is the rule that ends it.
            attempts=MAX_RETRY_ATTEMPTS + 2,
            exceptions={_RepeatedError},
            retry_all_server_errors=False,
            evaluate_response_callback=self._is_final,
        )
        self._came: Came | None = came
        self._send, self._rule, self._sleep = send, rule, sleep

    async def request(self, *_: object, **__: object) -> ClientResponse:
        """Give what came of sending first, then send once more."""
        came, self._came = self._came, None
        try:
            if isinstance(came, GatewayError):
                raise came
            return came or await self._send()
        except GatewayError as error:
            if not await self._waited(error):
                raise
            raise _RepeatedError from error

    def get_timeout(self, attempt: int, response: ClientResponse | None = None) -> float:
        """Wait no longer: it has been waited."""
        del attempt, response
        return 0.0

    async def _is_final(self, response: ClientResponse) -> bool:
        return not await self._waited(response)

    async def _waited(self, came: Came) -> bool:
        """Wait for the next try; False: there is none."""
        wait = self._rule.wait(came)
        if wait is None:
            return False
        if isinstance(came, ClientResponse):
            # Its connection must be free for the next try, and not be held while waiting.
            came.release()
        if wait:
            await self._sleep(wait)
        return True
