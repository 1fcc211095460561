"""Timeouts: a block that takes too long raises the given error, and no other block does."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import RequestTimeout, UpstreamFailed
from proxy.upstream.timeout import Timeout, request_timeout_error, total_timeout_error
from tests.support.waiting import forever


def pending_cancellations() -> int:
    """Return the number of pending cancellations of the test's own task."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


async def test_a_block_that_takes_too_long_raises_the_error() -> None:
    with pytest.raises(RequestTimeout, match="10ms"), Timeout(0.01, request_timeout_error):
        await forever()
    assert not pending_cancellations()


async def test_a_block_in_time_or_without_timeout_is_not_affected() -> None:
    for seconds in (9.0, 0.0, None):
        with Timeout(seconds, total_timeout_error) as deadline:
            await asyncio.sleep(0)
            assert deadline.is_scheduled == bool(seconds)
        assert not deadline.is_scheduled


async def test_a_timeout_can_be_cancelled_and_scheduled_again() -> None:
    with Timeout(0.01, total_timeout_error) as deadline:
        deadline.cancel()
        await asyncio.sleep(0.03)

    async def work() -> None:
        with Timeout(None, total_timeout_error) as deadline:
            deadline.schedule(asyncio.get_running_loop().time() + 0.01)
            await forever()

    with pytest.raises(UpstreamFailed):
        await work()


@pytest.mark.parametrize(
    ("outer", "inner", "said"), [(0.01, 9, UpstreamFailed), (9, 0.01, RequestTimeout)]
)
async def test_the_inner_and_the_outer_timeout_raise_their_own_errors(
    outer: float, inner: float, said: type[Exception]
) -> None:
    with (
        pytest.raises(said),
        Timeout(outer, total_timeout_error),
        Timeout(inner, request_timeout_error),
    ):
        await forever()


async def test_a_cancellation_from_outside_stays_a_cancellation() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        with Timeout(9, total_timeout_error):
            entered.set()
            await forever()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_earlier_error_is_raised_unchanged() -> None:
    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise KeyError from None

    with pytest.raises(KeyError), Timeout(0.01, total_timeout_error):
        await work()
    assert not pending_cancellations()
