"""Retries: every row of the documented table, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters import get_adapter
from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import ImageError, ProviderError
from proxy.routing.attempt import AttemptBudget, RetryState
from proxy.routing.plan import Target
from proxy.settings.loader import Settings
from proxy.settings.policies import DEFAULT_RETRY_STATUSES, RetryPolicy
from proxy.settings.schema import Timeouts
from proxy.upstream.client import ProviderClient
from proxy.upstream.retry import retry_after
from tests.support.custom_hosts import Answers
from tests.support.gateway import ANSWER, PNG, Provider, gateway_to, json_reply, provider

OPENAI, FLUX = get_adapter("openai"), get_adapter("black-forest-labs")
Step = int | str | Mapping[str, str]


@dataclass
class Talk:
    """A provider that follows a script, and conversations with it that wait in no time.

    A step is a status, `lost`, `silent`, or the headers of a 429; after the last comes a picture.
    """

    fake: Provider
    upstream: ProviderClient
    target: Target
    steps: list[Step]
    waits: list[float]
    tries: RetryState = field(default_factory=RetryState)

    async def reply(self, request: web.Request) -> web.StreamResponse:
        step = self.steps.pop(0) if self.steps else 200
        if step == "lost":
            assert request.transport
            request.transport.abort()
        if step == "silent":
            await asyncio.sleep(0.4)
        if isinstance(step, Mapping):
            return json_reply({}, 429, **step)
        return json_reply(ANSWER, step if isinstance(step, int) else 200)

    async def draw(self) -> int:
        """Converse; give 200 or the failure's status, the provider's own where there is one."""
        asked = {"prompt": "a", "model": "flux-2-pro"}
        call = ImageCall(asked, asked)
        try:
            async with self.upstream.conversation(self.target, call, self.tries):
                return 200
        except ProviderError as error:
            return error.provider_status
        except ImageError as error:
            return error.status

    @property
    def asked(self) -> int:
        return len(self.fake.requests)


@asynccontextmanager
async def talk(
    *steps: Step, chance: float = 0.0, left: int = 30, own: float | None = None, **policy: Any
) -> AsyncIterator[Talk]:
    """Run a provider with a script; `policy` and `own` timeout are the target's."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 3))

    retry = RetryPolicy(**policy) if policy else None
    settings = Settings(timeouts=Timeouts(idle=0.15))
    async with provider() as fake, ProviderClient(settings, sleep, lambda: chance) as upstream:
        at = f"{fake.url}/v1"
        target = Target(
            OPENAI,
            Credentials("k"),
            at,
            allow_private_network=True,
            retry=retry,
            request_timeout=own,
        )
        made = Talk(
            fake, upstream, target, list(steps), waits, RetryState(budget=AttemptBudget(left))
        )
        fake.reply = made.reply
        yield made


@pytest.mark.parametrize("status", sorted(DEFAULT_RETRY_STATUSES))
async def test_default_statuses_are_retried(status: int) -> None:
    async with talk(status, attempts=1) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (200, 2, 1)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 413, 422, 501, 505])
async def test_other_statuses_are_not_retried(status: int) -> None:
    async with talk(status, attempts=5) as it:
        await it.draw()
        assert (it.asked, it.waits, it.tries.retries) == (1, [], 0)


@pytest.mark.parametrize("status", [400, 401, 408, 418, 501, 599])
async def test_the_policys_statuses_are_retried(status: int) -> None:
    async with talk(status, attempts=1, on_status_codes=frozenset({status})) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (200, 2, 1)


@pytest.mark.parametrize("status", sorted(DEFAULT_RETRY_STATUSES - {503}))
async def test_only_the_policys_statuses_are_retried(status: int) -> None:
    async with talk(status, attempts=5, on_status_codes=frozenset({503})) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (status, 1, 0)


@pytest.mark.parametrize("policy", [{}, {"attempts": 0}])
@pytest.mark.parametrize("step", [*sorted(DEFAULT_RETRY_STATUSES), "lost", "silent"])
async def test_without_a_policy_a_sent_request_is_not_repeated(
    step: Step, policy: dict[str, Any]
) -> None:
    async with talk(step, **policy) as it:
        assert await it.draw() != 200
        assert (it.asked, it.waits, it.tries.retries) == (1, [], 0)


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_a_busy_target_is_retried_as_often_as_the_policy_says(attempts: int) -> None:
    async with talk(*[503] * 9, attempts=attempts) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (503, attempts + 1, -1)


@pytest.mark.parametrize("failures", range(6))
async def test_the_retry_count_is_that_of_the_success(failures: int) -> None:
    async with talk(*[503] * failures, attempts=5) as it:
        assert (await it.draw(), it.tries.retries) == (200, failures)


async def test_the_retry_count_is_that_of_the_final_error() -> None:
    async with talk(503, 503, 400, attempts=5) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (400, 3, 2)


@pytest.mark.parametrize(("chance", "more"), [(0.0, 1.0), (0.5, 1.05), (1.0, 1.1)])
async def test_delays_double_with_jitter(chance: float, more: float) -> None:
    async with talk(*[503] * 5, chance=chance, attempts=5) as it:
        await it.draw()
        assert it.waits == pytest.approx([wait * more for wait in (1, 2, 4, 8, 16)])


async def test_a_success_is_never_retried() -> None:
    async with talk(attempts=5, on_status_codes=frozenset({200, 201})) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (200, 1, 0)


# What happened after the request went out, the policy's statuses -> the retries.
AFTER_SENDING = [
    ("lost", None, 1),
    ("lost", {502}, 1),
    ("lost", {429, 500, 503, 504, 408}, 0),
    ("silent", None, 1),
    ("silent", {504}, 1),
    ("silent", {429, 500, 502, 503, 408}, 0),
]


@pytest.mark.parametrize(("step", "named", "retries"), AFTER_SENDING)
async def test_a_request_that_may_have_been_charged_is_retried_if_configured(
    step: str, named: set[int] | None, retries: int
) -> None:
    async with talk(step, attempts=2, on_status_codes=named and frozenset(named)) as it:
        await it.draw()
        assert (it.asked, it.tries.retries) == (1 + retries, retries)


@pytest.mark.parametrize(
    ("named", "came"), [(None, (408, 1, 0)), ({504}, (408, 1, 0)), ({408}, (200, 2, 1))]
)
async def test_a_request_timeout_is_retried_if_408_is_configured(
    named: set[int] | None, came: tuple[int, int, int]
) -> None:
    codes = named and frozenset(named)
    async with talk("silent", own=0.1, attempts=2, on_status_codes=codes) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == came


async def test_the_client_gets_the_last_tries_timeout() -> None:
    codes = frozenset({408})
    async with talk("silent", "silent", own=0.1, attempts=1, on_status_codes=codes) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (408, 2, -1)


class Flaky(Answers):
    """Fails to resolve names `failures` times, then resolves every name to this machine."""

    def __init__(self, failures: int) -> None:
        super().__init__("127.0.0.1")
        self.failures = failures
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError(None, "no such name")
        return await super().resolve(host, port, family)


def unreachable(it: Talk, failures: int) -> Flaky:
    """Make connecting fail `failures` times."""
    it.target = replace(it.target, base_url=it.target.base_url.replace("127.0.0.1", "up.test"))
    connector: Any = it.upstream.connectors.client(private=True).session.connector
    connector._resolver = Flaky(failures)
    flaky: Flaky = connector._resolver
    return flaky


@pytest.mark.parametrize(("failures", "status"), [(1, 200), (2, 502)])
async def test_without_a_policy_connecting_is_retried_once(failures: int, status: int) -> None:
    async with talk() as it:
        names = unreachable(it, failures)
        assert (await it.draw(), names.asked) == (status, 2)
        assert (it.waits, it.tries.retries) == ([], 0)


@pytest.mark.parametrize(("failures", "came"), [(2, (200, 2)), (9, (502, -1))])
async def test_a_failure_to_connect_is_retried_for_any_statuses(
    failures: int, came: tuple[int, int]
) -> None:
    async with talk(attempts=2, on_status_codes=frozenset({418})) as it:
        names = unreachable(it, failures)
        assert (await it.draw(), it.tries.retries) == came
        assert (names.asked, it.waits) == (3, [1, 2])


async def test_a_forbidden_address_is_tried_once() -> None:
    async with talk(attempts=5) as it:
        it.target = replace(it.target, allow_private_network=False)
        assert (await it.draw(), it.asked, it.waits, it.tries.retries) == (400, 0, [], 0)


# The headers of a 429 -> what is waited.
TOLD = [
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": "0.25"}, 0.25),
    ({"retry-after": " 59.9 "}, 59.9),
    ({"retry-after-ms": "1500"}, 1.5),
    ({"x-ms-retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "300", "x-ms-retry-after-ms": "400", "retry-after": "5"}, 0.3),
    ({"x-ms-retry-after-ms": "400", "retry-after": "5"}, 0.4),
    ({"retry-after": "soon"}, 1.0),
    ({"retry-after": "-5"}, 1.0),
    ({"retry-after": "nan"}, 1.0),
    ({"retry-after-ms": "soon", "retry-after": "5"}, 1.0),
    ({}, 1.0),
]


@pytest.mark.parametrize("spelling", ["use_retry_after_header", "use_retry_after_headers"])
@pytest.mark.parametrize(("headers", "wait"), TOLD)
async def test_retry_after_is_obeyed_if_configured(
    headers: dict[str, str], wait: float, spelling: str
) -> None:
    async with talk(headers, attempts=1, **{spelling: True}) as it:
        assert (await it.draw(), it.waits, it.tries.retries) == (200, [wait], 1)


async def test_retry_after_may_be_a_date() -> None:
    date = formatdate(time.time() + 20, usegmt=True)
    async with talk({"retry-after": date}, attempts=1, use_retry_after_header=True) as it:
        assert await it.draw() == 200
        assert 15 < it.waits[0] <= 20


async def test_a_past_date_means_no_delay() -> None:
    date = formatdate(time.time() - 20, usegmt=True)
    async with talk({"retry-after": date}, attempts=1, use_retry_after_header=True) as it:
        assert (await it.draw(), it.waits, it.tries.retries) == (200, [], 1)


async def test_retry_after_is_ignored_by_default() -> None:
    async with talk({"retry-after": "7"}, attempts=1) as it:
        assert (await it.draw(), it.waits) == (200, [1])


@pytest.mark.parametrize(("status", "wait"), [(429, 7), (503, 7), (500, 1), (529, 1)])
async def test_retry_after_counts_with_429_and_503(status: int, wait: float) -> None:
    async with talk(attempts=1, use_retry_after_header=True) as it:
        replies = [json_reply({}, status, retry_after="7"), json_reply(ANSWER)]

        async def reply(request: web.Request) -> web.StreamResponse:
            del request
            return replies.pop(0)

        it.fake.reply = reply
        assert (await it.draw(), it.waits) == (200, [wait])


FAR = formatdate(time.time() + 3600, usegmt=True)
TOO_LONG = [{"retry-after": far} for far in ("60", "61", "9" * 400, FAR)]


@pytest.mark.parametrize("headers", [*TOO_LONG, {"retry-after-ms": "60000"}])
async def test_a_delay_of_a_minute_ends_the_retries(headers: dict[str, str]) -> None:
    async with talk(headers, attempts=5, use_retry_after_header=True) as it:
        assert (await it.draw(), it.asked) == (429, 1)
        assert (it.waits, it.tries.retries) == ([], -1)


async def test_delays_of_more_than_a_minute_in_all_end_the_retries() -> None:
    half = {"retry-after": "30"}
    async with talk(half, half, half, attempts=5, use_retry_after_header=True) as it:
        assert (await it.draw(), it.asked) == (429, 3)
        assert (it.waits, it.tries.retries) == ([30, 30], -1)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text()))
def test_any_retry_after_is_a_delay_or_none(headers: dict[str, str]) -> None:
    wait = retry_after(headers, 0.0)
    assert wait is None or wait >= 0


@pytest.mark.parametrize("left", [1, 2, 4])
async def test_nothing_is_retried_without_a_budget(left: int) -> None:
    async with talk(*[503] * 9, left=left, attempts=5) as it:
        assert (await it.draw(), it.asked, it.tries.retries) == (503, left, -1)
        assert it.tries.budget.remaining == 0


async def test_parallel_conversations_share_the_budget() -> None:
    async with talk(*[503] * 99, left=7, attempts=5) as it:
        await asyncio.gather(*(it.draw() for _ in range(4)))
        assert (it.asked, it.tries.retries) == (7, -1)


async def test_parallel_conversations_report_the_largest_retry_count() -> None:
    async with talk(503, 503, attempts=5) as it:
        await it.draw()
        await it.draw()
        assert it.tries.retries == 2


async def test_connecting_again_is_within_the_budget() -> None:
    async with talk(left=1) as it:
        names = unreachable(it, 1)
        assert (await it.draw(), names.asked) == (502, 1)


async def test_a_discarded_response_releases_its_connection() -> None:
    async with talk(attempts=5) as it, asyncio.timeout(5):
        connector: Any = it.upstream.connectors.client(private=True).session.connector
        connector._limit = connector._limit_per_host = 1
        replies = [web.Response(status=503, body=b"x" * 500_000) for _ in range(3)]

        async def reply(request: web.Request) -> web.StreamResponse:
            del request
            return replies.pop() if replies else json_reply(ANSWER)

        it.fake.reply = reply
        assert (await it.draw(), it.asked) == (200, 4)


class Signing(type(OPENAI)):  # type: ignore[misc]  # an adapter's class is had from its instance
    """Signs every request with a number of its own."""

    count = 0

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        del outgoing, credentials
        self.count += 1
        return {"authorization": f"number {self.count}"}


async def test_every_try_is_signed_again_and_sends_the_same_body() -> None:
    async with talk(503, 503, attempts=5) as it:
        it.target = replace(it.target, adapter=Signing())
        assert await it.draw() == 200
        signed = [request.headers["authorization"] for request in it.fake.requests]
        assert signed == ["number 1", "number 2", "number 3"]
        assert len(set(it.fake.bodies)) == 1


async def test_a_large_body_is_sent_whole_each_time() -> None:
    async with talk(503, 503, attempts=5) as it:
        large = {"prompt": "a" * 3_000_000}
        async with it.upstream.conversation(it.target, ImageCall(large, large)):
            assert [len(body) > 3_000_000 for body in it.fake.bodies] == [True] * 3


async def test_the_request_timeout_applies_to_each_try() -> None:
    async with talk(own=0.3, attempts=5) as it:

        async def slow(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.12)
            return await it.reply(request)

        it.fake.reply, it.steps = slow, [503, 503, 503]
        assert (await it.draw(), it.asked) == (200, 4)


class Jobs:
    """A provider of jobs: the first submission is refused, `polls` are the statuses of polls."""

    def __init__(self, it: Talk, *polls: int, ready: bool = True) -> None:
        it.target = replace(it.target, adapter=FLUX)
        it.fake.reply = self.reply
        self.polls, self.refused, self.status = list(polls), 0, "Ready" if ready else "Pending"

    async def reply(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST" and not self.refused:
            self.refused += 1
            return json_reply({}, 503)
        if request.method == "GET" and self.polls:
            return json_reply({}, self.polls.pop(0))
        await asyncio.sleep(0.01)
        own = str(request.url.origin())
        result = {"sample": f"{own}/{len(PNG)}.png"}
        return json_reply({"polling_url": own, "status": self.status, "result": result})


async def test_polls_do_not_count_as_retries_or_attempts() -> None:
    async with talk(attempts=5, left=2) as it:
        Jobs(it, 503, 503)
        assert (await it.draw(), it.tries.retries, it.tries.budget.remaining) == (200, 1, 0)


async def test_a_job_has_the_requests_timeout_since_it_was_submitted() -> None:
    async with talk(attempts=5, own=0.2) as it, asyncio.timeout(5):
        Jobs(it, ready=False)
        assert (await it.draw(), it.tries.retries) == (408, 1)


async def test_time_spent_on_a_refused_submission_is_not_the_jobs() -> None:
    async with talk(attempts=5, own=0.2) as it:
        Jobs(it)
        it.upstream.sleep = lambda _: asyncio.sleep(0.3)
        it.target = replace(it.target, request_timeout=0.4)
        assert (await it.draw(), it.tries.retries) == (200, 1)


async def test_the_total_timeout_covers_all_tries() -> None:
    waits = iter(range(5))

    async def wait_forever_after_the_second_try(_: float) -> None:
        if next(waits) == 1:
            await asyncio.Event().wait()

    async with talk(*[503] * 5, attempts=5) as it:
        it.upstream.settings = Settings(timeouts=Timeouts(total=1))
        it.upstream.sleep = wait_forever_after_the_second_try
        assert (await it.draw(), it.asked) == (504, 2)


async def test_a_conversation_works_without_a_retry_state() -> None:
    async with talk(503, attempts=1) as it:
        async with it.upstream.conversation(it.target, ImageCall({}, {})) as outcome:
            assert outcome.answer
        assert (it.asked, it.tries.retries) == (2, 0)


@pytest.mark.parametrize(("attempts", "status", "count"), [(2, 200, "2"), (1, 503, "-1")])
async def test_the_retry_count_is_in_the_response_header(
    attempts: int, status: int, count: str
) -> None:
    replies = [json_reply({}, 503), json_reply({}, 503), json_reply(ANSWER)]

    async def reply(request: web.Request) -> web.StreamResponse:
        del request
        return replies.pop(0)

    config = f'{{"virtual_key": "up", "retry": {{"attempts": {attempts}}}}}'
    async with gateway_to(reply) as (ours, _):
        got = await ours.draw(config=config)
        assert (got.status, got.headers["x-portkey-retry-attempt-count"]) == (status, count)
