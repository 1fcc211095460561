"""Case 26: a client leaves, not to pay for a picture, or to have many paid for that nobody gets."""

from __future__ import annotations

import asyncio

from proxy.jobs.keys import JOBS
from tests.support.queue_provider import CANCELS, left, queue, until

AGAIN = {"virtual_key": "up", "x_stainless_retry_count": "1"}
PARAMS = {"model": "photon-1"}


async def test_leaving_is_no_way_to_have_a_picture_made_twice() -> None:
    async with queue() as (ours, jobs):
        for _ in range(3):
            await left(ours, jobs)
            asking = asyncio.create_task(ours.draw(params=PARAMS, **AGAIN))
            await asyncio.sleep(0.05)
            asking.cancel()
            await asyncio.wait([asking])
            jobs.done.update(map(str, range(9)))
            assert (await ours.draw(params=PARAMS, **AGAIN)).status == 200
            jobs.done.clear()
            jobs.polled.clear()
        assert (jobs.taken, jobs.cancelled) == (3, [])


async def test_what_nobody_waits_for_is_cancelled_at_the_provider_where_that_is_the_policy() -> (
    None
):
    async with queue(CANCELS) as (ours, jobs):
        await left(ours, jobs)
        await until(lambda: jobs.cancelled and not ours.app[JOBS].running_count)
        assert (jobs.taken, len(jobs.cancelled)) == (1, 1)
